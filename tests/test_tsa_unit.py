"""What is refused before a unit may sign (RFC 3161 §2.3, CSBR §6.1.5.2, §6.8 and §7.1.2.3)."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from tsa_world import NOW, POLICY, MemorySigner, Profile, World, key, make_ca

from ca_store.types import CertificateState
from tsa.errors import UnitRefused
from tsa.settings import Settings, UnitSettings
from tsa.unit import load_unit

TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING


def moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


class Refused(NamedTuple):
    name: str
    profile: Profile
    sentence: str
    key: str = "p256"
    digest: str = "sha256"


REFUSED = (
    Refused("no EKU", Profile(without=(x509.ExtendedKeyUsage,)), "extKeyUsage is missing"),
    Refused("EKU not critical", Profile(critical=False), "extKeyUsage is not critical"),
    Refused(
        "a second purpose",
        Profile(purposes=(TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)),
        "extKeyUsage must be timeStamping and nothing else",
    ),
    Refused(
        "a purpose no one knows",
        Profile(purposes=(TIME_STAMPING, ObjectIdentifier("1.2.3.4"))),
        "extKeyUsage must be timeStamping and nothing else",
    ),
    Refused(
        "another purpose",
        Profile(purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,)),
        "extKeyUsage must be timeStamping and nothing else",
    ),
    Refused("no keyUsage", Profile(without=(x509.KeyUsage,)), "keyUsage is missing"),
    Refused("no digitalSignature", Profile(digital_signature=False), "keyUsage lacks digitalSignature"),
    Refused("a CA's keyUsage", Profile(cert_sign=True), "keyUsage has keyCertSign or cRLSign"),
    Refused("a CA", Profile(ca=True), "basicConstraints says it is a CA"),
    Refused("RSA-2048", Profile(), "subjectPublicKeyInfo is RSA of 2048 bits, not 3072 or more", "rsa-2048"),
    Refused("P-521", Profile(), "subjectPublicKeyInfo is on secp521r1, neither P-256 nor P-384", "p521", "sha512"),
    Refused(
        "certificate signed with another digest",
        Profile(digest="sha384"),
        "signatureAlgorithm has sha384, but the unit signs with ecdsa-with-SHA256",
    ),
    Refused("expired", Profile(not_after=moment(NOW - 1)), "notAfter"),
    Refused("not valid yet", Profile(not_before=moment(NOW + 1)), "notBefore"),
    Refused("key too old", Profile(key_until=moment(NOW - 1)), "validity or privateKeyUsagePeriod is over"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused_with_the_certificate_and_the_field(case: Refused) -> None:
    with pytest.raises(UnitRefused) as refusal:
        World().unit(case.key, case.digest, profile=case.profile)
    assert str(refusal.value).startswith(f"the certificate of time-stamping unit {case.key}: ")
    assert case.sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "digest"), [("p256", "sha256"), ("p384", "sha384"), ("rsa-3072", "sha256"), ("rsa-3072", "sha512")]
)
def test_accepted(name: str, digest: str) -> None:
    unit = World().unit(name, digest)
    assert unit.name == name
    assert unit.subject == f"CN=Time-stamping unit {name},O=Example University,C=JP"
    assert [row.name for row in unit.rows] == [f"unit {name}", "CA timestamp", "CA root"]


def test_basic_constraints_may_be_absent() -> None:
    assert World().unit(profile=Profile(without=(x509.BasicConstraints,)))


def test_the_key_must_be_the_certificates() -> None:
    with pytest.raises(UnitRefused, match="subjectPublicKeyInfo is not that of the unit's key"):
        World().unit(signer=MemorySigner(key("p256/another")))


def test_the_path_must_lead_to_the_given_root() -> None:
    world = World()
    good = world.unit()
    stranger = make_ca("stranger")
    certificate = x509.load_der_x509_certificate(good.certificates[0])
    settings, credential = UnitSettings(policy=POLICY), world.credential("p256", certificate)
    with pytest.raises(UnitRefused, match=r"unit p256: .*issuer"):
        load_unit("p256", settings, credential, [stranger.issuer], good.signer, NOW)
    with pytest.raises(UnitRefused, match="its issuer is not known here"):
        load_unit("p256", settings, credential, [], good.signer, NOW)


def test_a_units_period_ends_with_the_first_of_its_ends() -> None:
    world = World()
    assert world.unit(profile=Profile(not_after=moment(NOW + 5), key_until=moment(NOW + 9))).not_after == NOW + 5
    assert world.unit(profile=Profile(not_after=moment(NOW + 9), key_until=moment(NOW + 5))).not_after == NOW + 5
    assert world.unit(profile=Profile(not_before=moment(NOW - 3))).not_before == NOW - 3


def test_units_of_one_subject_share_their_tsa_name() -> None:
    world = World()
    old, new = (world.unit(profile=Profile(subject="TSA")) for _ in range(2))
    assert old.tsa_name == new.tsa_name != world.unit().tsa_name


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"policy": "one"}, "policy"),
        ({"policy": "3.1"}, "policy"),
        ({"policies": ["2.999.1", ""]}, "policy"),
        ({"accuracy_seconds": 1}, "accuracy_seconds"),
        ({"accuracy_seconds": 3601}, "accuracy_seconds"),
        ({"digests": []}, "digests"),
        ({"digests": ["sha1"]}, "digests"),
    ],
)
def test_unit_settings_are_checked(values: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(UnitSettings(policy=POLICY), **values)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"serial_block": 0}, "serial_block"),
        ({"serial_block": 2**32 + 1}, "serial_block"),
        ({"retry_pause": -1}, "retry_pause"),
        ({"revocation_max_age": -1}, "revocation_max_age"),
    ],
)
def test_settings_are_checked(values: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(Settings(), **values)  # type: ignore[arg-type]  # wrong on purpose


def test_lists_from_a_file_become_tuples() -> None:
    settings = UnitSettings(policy=POLICY, policies=["2.999.4"], digests=["sha512"])  # type: ignore[arg-type]  # as TOML has it
    assert (settings.policies, settings.digests) == (("2.999.4",), ("sha512",))


def test_a_fresh_credential_is_a_good_row() -> None:
    world = World()
    unit = world.unit()
    assert world.store.rows[unit.rows[0].issuer, unit.rows[0].serial].state is CertificateState.GOOD
