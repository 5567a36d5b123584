"""Reading requests that differ from one read before in nothing but the serial and the nonce.

Nearly all requests of a client are the same octets with another serial, and perhaps another nonce at their end.
Decoding one of them by ``ocsp.codec`` takes ten times what it takes to see that.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store import der
from ocsp import codec

if TYPE_CHECKING:
    from cryptography.x509 import ObjectIdentifier

    from ocsp.codec import Request
    from ocsp.preference import Preference

FORMS: Final = 256
"""The most forms that are remembered; what was learnt first is forgotten first."""
_SAME_LENGTH: Final = 8
"""The most forms of one length: each is compared."""
_LONGEST: Final = 512
"""Octets of a request worth remembering; for one certificate it has about 80, with a nonce 130."""
_SIGN: Final = 0x80


class Form(NamedTuple):
    """A request about one certificate, its serial and its nonce taken out."""

    before: bytes
    """Everything in front of the serial's contents octets."""
    behind: bytes
    """Everything from the serial to the nonce's contents octets, or to the end."""
    cert_id: int
    """Where the CertID begins."""
    serial: int
    """Where the serial's contents octets begin."""
    end: int
    """Where the serial and the CertID end."""
    nonce: int | None
    """Where the nonce's TLV begins; it ends with the request."""
    algorithm: ObjectIdentifier
    name_hash: bytes
    key_hash: bytes
    preferences: tuple[Preference, ...]

    def read(self, encoded: bytes) -> Request | None:
        """The request, when it has this form: then it would be read in the same way octet by octet."""
        if not encoded.startswith(self.before) or not encoded.startswith(self.behind, self.end):
            return None
        serial = encoded[self.serial : self.end]
        # Only a positive INTEGER in its shortest form.
        if serial[0] >= _SIGN or (serial[0] == 0 and (len(serial) == 1 or serial[1] < _SIGN)):
            return None
        cert_id = codec.CertID(
            encoded[self.cert_id : self.end],
            self.algorithm,
            self.name_hash,
            self.key_hash,
            int.from_bytes(serial, "big"),
        )
        return codec.Request((cert_id,), None if self.nonce is None else encoded[self.nonce :], self.preferences)


class Decoder:
    """``codec.decode_request`` with its bounds, and a memory for forms."""

    def __init__(self, *, cert_ids: int, nonce: int) -> None:
        self._cert_ids = cert_ids
        self._nonce = nonce
        self._forms: OrderedDict[Form, int] = OrderedDict()
        """With their lengths, in the order in which they were learnt."""
        self._by_length: dict[int, tuple[Form, ...]] = {}

    def decode(self, encoded: bytes) -> Request:
        """Raises MalformedRequest, and nothing else."""
        for form in self._by_length.get(len(encoded), ()):
            request = form.read(encoded)
            if request is not None:
                return request
        request = codec.decode_request(encoded, cert_ids=self._cert_ids, nonce=self._nonce)
        learnt = _form(encoded, request)
        if learnt is not None and learnt not in self._forms:
            self._learn(len(encoded), learnt)
        return request

    def _learn(self, octets: int, form: Form) -> None:
        alike = self._by_length.get(octets, ())
        if len(alike) == _SAME_LENGTH:
            self._forget(alike[0])
        elif len(self._forms) == FORMS:
            self._forget(next(iter(self._forms)))
        self._forms[form] = octets
        self._by_length[octets] = (*self._by_length.get(octets, ()), form)

    def _forget(self, form: Form) -> None:
        octets = self._forms.pop(form)
        self._by_length[octets] = tuple([other for other in self._by_length[octets] if other != form])
        if not self._by_length[octets]:
            del self._by_length[octets]


def _form(encoded: bytes, request: Request) -> Form | None:
    """What is to be remembered of a request that was read; None when it is not of the usual make."""
    if len(request.cert_ids) != 1 or len(encoded) > _LONGEST:
        return None
    (cert_id,) = request.cert_ids
    serial = der.integer(cert_id.serial)
    if cert_id.serial <= 0 or encoded.count(cert_id.encoded) != 1 or not cert_id.encoded.endswith(serial):
        return None
    at = encoded.index(cert_id.encoded)
    end = at + len(cert_id.encoded)
    begin = end - len(der.contents(serial))
    stop, nonce = len(encoded), None
    if request.nonce is not None:
        if encoded.count(request.nonce) != 1 or not encoded.endswith(request.nonce):
            return None
        stop = len(encoded) - len(der.contents(request.nonce))
        nonce = len(encoded) - len(request.nonce)
    return Form(
        before=encoded[:begin],
        behind=encoded[end:stop],
        cert_id=at,
        serial=begin,
        end=end,
        nonce=nonce,
        algorithm=cert_id.algorithm,
        name_hash=cert_id.name_hash,
        key_hash=cert_id.key_hash,
        preferences=request.preferences,
    )
