"""Which certificates to ask about: from a home's database, a file of serials, or certificates."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from ca_store.census import list_serials
from ca_store.database import open_issuance_store
from ca_store.errors import StoreError
from ca_store.home import CONFIGURATION, Home
from ca_store.types import CertificateState, CredentialKind, parse_serial
from responders.load.plan import Population
from responders.relying_party import ToolError, find_issuer, home_certificates, load_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

_STATES: Final = {"good": CertificateState.GOOD, "revoked": CertificateState.REVOKED}
_STATED: Final = ("good", "revoked", "unassigned")
_REVOKED: Final = "demo-revoked"
"""A certificate of this name in a home without a database is known to be revoked."""


def from_home(home: Path, labels: Sequence[str], now: int, most: int) -> Population:
    """The unexpired certificates in the database of a home, below the CAs with these labels (none: below all that have
    an OCSP delegate), at most ``most`` of each CA and state; without a database those in ``certs/``. Raises ToolError.
    """
    if not (home / CONFIGURATION).exists():
        return _from_folder(home)
    try:
        url = Home.open(home).database_url
        store = open_issuance_store(url)
        try:
            delegated = {each.issuer for each in store.credentials(CredentialKind.OCSP)}
            found = [each for each in store.issuers() if each.id in delegated and (not labels or each.label in labels)]
        finally:
            store.close()
        missing = sorted(set(labels) - {each.label for each in found})
        if missing:
            raise ToolError(f"{home} has no CA labelled {missing[0]!r} with an OCSP delegate", usage=True)
        subjects = {
            name: [
                (index, serial)
                for index, issuer in enumerate(found)
                for serial in list_serials(url, issuer.id, state, after=now, limit=most)
            ]
            for name, state in _STATES.items()
        }
    except StoreError as error:
        raise ToolError(str(error), usage=True) from None
    return _checked(Population([each.certificate for each in found], subjects))


def from_serials(file: Path, issuer: Path | None) -> Population:
    """A file with a serial in hex on each line and, behind it, ``good`` (what it is when nothing is said), ``revoked``
    or ``unassigned``; ``#`` begins a remark. ``issuer`` is the certificate of who issued them all. Raises ToolError.
    """
    if issuer is None:
        raise ToolError("a file of serials needs the certificate of their CA: give --issuer", usage=True)
    try:
        lines = file.read_text("ascii").splitlines()
    except OSError as error:
        raise ToolError(f"{file} cannot be read: {error.strerror}", usage=True) from None
    except UnicodeDecodeError:
        raise ToolError(f"{file} is not a list of serials", usage=True) from None
    subjects: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        state = words[1] if len(words) > 1 else "good"
        try:
            serial = parse_serial(words[0])
        except ValueError as error:
            raise ToolError(f"{file}, line {number}: {error}", usage=True) from None
        if state not in _STATED or len(words) > 2:  # noqa: PLR2004 - a serial and its state
            raise ToolError(f"{file}, line {number}: a serial is followed by one of {', '.join(_STATED)}", usage=True)
        subjects[state].append((0, serial))
    encoded = load_certificates(issuer)[0].public_bytes(Encoding.DER)
    return _checked(Population([encoded], dict(subjects)))


def from_certificates(files: Sequence[Path], issuer: Path | None, home: Path) -> Population:
    """The certificates in these files, each good or revoked; who issued them is ``issuer``, or among the home's, or
    fetched from where they say. Raises ToolError.
    """
    asked = [("any", each) for file in files for each in load_certificates(file)]
    known = [*home_certificates(home), *(each for _, each in asked)] if issuer is None else load_certificates(issuer)
    return _population(asked, known)


def _from_folder(home: Path) -> Population:
    known = home_certificates(home)
    try:
        paths = sorted((home / "certs").glob("*.pem"))
    except OSError as error:
        raise ToolError(f"{home} cannot be read: {error.strerror}", usage=True) from None
    asked = [
        ("revoked" if path.stem == _REVOKED else "any", load_certificates(path)[0])
        for path in paths
        if path.stem.startswith("demo-")
    ]
    return _population(asked, known)


def _population(asked: Sequence[tuple[str, x509.Certificate]], known: Sequence[x509.Certificate]) -> Population:
    issuers: list[x509.Certificate] = []
    subjects: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for state, certificate in asked:
        issuer = find_issuer(certificate, [*issuers, *known])
        if issuer not in issuers:
            issuers.append(issuer)
        subjects[state].append((issuers.index(issuer), certificate.serial_number))
    return _checked(Population([each.public_bytes(Encoding.DER) for each in issuers], dict(subjects)))


def _checked(population: Population) -> Population:
    if not any(population.subjects.values()):
        raise ToolError("there are no certificates to ask about: give --home, --serials or --certificates", usage=True)
    return population
