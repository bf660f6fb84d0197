"""Frames that are entered for a request and for a piece of a body, against benchmarks/micro/budget.json.

A figure that grew makes this fail. If it has to grow, `scripts/benchmark --micro --update` makes it the budget, and the
commit says why; if it shrank, the same keeps it from growing again.
"""

from __future__ import annotations

import pytest

from benchmarks.micro.budget import Budget, available_codecs, measured_frames, python_version
from benchmarks.micro.frames import Counts, count_frames, frames_by_function
from benchmarks.micro.work import CODECS, WORK

MOST_PER_PIECE = 4  # docs/architecture.md: frames of our own for each piece of a body that is pushed to a handler


@pytest.fixture(scope="module")
def measured() -> dict[str, Counts]:
    return measured_frames()


def test_nothing_is_over_the_budget(measured: dict[str, Counts]) -> None:
    assert Budget.load().frames_over(measured) == []


def test_budget_covers_all_work_on_every_codec() -> None:
    assert set(Budget.load().frames) == {f"{codec}: {name}" for codec in CODECS for name in WORK}


@pytest.mark.parametrize("codec", available_codecs())
def test_a_plain_request_makes_no_task_timer_lock_or_async_generator(measured: dict[str, Counts], codec: str) -> None:
    counts = measured[f"{codec}: request"]
    assert {kind: counts[kind] for kind in ("tasks", "timers", "locks", "generators")} == {
        "tasks": 0,
        "timers": 0,
        "locks": 0,
        "generators": 0,
    }


@pytest.mark.parametrize("codec", available_codecs())
@pytest.mark.parametrize("name", ["piece, pushed to a handler", "chunk, many in a segment"])
def test_a_piece_of_a_body_enters_few_frames(measured: dict[str, Counts], codec: str, name: str) -> None:
    assert measured[f"{codec}: {name}"]["ours"] <= MOST_PER_PIECE


def test_counts_are_the_same_each_time() -> None:
    assert count_frames("request", "h11") == count_frames("request", "h11")


def test_functions_are_shown_with_how_often_they_are_entered() -> None:
    found = {function: number for number, function in frames_by_function("request", "h11")}
    assert found["work.py: small"] >= 1


def test_a_count_over_the_budget_is_told() -> None:
    budget = Budget(python_version(), {"h11: request": {"ours": 10, "all": 20, "tasks": 0}}, {"h11: request": 1000})
    assert budget.frames_over({"h11: request": {"ours": 10, "all": 20, "tasks": 0}}) == []
    assert budget.frames_over({"h11: request": {"ours": 11, "all": 20, "tasks": 1}}) == [
        "h11: request: 11 ours, the budget is 10",
        "h11: request: 1 tasks, the budget is 0",
    ]
    assert budget.instructions_over({"h11: request": 1020}) == []
    assert budget.instructions_over({"h11: request": 1100}) == ["h11: request: 1,100 instructions, the budget is 1,000"]


def test_frames_of_the_standard_library_count_on_the_python_of_the_budget_alone() -> None:
    budget = Budget("2.7", {"h11: request": {"ours": 10, "all": 20}}, {"h11: request": 1000})
    assert budget.frames_over({"h11: request": {"ours": 10, "all": 30}}) == []
    assert budget.frames_over({"h11: request": {"ours": 12, "all": 30}}) == ["h11: request: 12 ours, the budget is 10"]
    assert budget.instructions_over({"h11: request": 2000}) == []
