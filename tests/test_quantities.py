"""Every number of a run, from records made by hand, and how one is asked for."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.made import ending, record, run, with_metric, with_rows

import clipbench
from clipbench.budget import Budget
from clipbench.errors import USAGE, ClipbenchError
from clipbench.measurements import Measurement
from clipbench.quantities import (
    ALIASES,
    BUILT_IN,
    EXACT,
    Reading,
    asked,
    final_loss,
    first_at,
    known,
    manners,
    quantity,
    recorded,
    rounding_of_step,
)
from clipbench.questions import Better, Manner, Over, Scale, Target
from clipbench.records import EVAL_LOSS, OF_EVALUATIONS, OWN, Record

EXACTLY = 2.0**-23 / math.sqrt(12)  # the rounding of a loss of 1, kept in float32
COARSELY = 50 / math.sqrt(12)  # of a step, read at each 50th


def measured(values: Mapping[str, Sequence[float]], name: str = "norm", *, of: Record | None = None) -> Record:
    """A run with a quantity along some directions, at steps 50, 100, …"""
    rows = [
        Measurement(50 * place, 0.0, direction, name, value)
        for direction, of_direction in values.items()
        for place, value in enumerate(of_direction, start=1)
    ]
    return with_rows(of or record(run(), [5.0, 3.0]), rows)


def read(of: Record, text: str, target: Target | None = None) -> Reading | None:
    return asked(text, [of]).read(of, target)


# What clipbench knows by name

ENDED = ending(
    record(run(), [5.0, 4.0, 2.0, 1.5]), peak_bytes=1024, passes=400
)  # 200 steps of 0.01 s, evaluated every 50
BUILT_IN_READINGS: Mapping[str, Reading] = {
    "final_loss": Reading(1.5, rounding=1.5 * EXACTLY),
    "perplexity": Reading(math.exp(1.5), rounding=1.5 * EXACTLY, log=1.5),
    "steps_to_target": Reading(100.0, rounding=COARSELY / 100),
    "seconds_to_target": Reading(1.0, rounding=COARSELY / 100),
    "step_seconds": Reading(0.01),
    "train_seconds": Reading(2.0),
    "passes": Reading(400),
    "peak_bytes": Reading(1024),
    "directional_sharpness": Reading(2.0, left_out=2, log=math.log(2)),
    "rate_times_sharpness": Reading(1.0, left_out=1),
    "clipped_fraction": Reading(0.2),
    "learning_rate": Reading(0.3),
    "train_loss": Reading(1.25),
    "eval_loss_at_training_point": Reading(1.75),
    "train_slice_loss": Reading(0.75),
}
RECORDED: Mapping[str, tuple[str, Sequence[float]]] = {  # the direction, and what was probed
    "directional_sharpness": (OWN, [4.0, 1.0, -2.0, 0.0]),
    "rate_times_sharpness": (OWN, [-1.0, 3.0, math.nan]),
    "clipped_fraction": ("", [0.1, 0.3]),
    "learning_rate": ("", [0.4, 0.2]),
    "train_loss": ("", [4.0, 1.25]),
    "eval_loss_at_training_point": ("", [0.5, 1.75]),
    "train_slice_loss": ("", [0.5, 0.75]),
}


@pytest.mark.parametrize("name", [each.name for each in BUILT_IN])
def test_every_built_in_quantity_is_read_by_hand(name: str) -> None:
    made = ENDED
    if name in RECORDED:
        direction, values = RECORDED[name]
        made = measured({direction: values}, name, of=made)
    found, expected = read(made, name, Target(2.5)), BUILT_IN_READINGS[name]
    assert found is not None
    assert (found.at_least, found.left_out) == (expected.at_least, expected.left_out)
    for part in ("value", "rounding", "log"):
        assert getattr(found, part) == pytest.approx(getattr(expected, part), nan_ok=True), part


@pytest.mark.parametrize("name", [each.name for each in BUILT_IN])
@pytest.mark.parametrize("status", ["diverged", "failed", "unfinished"])
def test_of_a_run_that_did_not_finish_only_the_missed_target_is_a_number(name: str, status: Any) -> None:
    """It was at the target on its way; what it reached, its user cannot have."""
    made = record(run(), [5.0, 2.0], status=status)
    if name in RECORDED:
        direction, values = RECORDED[name]
        made = measured({direction: values}, name, of=made)
    missed = {"steps_to_target": 250.0, "seconds_to_target": 2.5} if status != "unfinished" else {}
    assert read(made, name, Target(2.5)) == (Reading(missed[name], at_least=True) if name in missed else None)


@pytest.mark.parametrize("name", [each.name for each in BUILT_IN])
def test_a_run_of_which_nothing_was_measured_has_no_such_number(name: str) -> None:
    bare = ending(record(run(), []), train_seconds=0.0, step_seconds=0.0)
    assert quantity(name).read(bare, None, None) is None


def test_what_is_compared_as_it_is_comes_from_the_outcome() -> None:
    ended = ending(record(run(), []), weights_sha256="ab", state_bytes=0, step_flops=12).outcome
    bare = ending(record(run(), []), weights_sha256="").outcome
    assert ended is not None
    assert bare is not None
    assert {each.name: each.read(ended) for each in EXACT} == {"weights": "ab", "state_bytes": 0, "step_flops": 12}
    assert {each.read(bare) for each in EXACT} == {None}


def test_every_quantity_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [each.name for each in BUILT_IN] + [each.name for each in EXACT]
    assert len(names) == len(set(names))
    assert all(each.meaning for each in BUILT_IN)
    assert all(each.meaning for each in EXACT)
    assert {name: quantity(name).name for name in ALIASES} == ALIASES
    assert set(ALIASES.values()) <= set(names)


# The loss, and the target


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([5.0, 2.0, 3.0], 3.0),  # the last, and not the least
        ({200: 3.0, 0: 5.0, 50: 2.0}, 3.0),  # by step, whatever the order in the file
        ([5.0, 2.0, math.nan], math.nan),
        ([], math.nan),
    ],
)
def test_the_final_loss_is_the_last_evaluation(curve: Any, expected: float) -> None:
    assert final_loss(record(run(), curve)) == pytest.approx(expected, nan_ok=True)


def reached(curve: Sequence[float] | Mapping[int, float], target: float, consecutive: int = 1) -> int | None:
    """The step at which the target was first reached."""
    found = first_at(record(run(), curve).measurements.series("", EVAL_LOSS), Target(target, consecutive))
    return None if found is None else found.step


HELD = [5.0, 2.0, 3.0, 1.9, 1.8, 2.5, 1.0, 1.0, 1.0]  # ≤ 2 at step 50, at 150 and 200, and from 300 on


@pytest.mark.parametrize(
    ("curve", "target", "consecutive", "step"),
    [
        ([5.0, 3.0, 2.0, 4.0, 1.0], 3.0, 1, 50),  # at it, or below
        ({0: 5.0, 150: 1.0, 40: 1.5, 170: 0.5}, 2.0, 1, 40),  # the least step, under an uneven cadence
        ([5.0, 3.0], 2.9, 1, None),
        ([5.0, math.nan, 4.0], 3.0, 1, None),
        ([5.0, math.inf, 4.0], 3.0, 1, None),
        ([5.0, -math.inf, 4.0], 3.0, 1, None),
        (HELD, 2.0, 1, 50),
        (HELD, 2.0, 2, 150),
        (HELD, 2.0, 3, 300),
        (HELD, 2.0, 4, None),
        ([5.0, 1.0, math.nan, 1.0, 1.0], 2.0, 2, 150),  # what is no number breaks a row
        ([], 2.0, 1, None),
    ],
)
def test_a_target_is_reached_at_the_first_of_so_many_evaluations_in_a_row(
    curve: Any, target: float, consecutive: int, step: int | None
) -> None:
    assert reached(curve, target, consecutive) == step


@given(st.lists(st.floats(0.1, 10.0), min_size=1), st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.integers(1, 3))
def test_a_harder_target_never_takes_fewer_steps(
    curve: list[float], one: float, other: float, consecutive: int
) -> None:
    easy, hard = reached(curve, max(one, other), consecutive), reached(curve, min(one, other), consecutive)
    assert hard is None or (easy is not None and easy <= hard)


def test_a_step_is_known_to_the_cadence() -> None:
    """Evaluated every 50 steps: it was reached anywhere in the 50 before, uniformly."""
    made = record(run(), [5.0])
    assert rounding_of_step(made, 100) == pytest.approx(COARSELY / 100)
    assert rounding_of_step(made, 1) == pytest.approx(COARSELY)
    assert rounding_of_step(made, 0) == 0.0


@pytest.mark.parametrize(
    ("budget", "status", "steps", "seconds"),
    [
        (Budget(200, "steps"), "finished", 250.0, 2.5),  # 200 steps were made, of 0.01 s each
        (Budget(9, "seconds"), "finished", 250.0, 2.5),
        (Budget(400, "steps"), "diverged", 450.0, 4.5),  # as if it had had the whole budget
        (Budget(400, "steps"), "failed", 450.0, 4.5),
        (Budget(9, "seconds"), "diverged", 950.0, 9.5),
        (Budget(1e6, "tokens"), "diverged", None, None),  # it has used none, so that nobody knows how far it was
    ],
)
def test_a_miss_counts_as_the_end_of_the_run_plus_one_evaluation(
    budget: Budget, status: Any, steps: float | None, seconds: float | None
) -> None:
    made = record(run(budget=budget), [5.0, 4.0], status=status)
    for name, expected in (("steps", steps), ("seconds", seconds)):
        found = read(made, name, Target(1.0))
        assert (found is None) == (expected is None)
        if found is not None:
            assert found == Reading(found.value, at_least=True)
            assert found.value == pytest.approx(expected)
        assert read(made, name) is None  # without a target there is nothing to miss


# What a probe recorded


def test_what_nobody_describes_is_linear_neither_way_better_and_a_mean() -> None:
    found = recorded("norm")
    assert (found.scale, found.better, found.over, found.noise) == ("linear", "neither", "mean", "seed")
    assert found.meaning == "as recorded: mean over the probed steps"
    assert read(measured({OWN: [-1.0, 4.0, math.nan, math.inf]}), "norm") == Reading(1.5, left_out=2)


@pytest.mark.parametrize(
    ("manner", "value", "left_out"),
    [
        (Manner("linear"), -0.5, 2),  # of −4, 1 and 1.5
        (Manner("linear", over="last"), 1.5, 0),
        (Manner("linear", over="least"), -4.0, 2),
        (Manner("linear", over="greatest"), 1.5, 2),
        (Manner("log"), math.sqrt(1.5), 3),
        (Manner("log", over="last"), 1.5, 0),
        (Manner("log", over="least"), 1.0, 3),
        (Manner("log", over="greatest"), 1.5, 3),
    ],
)
def test_one_number_stands_for_the_probed_steps(manner: Manner, value: float, left_out: int) -> None:
    """What is no number is left out, and on a log scale what is not positive."""
    made = measured({OWN: [-4.0, math.nan, 1.0, math.inf, 1.5]})
    found = recorded("norm", manner).read(made, None, None)
    assert found is not None
    assert (found.value, found.left_out) == pytest.approx((value, left_out))
    assert found.on(manner.scale) == pytest.approx(math.log(value) if manner.scale == "log" else value)


@pytest.mark.parametrize("manner", [Manner(scale, over=over) for scale in get_args(Scale) for over in get_args(Over)])
def test_without_a_usable_value_there_is_no_reading(manner: Manner) -> None:
    assert recorded("norm", manner).read(measured({OWN: [math.nan]}), None, None) is None
    assert recorded("norm", manner).read(measured({}), None, None) is None


def test_a_reading_has_a_logarithm_where_it_is_positive_and_finite() -> None:
    assert Reading(math.e).on("log") == 1.0
    assert Reading(5.0, log=2.0).on("log") == 2.0  # that of the mean, which rounding may have moved
    assert all(math.isnan(Reading(value).on("log")) for value in (0.0, -1.0, math.inf, math.nan))
    assert Reading(-1.0).on("linear") == -1.0


# A target of another quantity than the loss

RISING = [0.1, 0.9, 0.7, math.nan, 0.95, 0.9]
FALLING = [0.9, 0.1, 0.3, 0.05, 0.1, 0.1]


@pytest.mark.parametrize(
    ("values", "bound", "consecutive", "step", "missed"),
    [
        (RISING, {"at_least": 0.9}, 1, 50, False),
        (RISING, {"at_least": 0.9}, 2, 200, False),
        (RISING, {"at_least": 0.9}, 3, 200, True),  # it holds from there on, and may go on to
        (RISING, {"at_least": 0.96}, 1, 250, True),  # the end of the run plus one evaluation
        (FALLING, {"at_most": 0.1}, 1, 50, False),
        (FALLING, {"at_most": 0.1}, 2, 150, False),
        (FALLING, {"at_most": 0.01}, 1, 250, True),
        ([0.5, 0.6], {"at_least": 0.5}, 1, 0, False),
        ([0.5, math.inf], {"at_least": 0.6}, 1, 250, True),
    ],
)
def test_a_target_of_a_metric_is_reached_going_up_or_down(
    values: list[float], bound: dict[str, float], consecutive: int, step: float, missed: bool
) -> None:
    made = with_metric(record(run(), [5.0, 3.0]), values)
    goal = Target(consecutive=consecutive, quantity="accuracy", **bound)
    found = read(made, "steps", goal)
    assert found is not None
    assert (found.value, found.at_least) == (step, missed)
    if not missed and step:
        assert found.rounding == pytest.approx(COARSELY / step)
    seconds = read(made, "seconds", goal)
    assert seconds is not None
    # Of a metric's measurements the seconds; the run itself took 2 s, and an evaluation interval of it 0.5 s.
    assert seconds.value == pytest.approx(2.5 if step == 250 else 0.01 * step)


def test_what_no_evaluation_records_is_reached_and_missed_by_nobody() -> None:
    goal = Target(quantity="accuracy", at_least=0.5)
    assert read(record(run(), [5.0, 3.0]), "steps", goal) is None
    assert read(measured({"": [0.9, 0.9]}, "accuracy"), "steps", goal) is None  # by a probe, not by evaluations
    assert read(record(run(), [5.0], status="diverged"), "steps", goal) is None


def test_a_broken_run_misses_the_target_of_a_metric_that_it_recorded() -> None:
    broken = with_metric(record(run(budget=Budget(400, "steps")), [5.0], status="diverged"), [0.9])
    assert read(broken, "steps", Target(quantity="accuracy", at_least=0.5)) == Reading(450.0, at_least=True)


@pytest.mark.parametrize("name", OF_EVALUATIONS)
def test_every_loss_of_an_evaluation_may_be_the_target(name: str) -> None:
    rows = [Measurement(50 * place, 0.0, "", name, value) for place, value in enumerate([4.0, 2.0, 1.0], start=1)]
    found = read(with_rows(record(run(), []), rows), "steps", Target(quantity=name, at_most=2.0))
    assert found is not None
    assert found.value == 100


# What a task's metrics recorded, at step 0 already


def metered(values: Sequence[float]) -> Record:
    return with_metric(record(run(), [5.0, 3.0]), values, "recall")


def test_a_metric_is_read_at_the_last_evaluation_unless_its_task_says_otherwise() -> None:
    made = metered([0.1, 0.5, 0.4])
    found = known([made])["recall"]
    assert (found.scale, found.better, found.over) == ("linear", "neither", "last")
    assert found.meaning == "as recorded: at the last evaluation"
    assert read(made, "recall") == Reading(0.4)
    said = manners("QUANTITIES = {'recall': ('linear', 'higher', 'greatest')}")
    best = asked("recall", [made], said)
    assert best.quantity.better == "higher"
    assert best.quantity.meaning == "as recorded: greatest over the evaluations"
    assert best.read(made, None) == Reading(0.5)


def test_a_metric_that_ends_without_a_number_has_no_reading() -> None:
    assert read(metered([0.1, math.nan]), "recall") is None


def test_a_run_that_was_stopped_before_its_metric_does_not_make_it_a_probes() -> None:
    """The layouts of several runs are looked at, the first of which has no step 0."""
    probed, evaluated = measured({"": [1.0, 3.0]}, "recall"), metered([1.0, 3.0])
    assert known([probed])["recall"].over == "mean"
    assert known([probed, evaluated])["recall"].over == known([evaluated, probed])["recall"].over == "last"


# Directions


def test_a_quantity_is_read_along_the_direction_that_is_asked_for() -> None:
    """Without @ along the arm's own, which also has the arm's name; of a ghost of the arm itself, the ghost's."""
    made = measured({OWN: [1.0], "adam": [2.0]})
    values = {text: getattr(read(made, text), "value", None) for text in ("norm", "norm@sgd", "norm@adam")}
    assert values == {"norm": 1.0, "norm@sgd": 1.0, "norm@adam": 2.0}
    assert str(asked("norm@adam", [made])) == "norm@adam"
    haunted = measured({OWN: [1.0], "sgd": [7.0]})
    found = read(haunted, "norm@sgd")
    assert found is not None
    assert found.value == 7.0


def test_a_direction_that_only_some_runs_have_is_nothing_in_the_others() -> None:
    with_ghost, without = measured({OWN: [1.0], "adam": [2.0]}), measured({OWN: [1.0]})
    along = asked("norm@adam", [with_ghost, without])
    assert along.read(without, None) is None


def test_sharpness_along_another_direction_is_another_quantity() -> None:
    made = record(run(), [5.0], sharpness=[4.0])
    ghost = Measurement(50, 0.0, "adam", "directional_sharpness", 1e6)
    assert read(with_rows(made, [ghost]), "sharpness") == read(made, "sharpness")


# How one is asked for


def test_all_that_was_recorded_is_known_but_the_curve_itself() -> None:
    there = known([measured({OWN: [1.0]}), measured({"adam": [1.0]}, "angle")])
    assert list(there) == [*(each.name for each in BUILT_IN), "norm", "angle"]
    assert all(name == each.name for name, each in there.items())
    assert EVAL_LOSS not in there


@pytest.mark.parametrize(
    ("text", "message", "first"),
    [
        ("norms", "no run has a quantity 'norms'", "norm"),
        ("step", "no run has a quantity 'step'", "steps"),
        ("", "no run has a quantity ''", ""),
        ("eval_loss", "no run has a quantity 'eval_loss'", ""),
        ("norm@adm", "norm along 'adm'", "adam"),
        ("norm@", "norm along ''", ""),
        ("norm@own", "norm along 'own'", ""),
        ("final_loss@adam", "final_loss along 'adam'", ""),
    ],
)
def test_what_no_run_has_is_an_error_that_names_the_nearest_first(text: str, message: str, first: str) -> None:
    with pytest.raises(ClipbenchError) as caught:
        asked(text, [measured({OWN: [1.0], "adam": [2.0]})])
    assert (caught.value.exit_code, message in str(caught.value)) == (USAGE, True)
    assert f": {first}" in str(caught.value) or text.startswith("final_loss")


def test_of_a_loss_there_is_no_direction_to_choose() -> None:
    with pytest.raises(ClipbenchError, match="leave out @adam"):
        asked("final_loss@adam", [record(run(), [5.0])])


# What a probe's file says of its quantities


def test_a_probes_file_says_more_of_its_quantities() -> None:
    text = "import torch\nQUANTITIES = {'norm': ('log', 'lower', 'last'), 'angle': ['linear', 'neither', 'mean']}\n"
    said = manners(text)
    assert said == {"norm": Manner("log", "lower", "last"), "angle": Manner()}
    of = asked("norm", [measured({OWN: [4.0, 2.0]})], said).quantity
    assert (of.scale, of.better, of.over) == ("log", "lower", "last")
    assert known([measured({OWN: [1.0]})], said)["norm"].over == "last"
    assert manners(text.replace(" =", ": dict[str, tuple[str, str, str]] =")) == said
    assert quantity("final_loss", {"final_loss": Manner("log")}).scale == "linear"  # which is not the user's


@pytest.mark.parametrize("text", ["", "x = 1\n", "def f(:\n", "if True:\n    QUANTITIES = 1\n", "a.QUANTITIES = 1\n"])
def test_a_file_that_says_nothing_of_them_or_cannot_be_read_has_none(text: str) -> None:
    assert manners(text) == {}


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "None",
        "['norm']",
        "{'norm'}",
        "dict(norm=('log', 'lower', 'last'))",
        "{'norm': 1}",
        "{'norm': 'log'}",
        "{'norm': ()}",
        "{'norm': ('log', 'lower')}",
        "{'norm': ('log', 'lower', 'last', 'last')}",
        "{'norm': ('lin', 'lower', 'last')}",
        "{'norm': ('log', 'less', 'last')}",
        "{'norm': ('log', 'lower', 'first')}",
        "{'norm': ([], 'lower', 'last')}",
        "{'norm': (SCALE, 'lower', 'last')}",
        "{**OTHERS}",
    ],
)
def test_what_is_not_of_the_form_is_refused_with_the_form(value: str) -> None:
    with pytest.raises(ValueError, match=r"QUANTITIES is \{name: \(scale, better, over\)\}"):
        manners(f"QUANTITIES = {value}\n")


def test_what_is_wrong_is_named_with_what_there_is_to_choose() -> None:
    with pytest.raises(ValueError, match="'norm' has") as caught:
        manners("QUANTITIES = {'norm': ('lin', 'lower', 'last')}")
    assert all(choice in str(caught.value) for of in (Scale, Better, Over) for choice in get_args(of))


def test_nothing_of_the_file_is_executed(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    assert manners(f"open({str(witness)!r}, 'w').close()\nQUANTITIES = {{}}\n") == {}
    with pytest.raises(ValueError, match="written out as a literal"):
        manners(f"QUANTITIES = {{'norm': open({str(witness)!r}, 'w')}}\n")
    assert not witness.exists()


def test_what_the_probes_of_clipbench_say_is_of_quantities_that_they_record() -> None:
    for name, (probe, scale, better) in {
        "gradient_norm": ("norms", "log", "neither"),
        "same_batch_sharpness": ("sharpness", "log", "lower"),
        "batch_sharpness": ("batch_sharpness", "log", "lower"),
        "taylor_best_decrease": ("taylor", "log", "higher"),
        "line_best_decrease": ("landscape", "log", "higher"),
    }.items():
        assert (quantity(name).scale, quantity(name).better) == (scale, better)
        text = (Path(clipbench.__file__).parent / f"probes/{probe}.py").read_text()
        assert name in manners(text)
        assert text.count(name.upper()) + text.count(f'"{name}"') > 1  # it is recorded as well
