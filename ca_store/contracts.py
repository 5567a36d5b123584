"""What the layers above may ask of the CA database: Protocols whose docstrings are the contract.

Every method raises StoreUnavailable when the database cannot be asked, and never answers NotFound in that case.
Readers are asynchronous (the online server); writers are synchronous (the issuance commands). Both dialects keep
every promise made here: one contract suite runs against SQLite and PostgreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ca_store.types import (
        CRL,
        Application,
        AuditRecord,
        CAACheck,
        Certificate,
        CertificateState,
        Change,
        Credential,
        CredentialKind,
        Institution,
        Issuer,
        IssuerID,
        Officer,
        Reason,
        SerialBlock,
        Status,
    )


class StatusStore(Protocol):
    """One look-up, for the hot path."""

    async def status(self, issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:
        """Committed state at call time. Raises NotFound when no such serial was ever reserved under this issuer,
        also for serials that cannot exist (zero, negative, over 20 octets).

        With ``as_heard`` a state suffices that has every change the feed of this process has delivered: a replica may
        say it. It is for callers who forget a row when the feed says so, and who know that the feed is not behind.
        """
        ...


class SerialBlockStore(Protocol):
    """Time-stamp serials (RFC 3161 §2.4.2: unique for a TSA name, also after a crash)."""

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        """Commit, then return, a block that no one was given before under this DER subject name. What a process
        does not use of it is lost.
        """
        ...


class ChangeFeed(Protocol):
    """Committed changes, delivered to one process in the order of their commits."""

    @property
    def confirmed(self) -> float:
        """Monotonic time of the last moment up to which every committed change is known to have been delivered.
        While the feed is well this moves at least ten times a second.
        """
        ...

    async def run(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        """Deliver until cancelled, on the calling event loop. ``reset`` is called once at each (re)connection,
        before anything is delivered: whatever the caller remembers from before may be stale and must go. A lost
        database is retried for ever; ``confirmed`` stands still meanwhile.
        """
        ...


class ReadStore(StatusStore, SerialBlockStore, Protocol):
    """Everything the online server reads, and the one thing it writes (serial blocks)."""

    @property
    def feed(self) -> ChangeFeed:
        """The one feed of this process."""
        ...

    async def issuers(self) -> Sequence[Issuer]:
        """All issuers, in order of creation."""
        ...

    async def credentials(self, kind: CredentialKind) -> Sequence[Credential]:
        """All credentials of one kind, in order of creation, retired ones left out."""
        ...

    async def crl(self, label: str, number: int | None = None) -> CRL:
        """The newest CRL of the issuer with this label, or the one with this number, however old. Raises NotFound."""
        ...

    async def example(self, issuer: IssuerID, state: CertificateState, after: int) -> int | None:
        """The serial of some certificate of an issuer that is in this state and expires later than ``after`` (POSIX
        seconds); None when there is none, or none among the 10,000 lowest. Good or revoked, for whoever wants to try an
        answer.
        """
        ...

    async def revocations(
        self, since: int, *, after: tuple[IssuerID, int] | None = None, limit: int = 1000
    ) -> Sequence[tuple[IssuerID, int]]:
        """A page of the (issuer, serial) that were revoked, or whose revocation was corrected, at ``since`` or later by
        the issuance clock; ordered, from behind the pair ``after``. For those who may have missed a change: whoever
        follows the feed from before the call on misses none.
        """
        ...

    async def ping(self) -> None:
        """One round trip. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Release every connection. The store is of no use afterwards."""
        ...


class IssuanceStore(Protocol):
    """What the issuance core writes and reads. Each method is one transaction: committed when it returns, without
    trace when it raises. Each write that a responder must learn of enters the change feed in its own transaction.
    """

    def add_issuer(self, issuer: Issuer, key_reference: str, now: int) -> IssuerID:
        """Record a CA; ``issuer.id`` is ignored (a parent of None means self-signed). The CA certificate becomes a
        good row under its parent (a root: under itself), which must not have that serial except as reserved. Raises
        Conflict when label or key is taken, NotFound when the parent is unknown.
        """
        ...

    def issuer(self, label: str) -> Issuer:
        """Raises NotFound."""
        ...

    def issuer_key(self, issuer: IssuerID) -> str:
        """The key reference of a CA. Raises NotFound."""
        ...

    def issuers(self) -> Sequence[Issuer]:
        """All issuers, in order of creation."""
        ...

    def reserve(self, issuer: IssuerID, serial: int, profile: str, not_after: int, now: int) -> None:
        """Commit the status row of a serial before anything is signed under it. Raises Conflict when it exists."""
        ...

    def record(
        self,
        issuer: IssuerID,
        serial: int,
        certificate: bytes,
        subject: str,
        not_before: int,
        not_after: int,
        now: int,
    ) -> None:
        """Store the signed certificate and move its row from reserved to good. Raises IllegalMove when the row is
        not reserved (a revoked reservation stays revoked), NotFound when there is none.
        """
        ...

    def complete(self, issuer: IssuerID, serial: int, precertificate: bytes, certificate: bytes) -> None:
        """Keep a certificate instead of the precertificate (RFC 6962 §3.1) that was recorded under its serial. Its
        status, which answers have spoken of before, stays as it is. Raises NotFound, and IllegalMove when the serial is
        not good or something else than that precertificate is recorded: another process was first.
        """
        ...

    def revoke(self, issuer: IssuerID, serial: int, reason: Reason, revoked_at: int, now: int) -> Status:
        """Move a row to revoked, or correct reason and time of a revocation; the status that is now committed.
        Repeating a revocation with equal values changes nothing and succeeds. Raises NotFound, IllegalMove.
        """
        ...

    def revoke_all(
        self, issuer: IssuerID, reasons: Mapping[str, Reason], at: int, now: int, *, after: int = 0, limit: int = 1000
    ) -> Sequence[int]:
        """Revoke what an issuer has issued or reserved, of the profiles in ``reasons``, and has not revoked yet: at
        most ``limit`` serials behind ``after``, each at ``at`` or its notBefore, whichever is later. These serials in
        order; none when there was nothing left.
        """
        ...

    def put_sct_list(self, issuer: IssuerID, serial: int, sct_list: bytes, now: int) -> None:
        """Keep the SignedCertificateTimestampList (RFC 6962 §3.3, TLS-encoded) that OCSP answers about a good
        certificate carry from now on, instead of the one before. These SCTs are over the final certificate; those
        embedded in it are over its precertificate and would not verify there. Raises NotFound, IllegalMove, and
        ValueError for octets that are no such list.
        """
        ...

    def certificate(self, issuer: IssuerID, serial: int) -> Certificate:
        """Raises NotFound."""
        ...

    def certificates(
        self,
        *,
        issuer: IssuerID | None = None,
        state: CertificateState | None = None,
        profile: str | None = None,
        after: tuple[IssuerID, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Certificate]:
        """A page of certificates ordered by (issuer, serial), from behind the pair ``after``."""
        ...

    def revoked(
        self, issuer: IssuerID, *, retention: int = 0, since: int | None = None, after: int = 0, limit: int = 10_000
    ) -> Sequence[tuple[int, Status]]:
        """A page of (serial, status without SCT list) of the revoked serials of an issuer that belong on its next CRL,
        ordered by serial, from behind ``after``: an expired one stays for ``retention`` seconds, and then until it has
        been on one more CRL (RFC 5280 §3.3). With ``since`` only those that changed at that time or later.
        """
        ...

    def add_credential(self, credential: Credential, now: int) -> int:
        """Record an online key (``credential.id`` is ignored) and return its id. Its certificate's row must exist and
        be good. Raises NotFound, IllegalMove, and Conflict when (issuer, serial) is a credential already.
        """
        ...

    def credentials(self, kind: CredentialKind | None = None) -> Sequence[Credential]:
        """Credentials in order of creation, retired ones left out."""
        ...

    def retire_credential(self, credential_id: int, now: int) -> None:
        """Take a credential out of use for ever. Raises NotFound."""
        ...

    def next_crl_number(self, issuer: IssuerID) -> int:
        """One more than the highest number stored; 1 at first."""
        ...

    def add_crl(self, crl: CRL) -> None:
        """Store a signed CRL. Raises Conflict when its number is taken: another process was first."""
        ...

    def latest_crl(self, issuer: IssuerID) -> CRL:
        """Raises NotFound."""
        ...

    def add_institution(self, institution: Institution) -> None:
        """Raises Conflict when its name or one of its domains is taken."""
        ...

    def institutions(self) -> Sequence[Institution]:
        """All institutions by name."""
        ...

    def without_scts(
        self,
        profile: str,
        since: int,
        until: int,
        *,
        after: tuple[int, IssuerID, int] | None = None,
        limit: int = 1000,
    ) -> Sequence[Certificate]:
        """A page of the good certificates of a profile, recorded from ``since`` to ``until``, for which no SCT list is
        kept; ordered by (time of recording, issuer, serial), from behind the triple ``after``.
        """
        ...

    def certificates_named(self, start: str, limit: int = 1000) -> Sequence[Certificate]:
        """Certificates that were signed, whatever became of them, whose subject (RFC 4514) begins with this text; by
        subject, then by (issuer, serial).
        """
        ...

    def add_officer(self, officer: Officer, now: int) -> None:
        """Raises NotFound for an institution or a certificate that is not on record, IllegalMove for a certificate
        that is not good, Conflict when it is an officer's already.
        """
        ...

    def officers(self) -> Sequence[Officer]:
        """All officers, in order of registration; whoever has a new certificate is there twice."""
        ...

    def reserve_for(self, application: Application, profile: str, not_after: int, now: int) -> None:
        """``reserve`` the serial of an application, which is on record from then on. When it was before, and its
        serial is still reserved, that one is revoked, so that nothing can be issued twice; otherwise Conflict. Raises
        NotFound when its officer is not on record.
        """
        ...

    def application(self, digest: bytes) -> Application:
        """Raises NotFound."""
        ...

    def add_audit(self, record: AuditRecord) -> None:
        """Keep a record for ever."""
        ...

    def audits(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, AuditRecord]]:
        """A page of (number, record) in the order of their keeping, from behind the number ``after``."""
        ...

    def add_caa_check(self, check: CAACheck) -> None:
        """Keep what was seen and decided, for ever."""
        ...

    def caa_check(self, name: str, tag: str) -> CAACheck:
        """The newest look for a name. Raises NotFound."""
        ...

    def close(self) -> None:
        """Release every connection."""
        ...
