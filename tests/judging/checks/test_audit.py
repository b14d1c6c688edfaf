from dataclasses import replace

import pytest
from judging.checks.unfair import asked, fair, judged, last, tuned
from judging.made import question, record, run

from clipbench.budget import Budget
from clipbench.errors import UndecidedError
from clipbench.judging.checks.audit import CHECKS, audit, audit_plan
from clipbench.judging.compare import compare
from clipbench.judging.notes import CLOCK


def test_checks_have_names_of_their_own_and_demand_something_in_a_sentence() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.demand[0].isupper() and check.demand.endswith(".") for check in CHECKS)


def test_a_fair_comparison_fails_no_check() -> None:
    of = judged(fair(), asked(fair()), efforts=(tuned("sgd"), tuned("adam")))
    assert (of.of("warn"), of.of("fail")) == ((), ())
    assert of.of("not applicable") == ("twins tuned alike",)
    assert len(of.of("pass")) == len(CHECKS) - 1


def test_a_fair_comparison_of_untuned_arms_has_one_caveat_and_the_meaning_of_its_times() -> None:
    [untuned, clock] = compare(fair(), asked(fair())).caveats
    assert untuned.startswith("Learning rates come from the spec and were not tuned")
    assert clock == CLOCK


def test_the_gravest_caveat_comes_first_and_each_is_told_once() -> None:
    """A run of another budget fails; few seeds are a warning; a divergence is a result."""
    records = last([record(run("adam", seed=7), [5.0], status="diverged"), *fair(3)], budget=Budget(100, "steps"))
    caveats = compare(records, asked(records)).caveats
    places = [
        next(i for i, caveat in enumerate(caveats) if words in caveat) for words in ("budget", "With 3 seeds", "diverg")
    ]
    assert places == sorted(places)
    assert len(set(caveats)) == len(caveats)


def test_runs_of_an_earlier_version_of_the_spec_are_not_judged() -> None:
    """They have other rates and were cut short; the comparison leaves them out, and so does the audit."""
    earlier = [record(run("adam", seed=9, lr=7.0), [5.0, 3.0], environment=None)]
    assert audit([*earlier, *fair()], asked(fair())).findings == audit(fair(), asked(fair())).findings


def test_two_runs_for_one_place_are_not_judged() -> None:
    with pytest.raises(UndecidedError, match="two different runs"):
        audit([*fair(), record(run("adam", lr=7.0), [5.0, 3.0])], question("sgd", "adam"))


def test_a_plan_is_judged_by_what_is_known_before_it_is_run() -> None:
    of = audit_plan([each.run for each in fair()], replace(asked(fair()), keys=()))
    assert {"same budget", "same task", "same arm", "same cadence", "same seeds"} <= set(of.of("pass"))
    assert {"one machine", "nothing dropped", "schedule complete", "arms differ"} <= set(of.of("not applicable"))
    assert of.of("fail") == ()
