"""The soak of HTTP/2, short: tests/soak/run.py says what is accounted for. `scripts/soak` runs it at length."""

from __future__ import annotations

import pytest

from tests.soak.plans import make_plans
from tests.soak.run import soak


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_request_of_a_soak_is_accounted_for_and_no_credit_is_lost(seed: int) -> None:
    summary = await soak(requests=1000, seed=seed)

    assert summary.outcomes.total() == 1000
    assert summary.outcomes["answered"] > 300
    for outcome in ("answered after being turned away", "cancelled", "closed"):
        assert summary.outcomes[outcome] > 0, "the soak was too mild"
    for event in (
        "GOAWAY",
        "REFUSED_STREAM",
        "PING",
        "SETTINGS MAX_CONCURRENT_STREAMS",
        "SETTINGS INITIAL_WINDOW_SIZE",
    ):
        assert summary.events[event] > 0, "the soak was too mild"


def test_a_seed_gives_the_same_plans_again() -> None:
    assert make_plans(7, 50) == make_plans(7, 50)
    assert make_plans(7, 50) != make_plans(8, 50)
