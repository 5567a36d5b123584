"""Files of each kind that is signed in practice, made here, stamped by a running server and verified by strangers."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from strangers import ask, attempt, certificate, load, run
from test_interop_java import JAR, KeyStores
from test_interop_openssl_ts import Exchange
from test_interop_osslsigncode import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from running_server import Server
    from strangers import Outcome

APK = {"AndroidManifest.xml": b"<manifest/>", "classes.dex": b"dex\n035\0", "resources.arsc": b"\2\0\14\0"}
DLL_FLAG = 0x2000  # IMAGE_FILE_DLL
PRODUCT = """<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" Name="Hello" UpgradeCode="7c0d5f0e-6b1c-4a55-9b8e-3f4f0a4a4f10" Language="1033" Version="1.0.0"
           Manufacturer="Example University">
    <Package InstallerVersion="200" Compressed="yes"/>
    <Media Id="1" Cabinet="hello.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir">
      <Directory Id="ProgramFilesFolder">
        <Component Id="Hello" Guid="3a9d9f52-36a4-4d2c-8f3e-0c9b8e9f1a11">
          <File Id="hello.txt" Source="hello.txt"/>
        </Component>
      </Directory>
    </Directory>
    <Feature Id="Main" Level="1"><ComponentRef Id="Hello"/></Feature>
  </Product>
</Wix>
"""
"""An installer of one file, for wixl."""


def hello(folder: Path) -> Path:
    """What goes into an archive."""
    file = folder / "hello.txt"
    file.write_text("hello")
    return file


def program(folder: Path) -> Path:
    return PROGRAM


def program_of_32_bits(folder: Path) -> Path:
    """Its headers have another layout."""
    return PROGRAM.with_name("cli-32.exe")


def library(folder: Path) -> Path:
    """A program with the flag that makes it a DLL."""
    octets = bytearray(PROGRAM.read_bytes())
    (header,) = struct.unpack_from("<I", octets, 0x3C)
    (characteristics,) = struct.unpack_from("<H", octets, header + 22)
    struct.pack_into("<H", octets, header + 22, characteristics | DLL_FLAG)
    file = folder / "hello.dll"
    file.write_bytes(octets)
    return file


def cabinet(folder: Path) -> Path:
    file = folder / "hello.cab"
    run("gcab", "--create", file, hello(folder))
    return file


def installer(folder: Path) -> Path:
    hello(folder)
    source, file = folder / "hello.wxs", folder / "hello.msi"
    source.write_text(PRODUCT)
    run("wixl", "--output", file, source)
    return file


def script(folder: Path) -> Path:
    """osslsigncode signs PowerShell since its version 2.8."""
    said = re.match(r"osslsigncode (\d+)\.(\d+)", run("osslsigncode", "--version"))
    assert said is not None
    if (int(said[1]), int(said[2])) < (2, 8):
        pytest.skip(f"{said[0]} signs no scripts")
    file = folder / "hello.ps1"
    file.write_bytes(b"Write-Output 'hello'\r\n")
    return file


class Signed:
    """A copy of ``file`` that osslsigncode signed with the demo home's certificate and had stamped at ``url``."""

    def __init__(self, home: Path, folder: Path, file: Path, url: str | None) -> None:
        self.home, self.file = home, folder / f"{'bare' if url is None else 'stamped'}{file.suffix}"
        run(
            "osslsigncode", "sign", "-certs", certificate(home, "demo-code-signer"),
            "-ac", certificate(home, "code-signing"), "-key", home / "keys" / "demo-code-signer.key", "-h", "sha256",
            *(() if url is None else ("-ts", url)), "-in", file, "-out", self.file,
        )  # fmt: skip

    def verify(self, at: datetime, stamp_root: str = "root") -> Outcome:
        return attempt(
            "osslsigncode", "verify", "-CAfile", certificate(self.home, "root"),
            "-TSA-CAfile", certificate(self.home, stamp_root), "-time", str(int(at.timestamp())), "-in", self.file,
        )  # fmt: skip


@pytest.mark.interop("osslsigncode")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(program, id="exe"),
        pytest.param(program_of_32_bits, id="exe of 32 bits"),
        pytest.param(library, id="dll"),
        pytest.param(cabinet, id="cab", marks=pytest.mark.interop("gcab")),
        pytest.param(installer, id="msi", marks=pytest.mark.interop("wixl")),
        pytest.param(script, id="ps1"),
    ],
)
def test_osslsigncode_believes_a_stamped_file_after_its_certificates_end(
    server: Server, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """And neither one without a stamp nor one whose stamp comes from an authority that it does not know."""
    file = make(tmp_path)
    after = load(certificate(server.home, "demo-code-signer")).not_valid_after_utc + timedelta(days=1)
    stamped = Signed(server.home, tmp_path, file, f"{server.url}/tsa")
    outcome = stamped.verify(after)
    assert outcome.status == 0, outcome.output
    for line in (
        "Timestamp Server Signature verification: ok",
        "Signature verification: ok",
        "Number of verified signatures: 1",
    ):
        assert line in outcome.output
    for doubted in (Signed(server.home, tmp_path, file, None).verify(after), stamped.verify(after, "server-rsa")):
        assert doubted.status != 0
        assert "certificate has expired" in doubted.output


def key_stores(home: Path, folder: Path) -> KeyStores:
    """Of a demo home's code signer."""
    return KeyStores(folder, home, certificate(home, "demo-code-signer"), home / "keys" / "demo-code-signer.key")


@pytest.fixture(scope="module")
def stores(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> KeyStores:
    return key_stores(demo_home, tmp_path_factory.mktemp("stores"))


@pytest.mark.interop("jarsigner", "keytool", "openssl")
@pytest.mark.parametrize("content", [JAR, APK], ids=["jar", "apk"])
def test_jarsigner_believes_a_stamped_archive(
    server: Server, stores: KeyStores, tmp_path: Path, content: dict[str, bytes]
) -> None:
    archive = tmp_path / "hello.zip"
    stores.sign(archive, f"{server.url}/tsa", content)
    outcome = stores.verify(archive, "-revCheck")
    assert outcome.status == 0, outcome.output
    assert "jar verified." in outcome.output
    assert outcome.output.count(f"Contacting OCSP server at {server.url}/ocsp") == 4
    replace_one(archive, list(content)[-1])
    assert stores.verify(archive).status != 0, "a changed archive was believed"


@pytest.mark.interop("apksigner", "jarsigner", "keytool", "openssl")
def test_apksigner_reads_a_stamped_package(server: Server, stores: KeyStores, tmp_path: Path) -> None:
    """As Android 4.4 to 7.1 do, for which packages had no other signature. They skip the stamp and must not stumble."""
    package = tmp_path / "hello.apk"
    stores.sign(package, f"{server.url}/tsa", APK)
    command = ("apksigner", "verify", "--verbose", "--min-sdk-version", "19", "--max-sdk-version", "25", package)
    outcome = attempt(*command)
    assert outcome.status == 0, outcome.output
    assert "Verified using v1 scheme (JAR signing): true" in outcome.output
    replace_one(package, "classes.dex")
    assert attempt(*command).status != 0, "a changed package was believed"


def replace_one(archive: Path, changed: str) -> None:
    """Write an archive anew, with other octets in one of its files."""
    with zipfile.ZipFile(archive) as before:
        content = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(archive, "w") as after:
        for name, octets in content.items():
            after.writestr(name, b"other" if name == changed else octets)


@pytest.mark.interop("openssl")
@pytest.mark.parametrize(
    ("form", "options"),
    [
        pytest.param("DER", (), id="detached"),
        pytest.param("DER", ("-nodetach",), id="with its content"),
        pytest.param("DER", ("-nodetach", "-stream"), id="with its content, BER"),
        pytest.param("PEM", (), id="PEM"),
        pytest.param("SMIME", (), id="S/MIME"),
    ],
)
def test_openssl_believes_a_cms_signature_and_its_stamp(
    server: Server, tmp_path: Path, form: str, options: tuple[str, ...]
) -> None:
    """The stamp is beside it; the CRLs that it is held against are the server's."""
    home, signature, content = server.home, tmp_path / "hello.cms", hello(tmp_path)
    run(
        "openssl", "cms", "-sign", "-binary", "-md", "sha256", "-signer", certificate(home, "demo-code-signer"),
        "-inkey", home / "keys" / "demo-code-signer.key", "-certfile", certificate(home, "code-signing"),
        "-in", content, "-outform", form, *options, "-out", signature,
    )  # fmt: skip
    exchange = Exchange(tmp_path, f"{server.url}/tsa", "-sha256", "-cert", content=signature.read_bytes())
    stamp = exchange.verify("-data", signature, "-CAfile", certificate(home, "root"))
    assert stamp.status == 0, stamp.output

    trusted = tmp_path / "trusted.pem"
    crls = [ask(f"{server.url}/crl/{label}.crl").body for label in ("code-signing", "root")]
    pems = [x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM) for crl in crls]
    trusted.write_bytes(b"".join((certificate(home, "root").read_bytes(), *pems)))
    given = () if form == "SMIME" or "-nodetach" in options else ("-content", content)
    verify = ("openssl", "cms", "-verify", "-binary", "-inform", form, "-in", signature, "-out", os.devnull, *given)
    outcome = attempt(*verify, "-purpose", "any", "-crl_check_all", "-CAfile", trusted)
    assert outcome.status == 0, outcome.output
    unlisted = attempt(*verify, "-purpose", "any", "-crl_check_all", "-CAfile", certificate(home, "root"))
    assert "unable to get certificate CRL" in unlisted.output
