"""What `--quick` makes of a spec: a section of its own, or a tenth of the budget."""

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.budget import Budget
from clipbench.spec import Overrides, Spec, load


def quick(bench: Bench, section: str = "", *values: str) -> Spec:
    bench.path.write_text(MINIMAL + section)
    return load(bench.path, Overrides(values, quick=True), shelves=bench.shelves)


def test_without_a_section_it_is_one_seed_and_a_tenth_of_the_budget(bench: Bench) -> None:
    spec = quick(bench)
    assert (spec.name, spec.budget, spec.seeds) == ("race-quick", Budget(10.0, "steps"), (0,))
    assert spec.question.endswith("(A quick look: one seed and a tenth of the budget; not comparable.)")


def test_a_section_sets_what_it_says_by_its_path_and_nothing_where_no_quick_look_is_asked_for(bench: Bench) -> None:
    section = "quick: {optimizers.slow.lr: 0.7, budget: {samples: 30}, tuning: null}\n"
    spec = quick(bench, section)
    slow, _ = settled(spec)
    assert slow.optimizer.options["lr"] == 0.7
    assert spec.budget == Budget(30.0, "samples")
    assert "(A quick look: one seed under optimizers.slow.lr: 0.7, budget: {samples: 30}, " in spec.question
    whole = bench.load(MINIMAL + section)
    plain = bench.load()
    assert (whole.arms, whole.budget, whole.question) == (plain.arms, plain.budget, plain.question)


def test_a_section_that_sets_no_budget_leaves_a_tenth(bench: Bench) -> None:
    assert quick(bench, "quick: {optimizers.slow.lr: 0.7}\n").budget == Budget(10.0, "steps")


def test_what_the_command_line_sets_comes_after_the_section(bench: Bench) -> None:
    assert quick(bench, "quick: {budget.steps: 5}\n", "budget.steps=7").budget == Budget(7.0, "steps")


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("quick: {budgte.steps: 5}", "8:23: there is no 'budgte' in the spec; did you mean 'budget'?"),
        ("quick: {task.0.size: 5}", "8:22: there is no '0' in 'task'; known: use"),
        ("quick: 5", "8:8: quick: expected a mapping, found 5"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_fault_at_its_place(bench: Bench, section: str, fault: str, asked: bool) -> None:
    assert bench.faults(lambda: quick(bench, section) if asked else bench.load(MINIMAL + section)) == [fault]


def test_a_value_that_does_not_fit_is_a_fault_at_its_place(bench: Bench) -> None:
    assert bench.faults(lambda: quick(bench, "quick: {budget.steps: many}")) == [
        "8:23: budget.steps: expected a whole number, found the text 'many'"
    ]
