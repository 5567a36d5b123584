"""What an operator may choose about OCSP answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIN_VALIDITY: Final = 8 * 3600
"""BR §4.9.9: at least eight hours."""
MAX_VALIDITY: Final = 10 * 86_400 - 1
"""BR §4.9.9: at most ten days, both ends counted."""
_MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Every figure has a default that meets RFC 9919, BR §4.9.9 and Microsoft's root programme at once.

    The constructor raises ValueError with a sentence that names the field.
    """

    window: int = 3600
    """Seconds for which the answer about one certificate stays the same, octet for octet."""
    skew: int = 300
    """Seconds that thisUpdate lies before the window, for clients whose clock is slow."""
    validity: int = 7 * 86_400 - 1
    """Seconds from thisUpdate to nextUpdate."""
    unknown_window: int = 300
    """The window of a signed *unknown*: the certificate may be issued at any moment."""
    signed_unknown: bool = False
    """Sign *unknown* for an unassigned serial of a known issuer, instead of sending ``unauthorized``."""
    cert_ids: int = 32
    """The most CertIDs in one request."""
    nonce_limit_8954: bool = False
    """Refuse nonces of more than 32 octets, as RFC 8954 had it; RFC 9654 allows 128."""
    cache_octets: int = 64 * _MEBIBYTE
    """Bound of what one worker keeps: requests, answers and what it takes to find them."""
    feed_bound: float = 1.0
    """Seconds without confirmation of the change feed after which no cached answer is trusted."""
    retry_after: int = 5
    """Seconds after which a client that was told tryLater should come back."""
    nonce_rate: float = 0.0
    """Answers with a nonce per second that one worker makes for one client address; 0 does not count them."""
    nonce_burst: int = 20
    """How many an address may have at once when it has not asked for a while."""
    nonce_fallback: bool = False
    """Where an answer with a nonce is over the budget or the signing bounds, give the one that everyone gets, which has
    none, instead of tryLater (RFC 9919 §3.2.1 allows it).
    """

    def __post_init__(self) -> None:
        _check("validity", self.validity, MIN_VALIDITY, MAX_VALIDITY)
        # Microsoft's root programme wants a new answer at half of the validity; a window ends before that.
        _check("window", self.window, 1, self.validity // 2)
        _check("skew", self.skew, 0, 3600)
        _check("window + skew", self.window + self.skew, 1, self.validity // 2)
        _check("unknown_window", self.unknown_window, 1, self.window)
        _check("cert_ids", self.cert_ids, 1, 1000)
        _check("cache_octets", self.cache_octets, 0, 1 << 40)
        _check("feed_bound", self.feed_bound, 0, 60)
        _check("retry_after", self.retry_after, 1, 3600)
        if self.nonce_rate:
            _check("nonce_rate", self.nonce_rate, 0.001, 1_000_000)
        _check("nonce_burst", self.nonce_burst, 1, 1_000_000)


def _check(field: str, value: float, least: float, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{field} is {value}: it must lie between {least} and {most}")
