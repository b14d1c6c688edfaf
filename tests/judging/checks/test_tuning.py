"""How settings were chosen: trials on record, or grids whose points are arms."""

from dataclasses import replace
from typing import Any

import pytest
from judging.checks.unfair import answers, asked, caveats, fair, found, planned, tuned
from judging.made import question, record, run, trials, tuning

from clipbench.judging.checks.audit import audit
from clipbench.judging.checks.efforts import recorded
from clipbench.judging.checks.evidence import Effort
from clipbench.questions import Question
from clipbench.records import Record

TUNED = (tuned("sgd"), tuned("adam"))
SELECTION = (
    "choice on record",
    "baseline tuned",
    "equal trials",
    "equal tuning compute",
    "bracketed",
    "fresh seeds",
    "selection apart",
)


def grid(rates: dict[str, list[float]], *, best: float = 0.1) -> list[Record]:
    """Every rate an arm, on one seed; the loss is least at the rate `best`."""
    return [
        record(run(f"{arm}[lr={rate}]", use=arm, lr=rate), [5.0, 3.0 + abs(rate - best)])
        for arm, of_arm in rates.items()
        for rate in of_arm
    ]


def of_grid(records: list[Record]) -> dict[str, str]:
    names = [each.run.arm.name for each in records]
    of = replace(asked(records, *names), baseline=names[0])
    return {check: found(check, records, of).verdict for check in SELECTION}


@pytest.mark.parametrize("check", SELECTION)
def test_arms_that_were_tuned_alike_on_other_seeds_pass(check: str) -> None:
    assert found(check, fair(), efforts=TUNED).verdict == "pass"


UNEQUAL = "Arms on code_lm were tuned unequally ({}): arms with more trials find better settings."
EDGE = "lr of sgd on code_lm is 3, the highest value tried"


@pytest.mark.parametrize(
    ("check", "unfair", "sentence"),
    [
        (
            "baseline tuned",
            (tuned("adam"), tuned("sgd", trials=1)),
            "The baseline sgd was not tuned on code_lm, but adam had trials.",
        ),
        (
            "equal trials",
            (tuned("sgd"), tuned("adam", trials=9)),
            UNEQUAL.format("sgd 4 trials of 800 steps and adam 9 trials of 800 steps"),
        ),
        ("equal trials", (tuned("sgd"),), UNEQUAL.format("sgd 4 trials of 800 steps and adam 0 trials")),
        (
            "equal tuning compute",
            (tuned("sgd"), tuned("adam", spent={"steps": 1600.0})),
            UNEQUAL.format("sgd 4 trials of 800 steps and adam 4 trials of 1600 steps"),
        ),
        ("equal tuning compute", (tuned("sgd"),), UNEQUAL.format("sgd 4 trials of 800 steps and adam 0 trials")),
        (
            "bracketed",
            (tuned("sgd", edges=(EDGE,)), tuned("adam")),
            f"The best {EDGE}: the baseline may be tuned too little.",
        ),
        (
            "fresh seeds",
            (tuned("sgd", seeds=(1000, 2)), tuned("adam")),
            "sgd on code_lm was tuned on seed 2 and is also reported there.",
        ),
    ],
)
def test_unfair_tuning_fails(check: str, unfair: tuple[Effort, ...], sentence: str) -> None:
    answer = found(check, fair(), efforts=unfair)
    assert (answer.verdict, answer.what) == ("fail", sentence)
    assert answer.runs


def test_an_arm_that_is_not_the_baseline_may_be_better_than_its_edge_shows_and_that_is_a_warning() -> None:
    answer = found("bracketed", fair(), efforts=(tuned("sgd"), tuned("adam", edges=(EDGE,))))
    assert (answer.verdict, answer.runs) == ("warn", ("adam",))


def test_a_run_that_chose_a_setting_is_no_result() -> None:
    records = fair()
    trial = tuned("sgd", keys=(records[0].run.key,))
    answer = found("selection apart", records, efforts=(trial, tuned("adam")))
    assert (answer.verdict, answer.runs) == ("fail", ("code_lm/sgd/seed 0",))


def test_rates_without_a_history_are_a_warning_and_no_trial_is_made_up() -> None:
    answer = found("choice on record", fair())
    assert answer.verdict == "warn"
    assert answer.what.startswith("Learning rates come from the spec and were not tuned")
    assert {found(check, fair()).verdict for check in SELECTION[1:]} == {"not applicable"}


def test_a_grid_has_its_trials_in_the_table_and_picking_from_it_is_warned_of() -> None:
    assert of_grid(grid({"sgd": [0.03, 0.1, 0.3], "adam": [0.03, 0.1, 0.3]})) == {
        "choice on record": "pass",
        "baseline tuned": "pass",
        "equal trials": "pass",
        "equal tuning compute": "not applicable",
        "bracketed": "pass",
        "fresh seeds": "not applicable",
        "selection apart": "warn",
    }


def test_an_arm_of_a_single_setting_is_no_grid_to_pick_from() -> None:
    records = [*grid({"sgd": [0.03, 0.1, 0.3]}), record(run("adam"), [5.0, 3.0])]
    answer = found("selection apart", records, asked(records, "sgd[lr=0.1]", "adam", baseline="adam"))
    assert (answer.verdict, answer.runs) == ("warn", ("sgd",))
    assert answer.what.startswith("Every point of 1 grid is in the table")


def test_grids_of_unequal_size_are_warned_of() -> None:
    assert of_grid(grid({"sgd": [0.03, 0.1, 0.3], "adam": [0.1, 0.3]}))["equal trials"] == "warn"
    assert of_grid([*grid({"adam": [0.03, 0.1, 0.3]}), record(run(), [5.0, 3.0])])["equal trials"] == "warn"


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_the_best_of_a_grid_at_its_edge_is_warned_of(best: float) -> None:
    records = grid({"sgd": [0.03, 0.1, 0.3]}, best=best)
    answer = found("bracketed", records, asked(records, "sgd[lr=0.1]", baseline="sgd[lr=0.1]"))
    assert (answer.verdict, answer.runs) == ("warn", ("sgd",))
    shown = f"{0.3 if best else 0.03}, the {'highest' if best else 'lowest'} value tried"
    assert f"The best lr of sgd on code_lm is {shown}: a better value may lie beyond." in answer.what


def test_a_diverged_point_of_a_grid_is_not_its_best() -> None:
    records = grid({"sgd": [0.03, 0.1, 0.3]})
    lucky = record(run("sgd[lr=1]", use="sgd", lr=1.0), [5.0, 0.1], status="diverged")
    assert of_grid([*records, lucky])["bracketed"] == "pass"


def test_no_clip_at_all_is_the_end_of_a_clips_grid_and_not_its_edge() -> None:
    records = [
        record(run(f"sgd[clip.fraction={clip}]", use="sgd", clip=clip or None), [5.0, 3.0 + clip])
        for clip in (0.0, 0.1, 0.5)
    ]
    assert of_grid(records)["bracketed"] == "pass"
    worse = [record(each.run, [5.0, 3.0 - (each.run.arm.clip.amount if each.run.arm.clip else 0)]) for each in records]
    assert of_grid(worse)["bracketed"] == "warn"


def test_the_least_fraction_of_a_clips_grid_is_an_edge_where_it_clips() -> None:
    records = [
        record(run(f"sgd[clip.fraction={clip}]", use="sgd", clip=clip), [5.0, 3.0 + clip]) for clip in (0.1, 0.2, 0.5)
    ]
    assert of_grid(records)["bracketed"] == "warn"


@pytest.mark.parametrize(("losses", "verdict"), [((2.0, 3.0, 4.0), "pass"), ((4.0, 3.0, 2.0), "warn")])
def test_of_any_option_zero_is_no_edge_for_what_it_switches_off_cannot_be_less(
    losses: tuple[float, ...], verdict: str
) -> None:
    """As it is where the grid is declared as tuning: `trials.edge`."""
    records = [
        record(run(f"sgd[momentum={value}]", use="sgd", options={"momentum": value}), [5.0, loss])
        for value, loss in zip((0.0, 0.5, 0.9), losses, strict=True)
    ]
    assert of_grid(records)["bracketed"] == verdict


def test_an_option_without_an_order_has_no_edge() -> None:
    records = [
        record(run(f"sgd[nesterov={value}]", use="sgd", options={"nesterov": value}), [5.0, 3.0 + value])
        for value in (False, True)
    ]
    assert of_grid(records)["bracketed"] == "pass"
    words = [
        record(run(f"sgd[form={form}]", use="sgd", options={"form": form}), [5.0, loss])
        for form, loss in (("a", 2.0), ("b", 3.0))
    ]
    assert of_grid(words)["bracketed"] == "pass"


def test_a_point_is_of_the_tuned_arm_of_its_name_unless_it_was_tuned_itself() -> None:
    records = [record(run(arm, seed=seed, use="sgd"), [5.0, 3.0]) for arm in ("sgd[x]", "lion[x]") for seed in (0, 1)]
    of = asked(records, "sgd[x]", "lion[x]", baseline="sgd[x]")
    answer = found("equal trials", records, of, efforts=(tuned("sgd"),))
    assert "(sgd 4 trials of 800 steps and lion[x] 0 trials)" in answer.what
    answer = found("equal trials", records, of, efforts=(tuned("sgd"), tuned("sgd[x]", trials=1)))
    assert "(sgd 4 trials of 800 steps, sgd[x] 1 trial of 800 steps and lion[x] 0 trials)" in answer.what
    for efforts, verdict in (((tuned("sgd"),), "pass"), ((tuned("sgd"), tuned("sgd[x]", trials=1)), "fail")):
        assert found("baseline tuned", records, of, efforts=efforts).verdict == verdict


def clipped(**changes: Any) -> list[Record]:
    return [
        record(each, [5.0, 3.0])
        for seed in range(5)
        for each in (run("sgd", seed=seed), run("sgd+clip", seed=seed, clip=0.1, **changes))
    ]


def test_a_clips_own_fraction_may_be_searched_beside_what_its_twin_searched() -> None:
    fairly = (tuned("sgd"), tuned("sgd+clip", searched=("lr", "clip.fraction")))
    assert found("twins tuned alike", clipped(), asked(clipped(), "sgd", "sgd+clip"), efforts=fairly).verdict == "pass"


@pytest.mark.parametrize(
    ("unfair", "what"),
    [
        (tuned("sgd+clip", trials=9), "tuned unequally (sgd 4 trials of 800 steps and sgd+clip 9 trials of 800 steps)"),
        (tuned("sgd+clip", searched=("lr", "momentum")), "searched different options on code_lm: lr and momentum and"),
        (tuned("sgd+clip", searched=("clip.fraction",)), "searched different options on code_lm: nothing and lr"),
    ],
)
def test_twins_that_were_tuned_otherwise_fail(unfair: Effort, what: str) -> None:
    answer = found("twins tuned alike", clipped(), asked(clipped(), "sgd", "sgd+clip"), efforts=(tuned("sgd"), unfair))
    assert answer.verdict == "fail"
    assert what in answer.what


def test_a_clipped_arm_without_trials_is_unlike_no_twin() -> None:
    """That it had none is told by another check."""
    of = asked(clipped(), "sgd", "sgd+clip")
    for one in ("sgd", "sgd+clip"):
        assert found("twins tuned alike", clipped(), of, efforts=(tuned(one),)).verdict == "pass"
        assert found("equal trials", clipped(), of, efforts=(tuned(one),)).verdict == "fail"


def test_twins_at_different_rates_without_a_history_are_warned_of() -> None:
    records = clipped(lr=1.0)
    answer = found("twins tuned alike", records, asked(records, "sgd", "sgd+clip"))
    assert answer.verdict == "warn"
    assert answer.what.startswith("sgd+clip and its twin sgd (1 against 0.1) have different learning rates, and no tun")
    assert answer.runs == ("sgd+clip", "sgd")
    same = clipped()
    assert found("twins tuned alike", same, asked(same, "sgd", "sgd+clip")).verdict == "not applicable"
    assert found("twins tuned alike", fair()).what == "No arm has a clip."


def test_a_clipped_arm_without_a_twin_is_not_judged() -> None:
    expected = "sgd+clip has no twin on code_lm (the same arm without its clip): its clip is not judged."
    lone = [each for each in clipped() if each.run.arm.clip] + [each for each in fair() if each.run.arm.name == "adam"]
    assert expected in caveats(lone, asked(lone, "adam", "sgd+clip", baseline="adam"))
    assert expected not in caveats(clipped())


def test_of_a_plan_the_tuning_is_judged_and_its_best_value_is_not() -> None:
    runs = [each.run for each in fair()]
    of = replace(question("sgd", "adam"), tuning=tuning({"sgd": RATES, "adam": RATES[:2]}, selected={"sgd": 0.3}))
    assert planned("equal trials", runs, of).verdict == "fail"
    assert planned("bracketed", runs, of).verdict == "not applicable"
    points = [each.run for each in grid({"sgd": [0.1, 0.3], "adam": [0.1]})]
    names = [each.arm.name for each in points]
    assert planned("equal trials", points, question(*names, baseline=names[0])).verdict == "warn"


# Trials on record

RATES = (0.03, 0.1, 0.3)


def spec(
    sgd: list[Record], adam: list[Record], *, selected: dict[str, float] | None = None, **changes: Any
) -> tuple[list[Record], Question]:
    """Two arms with their trials, each of which is on record under the key that its run has."""
    rates = {
        name: [float(str(each.run.arm.optimizer.options["lr"])) for each in made]
        for name, made in (("sgd", sgd), ("adam", adam))
    }
    of = tuning(rates, selected=selected or {"sgd": 0.1, "adam": 0.1}, **changes)
    return [*fair(), *sgd, *adam], replace(asked(fair()), tuning=of)


def tried(arm: str, rates: tuple[float, ...] = RATES) -> list[Record]:
    return trials(arm, {rate: 3.0 + (rate != 0.1) for rate in rates})


def test_trials_are_counted_with_what_they_cost() -> None:
    records, of = spec(tried("sgd"), tried("adam"))
    assert of.tuning is not None
    sgd, adam = recorded(of.tuning, {each.identity: each.run for each in records})
    assert (sgd.trials, sgd.seeds, sgd.searched, sgd.edges) == (3, (1000,), ("lr",), ())
    assert (sgd.spent, adam.spent) == ({"steps": 600.0}, {"steps": 600.0})


def test_trials_that_crashed_and_trials_that_are_gone_are_told() -> None:
    sgd, adam = tried("sgd"), tried("adam")
    crashed = record(sgd[0].run, [5.0], status="failed")
    records, of = spec([crashed, *sgd[1:]], adam)
    answer = found("nothing dropped", records, of)
    assert (answer.verdict, answer.runs) == ("warn", (str(crashed.run),))
    fewer = "1 trial run of sgd on code_lm crashed: the arm's setting was selected from fewer trials."
    assert answer.what == fewer
    answer = found("nothing dropped", [each for each in records if each is not adam[0]], of)
    assert (answer.verdict, answer.runs) == ("fail", (adam[0].run.key, str(crashed.run)))
    assert answer.what == f"1 of 3 trial runs of adam on code_lm are missing. {fewer}"


def test_trials_are_known_by_the_keys_they_were_made_under() -> None:
    """As the folders of an earlier clipbench have them, whose runs this one would give other keys."""
    records, of = spec(tried("sgd"), tried("adam", RATES[:2]))
    assert of.tuning is not None
    earlier = {each.run.key: f"earlier {each.run}" for each in records if each.run.trial_of}
    arms = tuple(
        replace(arm, trials=tuple(replace(each, keys=tuple(earlier[key] for key in each.keys)) for each in arm.trials))
        for arm in of.tuning.arms
    )
    records = [replace(each, key=earlier.get(each.run.key, "")) for each in records]
    of = replace(of, tuning=replace(of.tuning, arms=arms))
    assert (
        "(sgd 3 trials of 600 steps and adam 2 trials of 400 steps)" in found("equal tuning compute", records, of).what
    )
    reported = replace(of, keys=(*of.keys, *(key for arm in arms[:1] for each in arm.trials for key in each.keys)))
    assert answers(audit(records, reported))["selection apart"].verdict == "fail"


def test_a_spec_that_was_tuned_fairly_fails_no_check_and_its_caveats_say_how_it_was_tuned() -> None:
    records, of = spec(tried("sgd"), tried("adam"))
    others = {check for check, answer in answers(audit(records, of)).items() if answer.verdict != "pass"}
    assert others == {"twins tuned alike"}
    how = "Settings are selected by final evaluation loss from 3 trials per arm (grid) on seed 1000"
    assert caveats(records, of) == [f"{how}; each trial has the full budget."]
    records, of = spec(tried("sgd"), tried("adam"), select="steps_to_target", search="random")
    assert "selected by steps to the target from 3 trials per arm (random)" in caveats(records, of)[0]


def test_unequal_trials_of_unequal_cost_are_one_caveat() -> None:
    records, of = spec(tried("sgd"), tried("adam", RATES[:2]))
    checks = ("equal trials", "equal tuning compute")
    assert [found(check, records, of).verdict for check in checks] == ["fail", "fail"]
    assert len([caveat for caveat in caveats(records, of) if "tuned unequally" in caveat]) == 1


def test_a_best_value_at_the_edge_is_named_with_its_number() -> None:
    records, of = spec(tried("sgd"), tried("adam"), selected={"sgd": 0.3, "adam": 0.03})
    answer = found("bracketed", records, of)
    assert (answer.verdict, answer.runs) == ("fail", ("sgd", "adam"))
    assert answer.what == (
        "The best lr of sgd on code_lm is 0.3, the highest value tried: the baseline may be tuned too "
        "little. The best lr of adam on code_lm is 0.03, the lowest value tried: a better value may lie beyond."
    )


def test_an_arm_without_a_selection_is_named() -> None:
    told = caveats(*spec(tried("sgd"), tried("adam"), selected={"sgd": 0.1}))
    assert "No setting of adam on code_lm is selected: trials did not end, or none finished." in told
