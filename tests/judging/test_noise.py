import math
from dataclasses import replace

import numpy as np
import pytest
from judging.made import record, run
from making import outcome_of
from scipy import stats

from clipbench.judging.noise import noise
from clipbench.judging.paired import effect_shown, seeds_to_show
from clipbench.records import Record


def twice(
    seed: int, *, seconds: tuple[float, float], losses: tuple[float, float] = (3.0, 3.0)
) -> tuple[Record, Record]:
    """A pair of runs; their bits are equal where their losses are."""
    one, other = (
        record(run(seed=seed), [5.0, loss], step_seconds=time) for loss, time in zip(losses, seconds, strict=True)
    )
    return one, other


def test_the_noise_of_times_is_that_of_their_log_ratios() -> None:
    pairs = [twice(0, seconds=(0.01, 0.01)), twice(1, seconds=(0.011, 0.01)), twice(2, seconds=(0.01, 0.011))]
    of = noise(pairs)
    assert (of.pairs, of.same_bits) == (3, 3)
    time = of.quantities[0]
    assert time.quantity == "time a step"
    assert time.deviation == pytest.approx(math.log(1.1))  # of −x, 0 and x about 0
    assert [each.quantity for each in of.quantities] == [
        "time a step",
        "final loss, equal seeds",
        "final loss, seeds not shared",
    ]


def test_equal_bits_mean_that_any_difference_in_loss_can_be_shown() -> None:
    equal, apart = noise([twice(0, seconds=(1, 1)), twice(1, seconds=(1, 1), losses=(3.3, 3.3))]).quantities[1:]
    assert set(equal.detectable.values()) == {0.0}
    assert apart.deviation == pytest.approx(math.sqrt(2) * math.log(1.1) / math.sqrt(2))


def test_other_bits_are_counted() -> None:
    of = noise([twice(0, seconds=(1, 1)), twice(1, seconds=(1, 1), losses=(3.0, 3.1))])
    assert of.same_bits == 1


def test_memory_has_a_line_where_it_is_on_record() -> None:
    pairs = []
    for seed, peaks in enumerate(((100, 110), (110, 100))):
        one, other = twice(seed, seconds=(1, 1))
        assert one.outcome
        assert other.outcome
        pairs.append(
            (
                replace(one, outcome=replace(one.outcome, peak_bytes=peaks[0])),
                replace(other, outcome=replace(other.outcome, peak_bytes=peaks[1])),
            )
        )
    memory = noise(pairs).quantities[1]
    assert memory.quantity == "peak memory"
    assert memory.deviation == pytest.approx(math.sqrt(2) * math.log(1.1))


def test_a_loss_of_zero_has_no_logarithm_and_is_left_out() -> None:
    pairs = [twice(seed, seconds=(1, 1), losses=(loss, loss)) for seed, loss in enumerate((3.0, 3.3, 0.0))]
    assert noise(pairs).quantities[1:] == noise(pairs[:2]).quantities[1:]


@pytest.mark.parametrize("side", [0, 1])
def test_memory_that_is_on_record_for_one_of_a_pair_has_no_line(side: int) -> None:
    pairs = []
    for seed in (0, 1):
        pair = list(twice(seed, seconds=(1, 1)))
        pair[side] = replace(pair[side], outcome=replace(outcome_of(pair[side]), peak_bytes=100 + seed))
        pairs.append((pair[0], pair[1]))
    assert "peak memory" not in {each.quantity for each in noise(pairs).quantities}


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_detectable_effect_is_the_least_that_so_many_seeds_show(n: int) -> None:
    effect = effect_shown(0.3, n)
    assert seeds_to_show(effect * (1 + 1e-9), 0.3) == n
    assert seeds_to_show(effect * (1 - 1e-6), 0.3) > n


@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_detectable_effect_is_found_in_four_of_five_simulated_tries(n: int) -> None:
    """About: the rule takes t's quantile for the noncentral t's, and is 4 points off with three seeds."""
    random = np.random.default_rng(n)
    draws = effect_shown(1.0, n) + random.standard_normal((20_000, n))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / math.sqrt(n))
    shown = float(np.mean(t > stats.t.ppf(0.975, n - 1)))
    assert shown == pytest.approx(0.80, abs=0.05)
