"""The fixed set of everything that is counted: metric name and label value. No label ever comes from a client."""

from __future__ import annotations

from typing import Final

OCSP_ANSWERS: Final = "ocsp_answers"
TIMESTAMPS: Final = "timestamps"
DOCUMENTS: Final = "documents"
REFUSALS: Final = "http_refusals"
CACHE: Final = "ocsp_cache"

OVERLOAD: Final = "overload"
"""The outcome of a time-stamp request that was answered with HTTP 503."""

_LABELS: Final[dict[str, tuple[str, ...]]] = {
    OCSP_ANSWERS: (
        "good",
        "revoked",
        "unknown",
        "several",
        "malformedRequest",
        "internalError",
        "tryLater",
        "unauthorized",
        "notModified",
    ),
    TIMESTAMPS: (
        "granted",
        "badAlg",
        "badRequest",
        "badDataFormat",
        "timeNotAvailable",
        "unacceptedPolicy",
        "unacceptedExtension",
        "addInfoNotAvailable",
        "systemFailure",
        OVERLOAD,
    ),
    DOCUMENTS: ("page", "ca", "crl", "unit"),
    REFUSALS: ("400", "404", "405", "408", "413", "417", "500", "503"),
    CACHE: ("hit", "miss", "eviction", "signature"),
}
COUNTERS: Final = tuple((metric, label) for metric, labels in _LABELS.items() for label in labels)
"""(metric, label value), in the order of the shared words."""
_INDEX: Final = {name: at for at, name in enumerate(COUNTERS)}

HELP: Final = {
    OCSP_ANSWERS: ("outcome", "OCSP answers by certificate status or OCSPResponseStatus."),
    TIMESTAMPS: ("outcome", "Time-stamp replies by failInfo name, or granted."),
    DOCUMENTS: ("kind", "Certificates, CRLs, descriptions of units and pages that were sent."),
    REFUSALS: ("status", "Requests refused by HTTP status."),
    CACHE: ("event", "What happened to the OCSP cache."),
}
"""Metric to the name of its label and its description."""

CACHE_OCTETS: Final = "ocsp_cache_octets"
CONNECTIONS: Final = "connections"
GAUGES: Final = (CACHE_OCTETS, CONNECTIONS)
GAUGE_HELP: Final = {
    CACHE_OCTETS: "Octets held by the OCSP caches of all workers.",
    CONNECTIONS: "Open connections on the public listener.",
}


def counter_index(metric: str, label: str) -> int:
    """Where a counter lies in ``COUNTERS``. Raises KeyError."""
    return _INDEX[metric, label]
