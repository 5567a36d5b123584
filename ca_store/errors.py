"""What the store can refuse, and why."""

from __future__ import annotations


class StoreError(Exception):
    """Anything the store refuses."""


class NotFound(StoreError):  # noqa: N818 - named as its meaning, like LookupError
    """There is no such record. Never raised because the database could not be asked."""


class StoreUnavailable(StoreError):  # noqa: N818 - the same
    """The database could not be asked, or did not answer in time. Says nothing about any record."""


class Conflict(StoreError):  # noqa: N818 - the same
    """The record exists already, or another writer was first."""


class IllegalMove(StoreError):  # noqa: N818 - the same
    """A certificate's status cannot move that way: nothing becomes good again after it was revoked."""


class KeyUnavailable(StoreError):  # noqa: N818 - the same
    """A private key could not be read: missing, readable by others, wrong passphrase, or a scheme not known here."""


class SigningOverload(StoreError):  # noqa: N818 - the same
    """Too many signatures are under way or waiting; the caller should tell its client to come back later."""
