from dataclasses import replace

from judging.audit.unfair import asked, by_rule, fair
from judging.made import record, run

from clipbench.judging.audit.recorded import recorded
from clipbench.questions import Question, Space, Trial, Tuned, Tuning
from clipbench.records import Record

RATES = (0.03, 0.1, 0.3)


def trials(arm: str, rates: tuple[float, ...] = RATES) -> list[Record]:
    """One run a rate on the tuning seed 1000; the rate of 0.1 is the best."""
    return [
        record(run(arm, lr=rate, seed=1000, trial_of=arm), [5.0, 3.0 + (rate != 0.1)], status="finished")
        for rate in rates
    ]


def tuned(arm: str, made: list[Record], *, selected: float = 0.1) -> Tuned:
    found = tuple(Trial({"lr": each.run.arm.optimizer.options["lr"]}, (each.run.key,)) for each in made)
    space = Space("lr", values=tuple(trial.settings["lr"] for trial in found))
    return Tuned("code_lm", arm, (space,), found, planned=len(found), selected={"lr": selected})


def spec(sgd: list[Record], adam: list[Record], *, selected: float = 0.1) -> tuple[list[Record], Question]:
    tuning = Tuning((1000,), "grid", "eval_loss", (tuned("sgd", sgd, selected=selected), tuned("adam", adam)))
    return [*fair(), *sgd, *adam], replace(asked(fair()), tuning=tuning)


def test_trials_are_counted_with_what_they_cost() -> None:
    records, question = spec(trials("sgd"), trials("adam"))
    assert question.tuning is not None
    sgd, adam = recorded(question.tuning, {each.identity: each.run for each in records})
    assert (sgd.trials, sgd.seeds, sgd.searched, sgd.edges) == (3, (1000,), ("lr",), ())
    assert (sgd.spent, adam.spent) == ({"steps": 600.0}, {"steps": 600.0})


def test_trials_that_crashed_and_trials_that_are_gone_are_told() -> None:
    sgd, adam = trials("sgd"), trials("adam")
    crashed = record(sgd[0].run, [5.0], status="failed")
    records, question = spec([crashed, *sgd[1:]], adam)
    finding = by_rule(records, question)["nothing dropped"]
    assert (finding.verdict, finding.runs) == ("warn", ("code_lm/sgd/seed 1000",))
    assert finding.what.startswith("1 trial run of sgd on code_lm crashed: the arm had fewer settings to pick from")
    finding = by_rule([each for each in records if each is not adam[0]], question)["nothing dropped"]
    assert (finding.verdict, finding.runs) == ("fail", (adam[0].run.key, "code_lm/sgd/seed 1000"))
    assert finding.what.startswith("1 of 3 trial runs of adam on code_lm are not here; 1 trial run of sgd")


def under_earlier_keys(records: list[Record]) -> list[Record]:
    """As the folders of an earlier clipbench have them, whose runs this one would give other keys."""
    return [replace(each, key=f"earlier {each.run}") for each in records]


def test_trials_are_known_by_the_keys_they_were_made_under() -> None:
    sgd, adam = under_earlier_keys(trials("sgd")), under_earlier_keys(trials("adam", RATES[:2]))
    arms = tuple(
        replace(tuned(name, made), trials=tuple(Trial({"lr": 0.1}, (each.identity,)) for each in made))
        for name, made in (("sgd", sgd), ("adam", adam))
    )
    question = replace(asked(fair()), tuning=Tuning((1000,), "grid", "eval_loss", arms))
    found = by_rule([*fair(), *sgd, *adam], question)
    assert "600 steps" in found["equal tuning compute"].what
    as_results = replace(question, keys=(*question.keys, *(each.identity for each in sgd)))
    assert by_rule([*fair(), *sgd, *adam], as_results)["selection apart"].verdict == "fail"


def test_a_spec_that_was_tuned_fairly_breaks_no_rule_and_its_trials_are_no_results() -> None:
    found = by_rule(*spec(trials("sgd"), trials("adam")))
    assert {rule for rule, finding in found.items() if finding.verdict != "pass"} == {"twins tuned alike"}


def test_fewer_trials_or_a_best_value_at_the_edge_are_found() -> None:
    found = by_rule(*spec(trials("sgd"), trials("adam", RATES[:2])))
    assert (found["equal trials"].verdict, found["equal tuning compute"].verdict) == ("fail", "fail")
    found = by_rule(*spec(trials("sgd"), trials("adam"), selected=0.3))
    assert found["bracketed"].verdict == "fail"
