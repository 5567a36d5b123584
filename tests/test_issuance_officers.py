"""Officers: whose certificate opens the door, and whose does not."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fakes import ManualClock
from issuance_world import add_ca, advance, copy_home, issuance, listed, make_csr, private_key, refused, small_core

from ca_store.errors import Conflict
from ca_store.signing import KeyType
from ca_store.types import Reason
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.errors import AccessRefused, IssuanceError, SetupRefused
from issuance.files import encode_pem
from issuance.institution import register
from issuance.officer import authenticate, check_mail, enrol
from issuance.profile import CLIENT, SMIME
from issuance.revocation import revoke
from issuance.roll_over import rekey
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.x509 import GeneralName

    from ca_store.types import Issuer
    from issuance.core import Core
    from issuance.profile import Profile

UNIVERSITY = INSTITUTION.name


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    (tmp_path / "keys").mkdir(mode=0o700)
    made = small_core(tmp_path, ManualClock())
    with closing(made.store):
        register(made, "Other College", country="JP", state="Kyoto", locality="Kyoto-shi", domains=["other.ac.jp"])
        add_ca(made, "root", "root")
        add_ca(made, "client", "client", "root", KeyType.RSA_3072)
        yield made


def certify(
    core: Core,
    organization: str = UNIVERSITY,
    profile: Profile = CLIENT,
    names: list[GeneralName] | None = None,
    issuer: Issuer | None = None,
) -> tuple[int, bytes]:
    request = decode_request(make_csr(common_name="Hanako", organization=organization, names=names or []))
    return issue_from_request(core, issuer or core.store.issuer("client"), profile, request)


def add(core: Core, certificate: bytes, institution: str = UNIVERSITY) -> None:
    enrol(core, "Hanako", institution=institution, mail="hanako@example.ac.jp", certificate=certificate)


def test_an_officer_is_known_by_the_certificate(core: Core) -> None:
    serial, der = certify(core)
    with pytest.raises(AccessRefused, match="is no officer's"):
        authenticate(core, der)
    add(core, encode_pem(der))
    officer = authenticate(core, der)
    assert (officer.name, officer.institution, officer.serial) == ("Hanako", UNIVERSITY, serial)
    assert authenticate(core, encode_pem(der)) == officer
    with pytest.raises(AccessRefused, match="is no officer's"):
        authenticate(core, certify(core)[1])
    with pytest.raises(Conflict, match="an officer's already"):
        add(core, der)


def test_revoked_and_expired_certificates_open_nothing(core: Core) -> None:
    serial, der = certify(core)
    _, other = certify(core)
    add(core, der)
    add(core, other)
    revoke(core, core.store.issuer("client"), serial, Reason.superseded)
    with pytest.raises(AccessRefused, match="is revoked"):
        authenticate(core, der)
    with pytest.raises(AccessRefused, match="is revoked"):
        add(core, der)
    last = core.store.certificate(core.store.issuer("client").id, authenticate(core, other).serial).not_after
    advance(core, last - core.now())
    assert authenticate(core, other)
    advance(core, 1)
    with pytest.raises(AccessRefused, match="is valid from"):
        authenticate(core, other)


def test_an_old_cas_certificate_stays_good_to_its_end(core: Core) -> None:
    _, der = certify(core)
    add(core, der)
    rekey(core, core.store.issuer("client"))
    assert authenticate(core, der).name == "Hanako"


def test_what_is_not_of_the_institution(core: Core) -> None:
    _, der = certify(core, "Other College")
    with pytest.raises(AccessRefused, match="is not of Example University"):
        add(core, der)
    with pytest.raises(SetupRefused, match="'Nowhere'"):
        add(core, der, "Nowhere")
    add(core, der, "Other College")
    assert authenticate(core, der).institution == "Other College"


def test_what_was_not_issued_here_or_for_something_else(core: Core) -> None:
    from cryptography.x509 import RFC822Name  # noqa: PLC0415 - this test alone

    _, mail = certify(core, profile=SMIME, names=[RFC822Name("h@example.ac.jp")])
    with pytest.raises(AccessRefused, match="is a smime certificate"):
        add(core, mail)
    _, der = certify(core)
    forged = bytearray(der)
    forged[-1] ^= 1
    for wrong, sentence in ((bytes(forged), "not issued here"), (b"", "can be read"), (der[:50], "can be read")):
        with pytest.raises(AccessRefused, match=sentence):
            authenticate(core, wrong)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@example.ac.jp",
        "a@",
        "a b@example.ac.jp",
        "a+b@example.ac.jp",
        ".a@example.ac.jp",
        "a..b@example.ac.jp",
        "a@b@example.ac.jp",
        "山田@example.ac.jp",
        "a@example.ac.jp\n",
        "a" * 65 + "@example.ac.jp",
    ],
)
def test_mail_addresses(address: str) -> None:
    check_mail("hanako.yamada_1-x@example.ac.jp")
    with pytest.raises(IssuanceError):
        check_mail(address)


def test_the_commands(demo_home: Path, tmp_path: Path) -> None:
    home = copy_home(demo_home, tmp_path)
    csr, pem = tmp_path / "h.csr", tmp_path / "h.pem"
    csr.write_bytes(make_csr(private_key("rsa-2048"), common_name="Hanako Yamada"))
    issuance("cert", "issue", "--ca", "client", "--profile", "client", "--csr", csr, "--out", pem, home=home)
    add = ("officer", "add", "山田花子", "--institution", UNIVERSITY, "--mail", "h@example.ac.jp", "--certificate")
    issuance(*add, pem, home=home)
    (row,) = listed("officer", "list", home=home)
    assert (row["name"], row["institution"], row["ca"], row["state"]) == ("山田花子", UNIVERSITY, "client", "good")
    assert "an officer's already" in refused(*add, pem, home=home)
    assert "is a server certificate" in refused(*add, home / "certs" / "demo-good.pem", home=home)
    assert "No such file" in refused(*add, tmp_path / "none", home=home, status=2)
