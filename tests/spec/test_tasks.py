"""A task with terms of its own: its budget, its target and how often it is evaluated."""

import pytest
from spec.bench import MINIMAL, Bench

from clipbench.budget import Budget
from clipbench.data import Source
from clipbench.planning import runs as planning
from clipbench.planning.runs import plan, trials
from clipbench.questions import Target
from clipbench.spec import Overrides, load, question

OWN = "{use: bowl, budget: {steps: 60}, target: {loss: 2.6, consecutive: 2}, evaluate: {every: 15}}"
TWO = MINIMAL.replace("task: valley", f"task: [valley, {OWN}]") + "target: {loss: 0.5}\n"


@pytest.fixture(autouse=True)
def _sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SOURCES", {"bowl_data": Source(lambda: "abc")})


def test_the_runs_of_a_task_have_its_own_terms_and_those_of_others_the_specs(bench: Bench) -> None:
    runs = {run.task.name: run for run in plan(bench.load(TWO), device="cpu")}
    assert {name: (str(run.budget), run.measure.evaluate_every) for name, run in runs.items()} == {
        "valley": ("100 steps", 20),
        "bowl": ("60 steps", 15),
    }
    assert runs["bowl"].measure.probe_every == runs["valley"].measure.probe_every == 50
    assert "budget" not in runs["bowl"].task.options


def test_a_task_says_only_what_is_its_own(bench: Bench) -> None:
    spec = bench.load(TWO.replace(OWN, "{use: bowl, evaluate: {every: 15}}"))
    assert (spec.terms_of("bowl").budget, spec.terms_of("bowl").target) == (Budget(100.0, "steps"), Target(0.5))
    assert question(spec).targets == {}


def test_a_task_alone_may_have_terms_too(bench: Bench) -> None:
    [first, *_] = plan(bench.replaced("valley", "{use: valley, budget: {tokens: 9}}"), device="cpu")
    assert first.budget == Budget(9.0, "tokens")


def test_every_point_of_a_tasks_grid_has_its_terms(bench: Bench) -> None:
    spec = bench.replaced("task: valley", "task: {use: valley, depth: [1.0, 2.0], budget: {steps: 60}}")
    assert {(run.task.name, run.budget.amount) for run in plan(spec, device="cpu")} == {
        ("valley[depth=1]", 60),
        ("valley[depth=2]", 60),
    }


def test_the_question_has_the_target_of_each_task(bench: Bench) -> None:
    asked = question(bench.load(TWO))
    assert (asked.target, asked.consecutive) == (0.5, 1)
    assert asked.target_of("valley") == Target(0.5)
    assert asked.target_of("bowl") == Target(2.6, consecutive=2)
    assert question(bench.load()).target_of("valley") is None


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("{quantity: accuracy, at_least: 0.9}", Target(quantity="accuracy", at_least=0.9)),
        ("{quantity: err, at_most: 0, consecutive: 3}", Target(consecutive=3, quantity="err", at_most=0.0)),
        ("{quantity: train_slice_loss, at_most: 2}", Target(quantity="train_slice_loss", at_most=2.0)),
    ],
)
def test_a_target_may_be_of_any_quantity_for_all_tasks_or_for_one(bench: Bench, written: str, target: Target) -> None:
    of_all = question(bench.load(MINIMAL.replace("valley", "[valley, bowl]") + f"target: {written}\n"))
    assert (of_all.target, of_all.consecutive) == (None, 1)
    assert of_all.target_of("valley") == of_all.target_of("bowl") == target
    of_one = question(bench.load(TWO.replace("{loss: 2.6, consecutive: 2}", written)))
    assert (of_one.target_of("valley"), of_one.target_of("bowl")) == (Target(0.5), target)
    of_other = question(bench.load(TWO.replace("target: {loss: 0.5}", f"target: {written}")))
    assert (of_other.target_of("valley"), of_other.target_of("bowl")) == (target, Target(2.6, consecutive=2))


def test_a_bound_can_be_set_from_outside(bench: Bench) -> None:
    bench.load(MINIMAL + "target: {quantity: accuracy, at_least: 0.9}\n")
    spec = load(bench.path, Overrides(values=("target.at_least=0.5",)), shelves=bench.shelves)
    assert spec.target == Target(quantity="accuracy", at_least=0.5)


def test_a_trial_has_the_terms_of_its_task(bench: Bench) -> None:
    spec = bench.load(TWO.replace("lr: 0.1", "lr: [0.1, 0.2]") + "tuning: {seeds: [8]}\n")
    for task in spec.tasks:
        [of_first, _] = trials(spec, task, {"slow": spec.searched[0].settings}, device="cpu")["slow"]
        terms = spec.terms_of(task.name)
        assert (of_first[0].budget, of_first[0].measure.evaluate_every) == (terms.budget, terms.evaluate_every)


def test_a_quick_look_is_a_tenth_of_each_budget(bench: Bench) -> None:
    bench.load(TWO)
    spec = load(bench.path, Overrides(quick=True), shelves=bench.shelves)
    assert {run.task.name: run.budget.amount for run in plan(spec, device="cpu")} == {"valley": 10, "bowl": 6}


def test_terms_equal_to_the_specs_leave_the_runs_what_they_were(bench: Bench) -> None:
    same = bench.replaced("valley", "{use: valley, budget: {steps: 100}, evaluate: {every: 20}, target: {loss: 1}}")
    assert [run.key for run in plan(same, device="cpu")] == [run.key for run in plan(bench.load(), device="cpu")]


@pytest.mark.parametrize("task", ["valley", "[bowl, valley]", "{use: valley, target: {loss: 3}}"])
def test_terms_can_be_set_from_outside(bench: Bench, task: str) -> None:
    place = "1." if task.startswith("[") else ""
    spec = bench.replaced(
        "task: valley", f"task: {task}", f"task.{place}budget.steps=7", f"task.{place}evaluate.every=7"
    )
    assert spec.terms_of("valley").budget == Budget(7.0, "steps")
    assert spec.terms_of("valley").evaluate_every == 7


@pytest.mark.parametrize(
    ("own", "column", "fault"),
    [
        ("budget: {steps: 0}", 37, ".budget.steps: must be above 0, found 0"),
        ("budget: {stepps: 5}", 30, ".budget.stepps: there is no such key; did you mean 'steps'?"),
        ("budget: 5", 29, ".budget: expected a mapping, found 5; write {steps: 5}"),
        (
            "budget: {steps: 5, tokens: 5}",
            29,
            ".budget: a budget is in exactly one of steps, samples, tokens, epochs, seconds; this one has steps and "
            "tokens",
        ),
        ("target: {loss: low}", 36, ".target.loss: expected a number, found the text 'low'"),
        ("target: {}", 29, ".target: a target has exactly one of loss, quantity; this one has none"),
        ("evaluate: {every: 9, diverged: 0.2}", 42, ".evaluate.diverged: there is no such key; known: every"),
        (
            "evaluate: {every: 101}",
            39,
            ".evaluate.every: 101 is beyond the budget of 100 steps; to evaluate at the end alone, write 100",
        ),
        ("budgte: {steps: 5}", 21, ".budgte: 'valley' has no option 'budgte'; did you mean 'budget'?"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_wrong_terms_are_a_fault_at_their_place(bench: Bench, own: str, column: int, fault: str, listed: bool) -> None:
    entry = f"{{use: valley, {own}}}"
    found = bench.faults(lambda: bench.replaced("task: valley", f"task: [{entry}]" if listed else f"task: {entry}"))
    assert found == [f"2:{column + listed}: task{'.0' if listed else ''}{fault}"]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (
            "evaluate: {every: 50}",
            "a budget of 20 steps ends before the first evaluation, at step 50; give the task an `evaluate` of its own",
        ),
        (
            "measure: {every: 30}",
            "no step of the budget of 20 would be probed: the first after 0 is step 30; probe more often, or write "
            "`probes: []`",
        ),
    ],
)
def test_a_budget_too_small_for_the_specs_cadence_is_a_fault_of_the_task(
    bench: Bench, section: str, fault: str
) -> None:
    text = MINIMAL.replace("task: valley", "task: [bowl, {use: valley, budget: {steps: 20}}]") + f"{section}\n"
    [found] = bench.faults(lambda: bench.load(text))
    assert found.partition(": task.1.budget.steps: ")[2] == fault


def test_tuning_by_steps_needs_a_target_for_every_task(bench: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]") + "tuning: {seeds: [8], select: steps_to_target}\n"
    own = text.replace("task: valley", "task: {use: valley, target: {loss: 1}}")
    assert bench.load(own).tuning is not None
    some = text.replace("task: valley", "task: [bowl, {use: valley, target: {loss: 1}}]")
    [fault] = bench.faults(lambda: bench.load(some))
    assert "there is no `target` to count the steps to" in fault
