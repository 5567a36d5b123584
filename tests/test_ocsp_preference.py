"""The client's preferred signature algorithms choose among an issuer's delegates, and lead to nothing weaker."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ObjectIdentifier
from fakes import DAY, NOW, TINY, KeySigner, TinyCA, p256_signer
from hypothesis import given
from hypothesis import strategies as st

from ca_store import der
from ocsp.directory import Directory
from ocsp.errors import MalformedRequest, Unauthorized
from ocsp.preference import Preference, decode_preferences
from ocsp.settings import MIN_VALIDITY

if TYPE_CHECKING:
    from ocsp.delegate import Delegate

RSA_SHA256, RSA_SHA1, RSA_MD5 = ("1.2.840.113549.1.1.11", "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4")
ECDSA_SHA256, ECDSA_SHA384 = ("1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3")
EC_KEY, P256, P384 = (der.oid(oid) for oid in ("1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.3.132.0.34"))
RSA_KEY = der.oid("1.2.840.113549.1.1.1")

CA = TinyCA()
RSA = CA.delegate(KeySigner(rsa.generate_private_key(65537, 3072)), serial=1)
EC = replace(CA.delegate(p256_signer(), serial=2), default=False)


def preferred(oid: str, *parameters: bytes, key: tuple[bytes, ...] = ()) -> bytes:
    """One PreferredSignatureAlgorithm."""
    return der.sequence(der.sequence(der.oid(oid), *parameters), der.sequence(*key) if key else b"")


def speaker(*preferences: bytes, delegates: tuple[Delegate, ...] = (RSA, EC), begins: int = NOW) -> Delegate:
    wanted = decode_preferences(der.sequence(*preferences))
    return Directory([CA.issuer], delegates).delegate(TINY, begins, NOW, wanted)


@pytest.mark.parametrize(
    ("preferences", "chosen"),
    [
        ([], RSA),
        ([preferred(ECDSA_SHA256)], EC),
        ([preferred(RSA_SHA256, der.NULL)], RSA),
        ([preferred(RSA_SHA256)], RSA),
        ([preferred(ECDSA_SHA384), preferred(ECDSA_SHA256), preferred(RSA_SHA256)], EC),
        ([preferred(RSA_SHA256), preferred(ECDSA_SHA256)], RSA),
        ([preferred(ECDSA_SHA256, key=(EC_KEY, P256))], EC),
        ([preferred(ECDSA_SHA256, key=(EC_KEY,))], EC),
        ([preferred(ECDSA_SHA256, key=(EC_KEY, P384))], RSA),
        ([preferred(ECDSA_SHA256, key=(EC_KEY, P384)), preferred(ECDSA_SHA256)], EC),
        ([preferred(RSA_SHA256, key=(RSA_KEY, der.NULL)), preferred(ECDSA_SHA256)], RSA),
        ([preferred(ECDSA_SHA256, key=(RSA_KEY, der.NULL))], RSA),
        ([preferred("1.2.3.4", der.sequence(der.NULL))], RSA),
    ],
)
def test_the_first_that_a_delegate_can_meet(preferences: list[bytes], chosen: Delegate) -> None:
    assert speaker(*preferences) is chosen


@pytest.mark.parametrize("weak", [RSA_SHA1, RSA_MD5])
def test_never_a_downgrade(weak: str) -> None:
    """Who prefers SHA-1 gets SHA-256, from the default delegate."""
    found = speaker(preferred(weak, der.NULL))
    assert found is RSA
    assert found.signer.algorithm.name == "sha256WithRSAEncryption"


def test_the_default_speaks_also_when_the_other_is_newer() -> None:
    assert speaker(delegates=(RSA, replace(EC, active_from=RSA.active_from + DAY))) is RSA


def test_another_algorithm_is_better_than_silence() -> None:
    assert speaker(delegates=(EC,)) is EC
    ended = replace(RSA, not_after=NOW + MIN_VALIDITY - 1)
    assert speaker(delegates=(ended, EC)) is EC
    with pytest.raises(Unauthorized):
        speaker(delegates=(ended,))


def test_each_algorithm_rolls_over_by_itself() -> None:
    successor = replace(EC, serial=3, active_from=NOW)
    everyone = (RSA, EC, successor)
    assert speaker(preferred(ECDSA_SHA256), delegates=everyone, begins=NOW - 1) is EC
    assert speaker(preferred(ECDSA_SHA256), delegates=everyone, begins=NOW) is successor
    assert speaker(delegates=everyone, begins=NOW) is RSA


def test_a_preference_waits_for_the_next_window_of_a_new_algorithm() -> None:
    """All nodes change over together, so that within one window one request has one answer."""
    assert speaker(preferred(ECDSA_SHA256), delegates=(RSA, replace(EC, active_from=NOW)), begins=NOW - 1) is RSA


@pytest.mark.parametrize(
    "value",
    [
        b"not even DER",
        b"",
        der.NULL,
        der.sequence(der.NULL),
        der.sequence(der.sequence()),
        der.sequence(der.sequence(der.sequence())),
        der.sequence(der.sequence(der.sequence(der.NULL))),
        der.sequence(der.sequence(der.sequence(der.oid(RSA_SHA256), der.NULL, der.NULL))),
        der.sequence(der.sequence(der.sequence(der.oid(RSA_SHA256)), der.NULL)),
        der.sequence(der.sequence(der.sequence(der.oid(RSA_SHA256)), der.sequence(der.NULL))),
        der.sequence(preferred(RSA_SHA256)) + b"\0",
        b"\x30\x80" + preferred(RSA_SHA256) + b"\0\0",
    ],
)
def test_what_is_no_list_of_preferences_is_refused(value: bytes) -> None:
    with pytest.raises((ValueError, MalformedRequest)):
        decode_preferences(value)


@given(st.binary(max_size=60))
def test_hostile_octets_raise_nothing_else(value: bytes) -> None:
    with suppress(ValueError, MalformedRequest):
        decode_preferences(der.sequence(value))


def test_what_is_read() -> None:
    read = decode_preferences(
        der.sequence(preferred(RSA_SHA256, der.NULL), preferred(ECDSA_SHA256, key=(EC_KEY, P256)))
    )
    assert read == (
        Preference(ObjectIdentifier(RSA_SHA256)),
        Preference(ObjectIdentifier(ECDSA_SHA256), (EC_KEY, P256)),
    )
