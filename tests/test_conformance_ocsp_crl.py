"""CRLs beside OCSP: what they carry, what strangers make of them, and that the two never contradict each other."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import ocsp as x509_ocsp
from fakes import NOW, ManualClock, MemoryEpoch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from issuance_world import add_ca, advance, issue_one, make_csr, small_core
from strangers import ask, certificate, issue, revoke, run

from ca_store.clock import SystemClock
from ca_store.database import open_issuance_store, open_read_store
from ca_store.gate import SigningGate
from ca_store.keys import KeyStore
from ca_store.types import CertificateState, CredentialKind, Reason
from issuance.core import Core
from issuance.crl import sign_crl
from issuance.csr import decode_request
from issuance.period import DAY, Period
from issuance.profile import CODE_SIGNING
from issuance.revocation import revoke as revoke_row
from issuance.settings import Settings
from issuance.signer_renewal import tenures
from issuance.subscriber import issue_from_request
from ocsp.delegate import load_delegate
from ocsp.directory import Directory
from ocsp.responder import Responder
from ocsp.selfcheck import request_for
from ocsp.settings import Settings as OCSPSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from running_server import Server

    from ca_store.contracts import ReadStore
    from ca_store.types import Issuer
    from ocsp.delegate import Delegate

EXPIRED_CERTS_ON_CRL: Final = x509.ObjectIdentifier("2.5.29.60")


def fetch(server: Server, label: str) -> bytes:
    reply = ask(f"{server.url}/crl/{label}.crl")
    assert (reply.status, reply.content_type) == (200, "application/pkix-crl")
    return reply.body


@pytest.mark.interop("openssl")
def test_openssl_reads_number_reason_and_invalidity_date_of_a_backdated_code_signing_revocation(
    server: Server, tmp_path: Path
) -> None:
    """CSBR §7.2.2: invalidityDate equals revocationDate."""
    issued = issue(server.home, tmp_path, "code-signing", "code-signing")
    leaf = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
    revoke(server.home, issued, "keyCompromise", at=leaf.not_valid_before_utc)
    file = tmp_path / "crl.der"
    file.write_bytes(fetch(server, "code-signing"))
    ca = certificate(server.home, "code-signing")
    text = run("openssl", "crl", "-inform", "DER", "-in", file, "-noout", "-text", "-CAfile", ca)
    assert "verify OK" in text
    for line in ("X509v3 CRL Number:", "Next Update:", "Key Compromise", "Invalidity Date:", "2.5.29.60:"):
        assert line in text
    entry = text[text.index(f"{int(issued.serial, 16):040X}".lstrip("0")) :].splitlines()
    date = leaf.not_valid_before_utc.strftime("%b %e %H:%M:%S %Y GMT")
    assert entry[1].strip() == f"Revocation Date: {date}"
    assert date in [line.strip() for line in entry[2:8]]


def test_only_the_code_signing_crl_says_that_expired_certificates_stay_on_it(server: Server) -> None:
    """X.509 §9.5.2.8: GeneralizedTime, not critical; never earlier than the CA."""
    for label in ("root", "server-rsa", "server-ecc", "client", "code-signing", "timestamp"):
        crl = x509.load_der_x509_crl(fetch(server, label))
        found = [each for each in crl.extensions if each.oid == EXPIRED_CERTS_ON_CRL]
        assert len(found) == (label == "code-signing")
        for extension in found:
            ca = x509.load_pem_x509_certificate(certificate(server.home, label).read_bytes())
            begin = ca.not_valid_before_utc.strftime("%Y%m%d%H%M%SZ").encode()
            assert not extension.critical
            assert isinstance(extension.value, x509.UnrecognizedExtension)
            assert extension.value.value == b"\x18\x0f" + begin


@dataclass
class Base:
    """A small home with two CAs, made once; each example has a copy of its database."""

    home: Path
    labels: tuple[str, ...] = ("ecc", "signing")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    home = tmp_path_factory.mktemp("base")
    core = small_core(home, ManualClock())
    with closing(core.store):
        add_ca(core, "root", "root")
        add_ca(core, "ecc", "server", "root")
        add_ca(core, "signing", "code-signing", "root")
    return Base(home)


CA = st.sampled_from(["ecc", "signing"])
REASONS = st.sampled_from([Reason.unspecified, Reason.keyCompromise, Reason.superseded])
STEPS = st.one_of(
    st.tuples(st.just("issue"), CA),
    st.tuples(st.just("revoke"), st.integers(0, 3), REASONS, st.sampled_from([0, 600])),
    st.tuples(st.just("sign")),
    st.tuples(st.just("wait"), st.sampled_from([3600, 2 * DAY, 500 * DAY])),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.reuse, Phase.generate),  # each example makes certificates: a dozen steps can be read as they are
)
@given(steps=st.lists(STEPS, min_size=6, max_size=12))
def test_a_crl_and_an_ocsp_answer_never_contradict_each_other_beyond_the_age_of_the_crl(
    base: Base, tmp_path: Path, steps: Sequence[tuple[Any, ...]]
) -> None:
    for file in tmp_path.glob("ca.db*"):
        file.unlink()
    shutil.copy(base.home / "ca.db", tmp_path / "ca.db")
    store = open_issuance_store(f"sqlite:///{tmp_path / 'ca.db'}")
    with closing(store):
        core = Core(store, KeyStore(base.home, b"a passphrase"), Settings(caa=False), ManualClock())
        asyncio.run(live(core, f"sqlite:///{tmp_path / 'ca.db'}", steps))


async def live(core: Core, url: str, steps: Sequence[tuple[Any, ...]]) -> None:
    issued: list[tuple[Issuer, int]] = []
    reader = await open_read_store(url, SystemClock())
    gate = SigningGate(1, 100, 60)
    try:
        for step in (("issue", "ecc"), ("issue", "signing"), *steps):
            advance(core, 1)
            act(core, issued, step)
            for issuer in {each for each, _ in issued}:
                compare = [serial for each, serial in issued if each is issuer]
                await check(core, reader, gate, issuer, compare)
    finally:
        gate.close()
        await reader.close()


def act(core: Core, issued: list[tuple[Issuer, int]], step: tuple[Any, ...]) -> None:
    match step:
        case ("issue", label):
            known = {each.label: each for each, _ in issued}
            issuer = known.get(label) or core.store.issuer(label)
            if label == "ecc":
                issued.append((issuer, issue_one(core, issuer)))
            else:
                request = decode_request(make_csr("rsa-3072", common_name="Example University"))
                issued.append((issuer, issue_from_request(core, issuer, CODE_SIGNING, request)[0]))
        case ("revoke", at, reason, backdated):
            issuer, serial = issued[at % len(issued)]
            begin = core.store.certificate(issuer.id, serial).not_before
            revoke_row(core, issuer, serial, reason, max(core.now() - backdated, begin))
        case ("sign",):
            for label in ("ecc", "signing"):
                sign_crl(core, core.store.issuer(label))
        case ("wait", seconds):
            advance(core, seconds)


async def check(core: Core, reader: ReadStore, gate: SigningGate, issuer: Issuer, serials: Sequence[int]) -> None:
    """Everything that both say about these certificates now."""
    kept = core.store.latest_crl(issuer.id)
    crl = x509.load_der_x509_crl(kept.der)
    responder = responder_of(core, reader, gate, issuer)
    for serial in serials:
        answer = await responder.answer(request_for(issuer, serial, SHA256()))
        said = next(iter(x509_ocsp.load_der_ocsp_response(answer.der).responses))
        listed = crl.get_revoked_certificate_by_serial_number(serial)
        row = core.store.certificate(issuer.id, serial)
        if listed is not None:
            # Revoked is for ever, by whichever of the two a client heard of it.
            assert said.certificate_status is x509_ocsp.OCSPCertStatus.REVOKED
        if said.certificate_status is not x509_ocsp.OCSPCertStatus.REVOKED:
            assert row.status.state is CertificateState.GOOD
            continue
        if row.status.changed_at < kept.this_update and (issuer.label == "signing" or row.not_after > kept.this_update):
            assert listed is not None, "OCSP knew of it before the CRL was made"
        if listed is not None and row.status.changed_at < kept.this_update:
            assert listed.revocation_date_utc == said.revocation_time_utc
            reasons = [each.value.reason for each in listed.extensions if isinstance(each.value, x509.CRLReason)]
            assert reasons == ([] if said.revocation_reason is None else [said.revocation_reason])


def responder_of(core: Core, reader: ReadStore, gate: SigningGate, issuer: Issuer) -> Responder:
    return Responder(
        store=reader,
        feed=reader.feed,
        gate=gate,
        clock=core.clock,
        settings=OCSPSettings(),
        directory=Directory([issuer], [delegate_of(core, issuer)]),
        epoch=MemoryEpoch(),
    )


DELEGATES: dict[str, Delegate] = {}
"""Opened once: decrypting a key is made to be slow."""


def delegate_of(core: Core, issuer: Issuer) -> Delegate:
    """The first delegate, with a life as long as the CA's: this is not about renewal."""
    if issuer.label not in DELEGATES:
        credential = tenures(core, CredentialKind.OCSP, issuer.label)[0].credential
        signer = core.keys.load(credential.key_reference)
        DELEGATES[issuer.label] = replace(load_delegate(credential, issuer, signer, NOW), not_after=issuer.not_after)
    return DELEGATES[issuer.label]


def test_what_the_code_signing_crl_promises_about_expired_certificates_is_kept(base: Base, tmp_path: Path) -> None:
    """Twelve years on, the date in expiredCertsOnCRL moves with the retention, and what ended later is still listed."""
    shutil.copy(base.home / "ca.db", tmp_path / "ca.db")
    store = open_issuance_store(f"sqlite:///{tmp_path / 'ca.db'}")
    with closing(store):
        core = Core(store, KeyStore(base.home, b"a passphrase"), Settings(caa=False), ManualClock())
        issued: list[tuple[Issuer, int]] = []
        act(core, issued, ("issue", "signing"))
        [(issuer, serial)] = issued
        revoke_row(core, issuer, serial, Reason.keyCompromise)
        end = store.certificate(issuer.id, serial).not_after
        moment = Period(months=120).end(end)
        for now in (end + DAY, moment, moment + 30 * DAY, moment + 60 * DAY):
            advance(core, now - core.now())
            crl = x509.load_der_x509_crl(sign_crl(core, issuer).der)
            listed = crl.get_revoked_certificate_by_serial_number(serial) is not None
            assert listed or expired_since(crl) > end
        assert not listed
        assert expired_since(crl) > NOW


def expired_since(crl: x509.CertificateRevocationList) -> int:
    value = crl.extensions.get_extension_for_oid(EXPIRED_CERTS_ON_CRL).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return int(datetime.strptime(value.value[2:-1].decode() + "+0000", "%Y%m%d%H%M%S%z").timestamp())


def test_an_old_crl_is_still_there_under_its_number(server: Server) -> None:
    """Signatures that are to outlive their certificates need the CRL of their time, not the newest."""
    newest = x509.load_der_x509_crl(fetch(server, "server-rsa"))
    number = newest.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    for each in range(1, number + 1):
        reply = ask(f"{server.url}/crl/server-rsa/{each}.crl")
        assert (reply.status, reply.content_type) == (200, "application/pkix-crl")
        found = x509.load_der_x509_crl(reply.body)
        assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == each
    for wrong in (0, number + 1000, "01", "-1", "1/1", "9" * 30, "x"):
        assert ask(f"{server.url}/crl/server-rsa/{wrong}.crl").status == 404
