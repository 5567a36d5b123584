"""Settings refuse what no responder may be started with."""

from __future__ import annotations

from typing import Any

import pytest

from ocsp.settings import Settings


def test_the_defaults_meet_every_programme() -> None:
    """BR §4.9.9 and Microsoft's root programme: 8 hours to 7 days, and a new answer before half of it."""
    chosen = Settings()
    assert 8 * 3600 <= chosen.validity < 7 * 86_400
    assert chosen.window + chosen.skew <= chosen.validity // 2
    assert chosen.signed_unknown is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("validity", 8 * 3600 - 1),
        ("validity", 10 * 86_400),
        ("window", 0),
        ("window", 4 * 86_400),
        ("skew", -1),
        ("skew", 3601),
        ("unknown_window", 0),
        ("unknown_window", 3601),
        ("cert_ids", 0),
        ("cache_octets", -1),
        ("feed_bound", -0.1),
        ("retry_after", 0),
    ],
)
def test_a_field_out_of_bounds_is_named(field: str, value: float) -> None:
    arguments: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=f"^{field} is {value}: it must lie between"):
        Settings(**arguments)


def test_an_answer_is_replaced_before_half_of_its_validity() -> None:
    with pytest.raises(ValueError, match="window \\+ skew"):
        Settings(validity=8 * 3600, window=4 * 3600, skew=1)
