"""What each kind of certificate says, read by another implementation, and how openssl judges it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from fakes import NOW, ManualClock
from issuance_world import add_ca, advance, issuance, listed, make_csr, read_certificate, small_core

from ca_store.types import format_serial
from issuance.csr import decode_request
from issuance.errors import RequestRefused
from issuance.issuer import issue, new_serial, prepare
from issuance.period import Period, format_time, parse_time
from issuance.profile import CODE_SIGNING, SERVER
from issuance.rule_set import RULE_SETS
from issuance.subscriber import issue_from_request, order

if TYPE_CHECKING:
    from pathlib import Path

    from issuance.core import Core

DAY = timedelta(days=1)


class Expected(NamedTuple):
    """What the tables of BR §7.1.2, CSBR §7.1.2 and RFC 3161 §2.3 ask of one file of the demo home."""

    file: str
    issuer: str
    key_usage: str
    extended_key_usage: str | None
    critical: bool
    policy: str | None
    longest: timedelta
    pointers: bool = True


CASES = (
    Expected("root", "root", "key_cert_sign crl_sign", None, False, None, 9132 * DAY, False),
    Expected("server-rsa", "root", "key_cert_sign crl_sign", "serverAuth", False, "2.23.140.1.2.2", 7306 * DAY),
    Expected("server-ecc", "root", "key_cert_sign crl_sign", "serverAuth", False, "2.23.140.1.2.2", 7306 * DAY),
    Expected("code-signing", "root", "key_cert_sign crl_sign", "codeSigning", False, "2.23.140.1.4.1", 7306 * DAY),
    Expected("timestamp", "root", "key_cert_sign crl_sign", "timeStamping", False, "2.23.140.1.4.2", 7306 * DAY),
    Expected("demo-good", "server-rsa", "digital_signature", "serverAuth", False, "2.23.140.1.2.2", 199 * DAY),
    Expected(
        "demo-code-signer", "code-signing", "digital_signature", "codeSigning", False, "2.23.140.1.4.1", 460 * DAY
    ),
    Expected("tsa", "timestamp", "digital_signature", "timeStamping", True, "2.23.140.1.4.2", 4110 * DAY),
    Expected("tsa-p256", "timestamp", "digital_signature", "timeStamping", True, "2.23.140.1.4.2", 4110 * DAY),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_certificate_says_what_its_profile_demands(demo_home: Path, case: Expected) -> None:
    certificate = read_certificate(demo_home / "certs" / f"{case.file}.pem")
    issuer = read_certificate(demo_home / "certs" / f"{case.issuer}.pem")
    extensions = certificate.extensions

    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert _names(usage.value) == set(case.key_usage.split())
    if case.extended_key_usage is None:
        assert not _has(certificate, x509.ExtendedKeyUsage)
    else:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert [purpose._name for purpose in purposes.value] == [case.extended_key_usage]
        assert purposes.critical is case.critical
    if case.policy is None:
        assert not _has(certificate, x509.CertificatePolicies)
    else:
        policies = extensions.get_extension_for_class(x509.CertificatePolicies).value
        assert [policy.policy_identifier.dotted_string for policy in policies] == [case.policy]

    # BR §6.3.2: both ends of a validity count.
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc + timedelta(seconds=1) <= case.longest
    assert certificate.issuer.public_bytes() == issuer.subject.public_bytes()
    certificate.verify_directly_issued_by(issuer)
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert (authority.key_identifier, authority.authority_cert_issuer) == (above.digest, None)
    assert _pointers(certificate) == (_expected_pointers(demo_home, case.issuer) if case.pointers else [])


def _names(usage: x509.KeyUsage) -> set[str]:
    bits = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
    )
    return {bit for bit in bits.split() if getattr(usage, bit)}


def _has(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    return any(isinstance(extension.value, kind) for extension in certificate.extensions)


def _pointers(certificate: x509.Certificate) -> list[str]:
    found = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.AuthorityInformationAccess):
            for access in extension.value:
                name = "ocsp" if access.access_method == AuthorityInformationAccessOID.OCSP else "issuer"
                found.append(f"{name} {access.access_location.value}")
        if isinstance(extension.value, x509.CRLDistributionPoints):
            for point in extension.value:
                found += [f"crl {name.value}" for name in point.full_name or ()]
    return sorted(found)


def _expected_pointers(home: Path, issuer: str) -> list[str]:
    text = (home / "responders.toml").read_text()
    base = text.partition('base_url = "')[2].partition('"')[0]
    return [f"crl {base}/crl/{issuer}.crl", f"issuer {base}/ca/{issuer}.cer", f"ocsp {base}/ocsp"]


def test_a_subscriber_is_named_by_its_institution_in_the_order_of_the_baseline_requirements(demo_home: Path) -> None:
    subject = read_certificate(demo_home / "certs" / "demo-good.pem").subject
    # BR §7.1.4.2: C, ST, L, O, CN, one attribute an RDN; openssl prints what the DER holds.
    assert [(attribute.oid._name, attribute.value) for attribute in subject] == [
        ("countryName", "JP"),
        ("stateOrProvinceName", "Tokyo"),
        ("localityName", "Chiyoda-ku"),
        ("organizationName", "Example University"),
        ("commonName", "good.example.ac.jp"),
    ]
    assert bytes.fromhex("0603550406 1302 4a50") in subject.public_bytes()  # countryName is a PrintableString


def test_an_ocsp_delegate_is_as_br_7_1_2_8_wants_it(demo_home: Path, tmp_path: Path) -> None:
    for signer in listed("signer", "list", home=demo_home):
        if signer["kind"] != "ocsp":
            continue
        issuance(
            "cert",
            "show",
            "--ca",
            signer["ca"],
            "--serial",
            signer["serial"],
            "--out",
            tmp_path / "x.pem",
            home=demo_home,
        )
        certificate = read_certificate(tmp_path / "x.pem")
        extensions = certificate.extensions
        assert extensions.get_extension_for_class(x509.OCSPNoCheck)
        assert bytes.fromhex("06092b0601050507300105 0402 0500") in certificate.public_bytes(Encoding.DER)
        assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
            ExtendedKeyUsageOID.OCSP_SIGNING
        ]
        for absent in (
            x509.AuthorityInformationAccess,
            x509.CRLDistributionPoints,
            x509.CertificatePolicies,
            x509.BasicConstraints,
            x509.SubjectAlternativeName,
        ):
            assert not _has(certificate, absent)
        assert [attribute.oid for attribute in certificate.subject] == [
            NameOID.COUNTRY_NAME,
            NameOID.ORGANIZATION_NAME,
            NameOID.COMMON_NAME,
        ]
        expected = 3072 if signer["ca"] in ("code-signing", "timestamp") else 256
        assert certificate.public_key().key_size == expected  # type: ignore[union-attr]  # RSA and EC keys have one


def test_a_time_stamping_key_is_to_be_used_for_fifteen_months(demo_home: Path) -> None:
    """CSBR §6.3.2; the certificate lasts 135 months, so that its tokens can be checked."""
    certificate = read_certificate(demo_home / "certs" / "tsa.pem")
    usage = certificate.extensions.get_extension_for_class(x509.PrivateKeyUsagePeriod).value
    assert usage.not_before is not None
    assert usage.not_after is not None
    assert usage.not_before.replace(tzinfo=UTC) == certificate.not_valid_before_utc
    assert 455 * DAY < usage.not_after - usage.not_before < 457 * DAY
    assert 4107 * DAY < certificate.not_valid_after_utc - certificate.not_valid_before_utc < 4110 * DAY


@pytest.mark.interop("openssl")
@pytest.mark.parametrize(
    ("leaf", "issuer", "purpose"),
    [
        ("demo-good", "server-rsa", "sslserver"),
        ("demo-code-signer", "code-signing", "any"),
        ("tsa", "timestamp", "timestampsign"),
        ("tsa-p256", "timestamp", "timestampsign"),
        ("server-ecc", "root", "any"),
    ],
)
def test_openssl_verifies_the_chain_strictly(demo_home: Path, leaf: str, issuer: str, purpose: str) -> None:
    certs = demo_home / "certs"
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(certs / "root.pem")]
    command += ["-untrusted", str(certs / f"{issuer}.pem"), str(certs / f"{leaf}.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"{certs / f'{leaf}.pem'}: OK\n", done.stderr


def test_algorithms_are_encoded_as_the_baseline_requirements_print_them(demo_home: Path) -> None:
    """BR §7.1.3.1, octet for octet."""
    ecc = read_certificate(demo_home / "certs" / "server-ecc.pem").public_key()
    rsa = read_certificate(demo_home / "certs" / "server-rsa.pem").public_key()
    for key, identifier in (
        (ecc, "301006072a8648ce3d020106052b81040022"),
        (rsa, "300d06092a864886f70d0101010500"),
    ):
        assert bytes.fromhex(identifier) in key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_ecc_ca_signs_with_sha384(tmp_path: Path) -> None:
    core = small_core(tmp_path, ManualClock())
    add_ca(core, "root", "root")
    ecc = add_ca(core, "ecc", "server", "root")
    _, der = issue_from_request(core, ecc, SERVER, decode_request(make_csr("p384", common_name="a.example.ac.jp")))
    assert der.count(bytes.fromhex("300a06082a8648ce3d040303")) == 2
    core.store.close()


def test_serials_are_twenty_octets_and_never_the_same(tmp_path: Path) -> None:
    core = small_core(tmp_path, ManualClock())
    serials = {new_serial(core) for _ in range(500)}
    core.store.close()
    assert len(serials) == 500
    assert all(len(format_serial(serial)) == 40 and serial.bit_length() == 159 for serial in serials)


@pytest.mark.parametrize(
    ("start", "period", "end"),
    [
        ("2018-10-31T00:00:00Z", Period(months=52), "2023-02-27T23:59:59Z"),  # February has no 31st
        ("2019-10-31T12:00:00Z", Period(months=52), "2024-02-29T11:59:59Z"),
        ("2026-12-15T00:00:00Z", Period(months=1), "2027-01-14T23:59:59Z"),
        ("2026-11-25T04:00:00Z", Period(days=199), "2027-06-12T03:59:59Z"),
    ],
)
def test_a_validity_counts_both_of_its_ends(start: str, period: Period, end: str) -> None:
    """BR §6.3.2: all certificates of a CA were once a second too long."""
    assert format_time(period.last_second(parse_time(start))) == end


class TestIssuing:
    @pytest.fixture
    def core(self, tmp_path: Path) -> Core:
        core = small_core(tmp_path, ManualClock())
        add_ca(core, "root", "root")
        return core

    def test_nothing_outlives_its_issuer(self, core: Core) -> None:
        ecc = add_ca(core, "ecc", "server", "root")
        assert ecc.not_after == datetime(2047, 1, 15, 6, 59, 59, tzinfo=UTC).timestamp()
        advance(core, ecc.not_after - NOW - 86_400)
        _, der = issue_from_request(core, ecc, SERVER, decode_request(make_csr("p384", common_name="a.example.ac.jp")))
        assert x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() == ecc.not_after
        advance(core, 86_400)
        with pytest.raises(RequestRefused, match=r"ecc expired at 2047-01-15T06:59:59Z"):
            issue_from_request(core, ecc, SERVER, decode_request(make_csr("p384", common_name="b.example.ac.jp")))
        core.store.close()

    def test_a_code_signing_ca_must_answer_ten_years_after_its_certificates(self, core: Core) -> None:
        """CSBR §4.10.1."""
        signing = add_ca(core, "signing", "code-signing", "root")
        request = decode_request(make_csr("rsa-3072"))
        issue_from_request(core, signing, CODE_SIGNING, request)
        advance(core, 9 * 365 * 86_400)
        with pytest.raises(RequestRefused, match="create a new CA"):
            issue_from_request(core, signing, CODE_SIGNING, request)
        core.store.close()

    def test_a_draft_is_good_for_one_certificate(self, core: Core) -> None:
        ecc = add_ca(core, "ecc", "server", "root")
        request = decode_request(make_csr("p384", common_name="a.example.ac.jp"))
        named = order(request, SERVER, core.store.institutions(), RULE_SETS[-1])
        draft = prepare(core, ecc, SERVER, subject=named.subject, public_key=request.public_key, names=named.names)
        issue(core, draft)
        with pytest.raises(Exception, match="cannot become good"):
            issue(core, draft)
        core.store.close()
