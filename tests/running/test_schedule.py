"""Schedules as functions of progress, and on an optimizer."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipbench.errors import ClipbenchError
from clipbench.records import Schedule
from clipbench.running.schedule import ScheduledRates, factor

schedules = st.builds(
    Schedule,
    use=st.sampled_from(["constant", "linear", "cosine", "wsd"]),
    warmup=st.floats(0, 0.9),
    final=st.floats(0, 1),
    decay=st.floats(0.01, 0.1),
)


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (Schedule(), 0.7, 1.0),
        (Schedule("linear"), 0.25, 0.75),
        (Schedule("linear", final=0.5), 1.0, 0.5),
        (Schedule("cosine"), 0.5, 0.5),
        (Schedule("cosine", final=0.1), 1.0, 0.1),
        (Schedule("cosine"), 1 / 3, 0.5 * (1 + math.cos(math.pi / 3))),
        (Schedule("constant", warmup=0.2), 0.1, 0.5),
        (Schedule("linear", warmup=0.2), 0.6, 0.5),
        (Schedule("wsd", warmup=0.1, decay=0.2), 0.05, 0.5),
        (Schedule("wsd", warmup=0.1, decay=0.2), 0.8, 1.0),
        (Schedule("wsd", decay=0.2), 0.85, 0.75),
        (Schedule("wsd", decay=0.2, final=0.5), 0.9, 0.75),
        (Schedule("wsd", decay=0.2), 1.0, 0.0),
        (Schedule("wsd", warmup=0.5, decay=0.5), 0.75, 0.5),
    ],
)
def test_the_factor_has_its_closed_form(schedule: Schedule, progress: float, expected: float) -> None:
    assert factor(schedule, progress) == pytest.approx(expected)


@given(schedules, st.floats(0, 1))
def test_the_factor_stays_between_zero_and_one(schedule: Schedule, progress: float) -> None:
    assert -1e-12 <= factor(schedule, progress) <= 1 + 1e-12


@given(schedules)
def test_the_rate_rises_during_warm_up_and_never_after(schedule: Schedule) -> None:
    points = [i / 50 for i in range(51)]
    values = [factor(schedule, point) for point in points]
    during = [value for point, value in zip(points, values, strict=True) if point <= schedule.warmup]
    assert all(left < right for left, right in itertools.pairwise(during))
    after = [value for point, value in zip(points, values, strict=True) if point >= schedule.warmup]
    assert all(right <= left + 1e-12 for left, right in itertools.pairwise(after))


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)])
def test_every_group_keeps_its_own_base_rate(rate: float | torch.Tensor) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": parameters[:1], "lr": rate}, {"params": parameters[1:], "lr": 0.1}]
    optimizer = torch.optim.Adam(groups, foreach=False)
    rates = ScheduledRates(optimizer, Schedule("linear"))
    rates.set(0.5)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.25, 0.05])
    assert math.isnan(rates.current())
    optimizer.param_groups[1]["lr"] = 0.25
    assert rates.current() == 0.25


def test_an_optimizer_without_a_rate_has_no_schedule_but_may_be_constant() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="'lr'"):
        ScheduledRates(optimizer, Schedule("cosine"))
    rates = ScheduledRates(optimizer, Schedule())
    rates.set(0.5)
    assert math.isnan(rates.current())


def stairs(progress: float) -> float:
    return 1.0 if progress < 0.5 else 0.1


def below(progress: float) -> float:
    return 0.5 - progress


def nothing(_: float) -> None:
    return None


def endless(progress: float) -> float:
    return 1.0 / progress if progress else math.inf


def test_a_function_of_the_users_own_gives_the_factor() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    rates = ScheduledRates(optimizer, Schedule(f"{__name__}:stairs"))
    seen = []
    for progress in (0.0, 0.49, 0.5, 1.0):
        rates.set(progress)
        seen.append(rates.current())
    assert seen == pytest.approx([0.2, 0.2, 0.02, 0.02])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("below", "is -0.01.* at a progress of 0.51"),
        ("nothing", "is None at"),
        ("endless", "is inf at a progress of 0"),
    ],
)
def test_what_is_no_factor_is_refused_before_a_step(name: str, found: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    with pytest.raises(ClipbenchError, match=f"the schedule '{__name__}:{name}' {found}"):
        ScheduledRates(optimizer, Schedule(f"{__name__}:{name}"))


def test_a_schedule_that_is_not_known_is_refused() -> None:
    with pytest.raises(ClipbenchError, match="there is no schedule 'cubic'"):
        factor(Schedule("cubic"), 0.5)
