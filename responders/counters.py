"""The fixed set of everything that is counted: metric name and label values. No label ever comes from a client."""

from __future__ import annotations

from itertools import product
from typing import Final

from tsa.clock import ClockFault

OCSP_ANSWERS: Final = "ocsp_answers"
TIMESTAMPS: Final = "timestamps"
DOCUMENTS: Final = "documents"
REFUSALS: Final = "http_refusals"
CACHE: Final = "ocsp_cache"
PURGES: Final = "cache_purges"
OVER_BUDGET: Final = "ocsp_nonces_over_budget"
CLOCK_FAULTS: Final = "tsa_clock_faults"
COUNTERSIGNATURES: Final = "countersignatures"
LOG_ENTRIES: Final = "tsa_log_entries"

OVERLOAD: Final = "overload"
"""The outcome of a time-stamp request that was answered with HTTP 503."""

NOT_MODIFIED: Final = "notModified"
"""The outcome of a GET whose client has the answer already."""
OUTCOMES: Final = (
    "good",
    "revoked",
    "unknown",
    "several",
    "malformedRequest",
    "internalError",
    "tryLater",
    "unauthorized",
    NOT_MODIFIED,
)
METHODS: Final = ("GET", "POST")
"""HEAD is counted as GET."""
CERT_ID_HASHES: Final = ("sha1", "sha256", "other", "none")
"""How clients name an issuer in signed answers; unsigned ones have none."""

_LABELS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    OCSP_ANSWERS: (OUTCOMES, METHODS, CERT_ID_HASHES),
    TIMESTAMPS: (
        (
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
    ),
    DOCUMENTS: (("page", "ca", "crl", "unit", "log"),),
    REFUSALS: (("400", "404", "405", "408", "413", "417", "500", "503"),),
    CACHE: (("hit", "miss", "eviction", "signature", "repeat"),),
    PURGES: (("sent", "failed", "given_up"),),
    OVER_BUDGET: (),
    CLOCK_FAULTS: (tuple(ClockFault),),
    COUNTERSIGNATURES: (("granted", "malformed", "unavailable", OVERLOAD),),
    LOG_ENTRIES: (),
}
COUNTERS: Final = tuple((metric, values) for metric, labels in _LABELS.items() for values in product(*labels))
"""(metric, label values), in the order of the shared words: one answer is one addition, whatever it has of labels."""
_INDEX: Final = {name: at for at, name in enumerate(COUNTERS)}

HELP: Final = {
    OCSP_ANSWERS: (
        ("outcome", "method", "cert_id_hash"),
        "OCSP answers by certificate status or OCSPResponseStatus, HTTP method, and hash algorithm of the CertID.",
    ),
    TIMESTAMPS: (("outcome",), "Time-stamp replies by failInfo name, or granted."),
    DOCUMENTS: (("kind",), "Certificates, CRLs, descriptions of units, parts of the log and pages that were sent."),
    REFUSALS: (("status",), "Requests refused by HTTP status."),
    CACHE: (("event",), "What happened to the OCSP cache."),
    OVER_BUDGET: ((), "OCSP requests whose nonce was over the budget: answered with tryLater, or without it."),
    COUNTERSIGNATURES: (("outcome",), "Answers to Authenticode's own time-stamp protocol."),
    LOG_ENTRIES: ((), "Tokens and countersignatures that were written to the log of tokens."),
    CLOCK_FAULTS: (("fault",), "Times that the clock became unfit for time-stamps, by what was wrong with it."),
    PURGES: (("outcome",), "PURGE requests to HTTP caches that were heard or failed, and changes that were given up."),
}
"""Metric to the names of its labels and its description."""

BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0),
)
"""Upper bounds in seconds; 0.1 is the aim and 900 the limit of BR §4.9.9."""
REVOCATION_LAG: Final = "ocsp_revocation_lag_seconds"
ISSUANCE_LAG: Final = "ocsp_issuance_lag_seconds"
HISTOGRAMS: Final = {
    REVOCATION_LAG: "From the recorded time of a revocation to when a worker had heard of it.",
    ISSUANCE_LAG: "From the recorded time of an issuance to when a worker had heard of it.",
}
"""See ``responders.lag``."""

CACHE_OCTETS: Final = "ocsp_cache_octets"
CONNECTIONS: Final = "connections"
PURGES_WAITING: Final = "cache_purges_waiting"
LOG_PENDING: Final = "tsa_log_pending"
GAUGES: Final = (CACHE_OCTETS, CONNECTIONS, PURGES_WAITING, LOG_PENDING)
GAUGE_HELP: Final = {
    CACHE_OCTETS: "Octets held by the OCSP caches of all workers.",
    CONNECTIONS: "Open connections on the public listener.",
    LOG_PENDING: "Tokens that were answered and are not in the log of tokens yet.",
    PURGES_WAITING: "Changed certificates and CRLs that HTTP caches have yet to be told of.",
}


def counter_index(metric: str, *values: str) -> int:
    """Where the counter with these label values lies in ``COUNTERS``. Raises KeyError."""
    return _INDEX[metric, values]
