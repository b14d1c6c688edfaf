from dataclasses import replace

import pytest
from judging.audit.unfair import asked, fair, names, tuned
from judging.made import question, record, run, tuning

from clipbench.errors import UndecidedError
from clipbench.judging.audit.rules import RULES, audit, audit_plan


def test_rules_have_names_of_their_own_and_demand_something_in_a_sentence() -> None:
    assert len(set(names())) == len(RULES)
    assert all(rule.demand[0].isupper() and rule.demand.endswith(".") for rule in RULES)


def test_a_fair_comparison_breaks_no_rule() -> None:
    of = audit(fair(), asked(fair()), efforts=(tuned("sgd"), tuned("adam")))
    assert (of.of("warn"), of.of("fail")) == ((), ())
    assert of.of("not applicable") == ("twins tuned alike",)
    assert len(of.of("pass")) == len(RULES) - 1


def test_runs_of_an_earlier_version_of_the_spec_are_not_judged() -> None:
    """They have other rates and were cut short; the comparison leaves them out, and so does the audit."""
    earlier = [record(run("adam", seed=9, lr=7.0), [5.0, 3.0], environment=None)]
    assert audit([*earlier, *fair()], asked(fair())).findings == audit(fair(), asked(fair())).findings


def test_efforts_that_are_given_are_judged_and_not_those_on_record() -> None:
    of = replace(asked(fair()), tuning=tuning({"sgd": [0.1, 0.3], "adam": [0.1, 0.3]}))
    runs = [each.run for each in fair()]
    for judged in (audit(fair(), of), audit_plan(runs, of)):
        assert "equal trials" in judged.of("pass")
    unequal = (tuned("sgd"), tuned("adam", trials=9))
    for judged in (audit(fair(), of, efforts=unequal), audit_plan(runs, of, efforts=unequal)):
        assert "equal trials" in judged.of("fail")


def test_two_runs_for_one_place_are_not_judged() -> None:
    with pytest.raises(UndecidedError, match="two different runs"):
        audit([*fair(), record(run("adam", lr=7.0), [5.0, 3.0])], question("sgd", "adam"))


def test_a_plan_is_judged_by_what_is_known_before_it_is_run() -> None:
    of = audit_plan([each.run for each in fair()], replace(asked(fair()), keys=()))
    assert {"same budget", "same task", "same cadence", "same seeds"} <= set(of.of("pass"))
    assert {"one machine", "nothing dropped", "schedule complete"} <= set(of.of("not applicable"))
    assert of.of("fail") == ()
