"""What is read by its form is read as the decoder reads it, whatever the octets are."""

from __future__ import annotations

import contextlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocsp_wire import NULL, extension, integer, nonce, request, sequence, tlv

from ocsp import codec, forms
from ocsp.errors import MalformedRequest
from ocsp.forms import Decoder

SHA1 = sequence(bytes.fromhex("06052b0e03021a"), NULL)
SHA256 = sequence(bytes.fromhex("0609608648016503040201"))
PREFERRED = extension("06092b0601050507300108", sequence(sequence(sequence(bytes.fromhex("06082a8648ce3d040302")))))


def cert_id(serial: int, algorithm: bytes = SHA1, octets: int = 20) -> bytes:
    return sequence(algorithm, tlv(0x04, b"n" * octets), tlv(0x04, b"k" * octets), integer(serial))


def nonce_of(octets: bytes) -> bytes:
    return nonce(octets)


SERIALS = [1, 0x7F, 0x80, 0xFF00, 1 << 63, (1 << 159) - 1, (1 << 160) - 1]
SAMPLES = [
    *(request(cert_id(serial)) for serial in SERIALS),
    *(request(cert_id(serial, SHA256, 32)) for serial in SERIALS),
    *(request(cert_id(serial), extensions=(nonce_of(bytes(16)),)) for serial in SERIALS),
    request(cert_id(5), extensions=(nonce_of(secrets.token_bytes(32)),)),
    request(cert_id(5), extensions=(nonce_of(b"\1"),)),
    request(cert_id(5), extensions=(PREFERRED, nonce_of(secrets.token_bytes(32)))),
    request(cert_id(5), extensions=(nonce_of(secrets.token_bytes(32)), PREFERRED)),
    request(cert_id(5), extensions=(PREFERRED,)),
    request(cert_id(5), cert_id(6)),
    request(cert_id(5), cert_id(5)),
    request(cert_id(5), requestor=bytes.fromhex("8203612e62"), extensions=(nonce_of(bytes(range(32))),)),
]


def read(decode: Decoder | None, encoded: bytes) -> object:
    try:
        if decode is not None:
            return decode.decode(encoded)
        return codec.decode_request(encoded, cert_ids=32, nonce=128)
    except MalformedRequest:
        return "malformed"


def taught() -> Decoder:
    decoder = Decoder(cert_ids=32, nonce=128)
    for sample in SAMPLES:
        decoder.decode(sample)
    return decoder


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_a_request_that_was_read_before_is_read_alike(number: int) -> None:
    assert read(taught(), SAMPLES[number]) == read(None, SAMPLES[number]) != "malformed"


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.one_of(st.none(), st.tuples(*[st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])] * 2)),
)
def test_any_change_of_any_octet_is_read_alike(
    sample: bytes, changes: list[tuple[int, int]], first: tuple[int, int] | None
) -> None:
    """Lengths, tags, signs, leading zeros, the nonce's header: wherever it falls."""
    octets = bytearray(sample)
    for at, value in changes:
        octets[at % len(octets)] = value
    serial = sample.find(b"k" * 20 + b"\x02") + 22
    if first is not None and serial > 22 and serial + 2 <= len(octets):
        octets[serial : serial + 2] = first
    assert read(DECODER, bytes(octets)) == read(None, bytes(octets))


DECODER = taught()


@given(st.integers(1, (1 << 160) - 1), st.one_of(st.none(), st.binary(min_size=1, max_size=128)))
def test_any_serial_and_nonce_is_read_alike(serial: int, octets: bytes | None) -> None:
    encoded = request(cert_id(serial), extensions=() if octets is None else (nonce_of(octets),))
    assert read(DECODER, encoded) == read(None, encoded) != "malformed"


def test_the_same_form_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = taught()
    monkeypatch.setattr(codec, "decode_request", lambda *_, **__: pytest.fail("decoded"))
    found = decoder.decode(request(cert_id((1 << 159) - 7)))
    assert found.cert_ids[0].serial == (1 << 159) - 7
    sent = secrets.token_bytes(32)
    assert decoder.decode(request(cert_id(9), extensions=(nonce_of(sent),))).nonce == tlv(0x04, sent)


def test_the_memory_for_forms_is_bounded() -> None:
    decoder = Decoder(cert_ids=32, nonce=128)
    for number in range(3 * forms.FORMS):
        with contextlib.suppress(MalformedRequest):
            decoder.decode(
                request(
                    sequence(SHA1, tlv(0x04, number.to_bytes(20, "big")), tlv(0x04, bytes(20)), integer(number)),
                    extensions=(nonce_of(bytes(1 + number % 100)),),
                )
            )
    assert len(decoder._forms) <= forms.FORMS
    assert sum(map(len, decoder._by_length.values())) == len(decoder._forms)
