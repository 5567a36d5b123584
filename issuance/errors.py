"""What issuance refuses; each message is one sentence for the person at the command line."""

from __future__ import annotations


class IssuanceError(Exception):
    """Anything issuance refuses."""


class NameRefused(IssuanceError):  # noqa: N818 - named as its meaning, like LookupError
    """No certificate may carry that name."""


class RequestRefused(IssuanceError):  # noqa: N818 - the same
    """A certificate cannot be issued as requested."""


class RevocationRefused(IssuanceError):  # noqa: N818 - the same
    """A certificate cannot be revoked that way."""


class SetupRefused(IssuanceError):  # noqa: N818 - the same
    """A home, a CA, a signer or an institution cannot be made that way."""


class AccessRefused(IssuanceError):  # noqa: N818 - the same
    """Whoever asks is no officer, or not one for that."""
