from dataclasses import replace

import pytest
from judging.audit.unfair import asked, fair, found, planned, tuned
from judging.made import question, record, run

from clipbench.judging.audit.evidence import Effort
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
    return {rule: found(rule, records, of).verdict for rule in SELECTION}


@pytest.mark.parametrize("rule", SELECTION)
def test_arms_that_were_tuned_alike_on_other_seeds_pass(rule: str) -> None:
    assert found(rule, fair(), efforts=TUNED).verdict == "pass"


@pytest.mark.parametrize(
    ("rule", "unfair", "what"),
    [
        ("baseline tuned", (tuned("adam"),), "adam had trials and the baseline sgd had none on code_lm"),
        ("baseline tuned", (tuned("adam"), tuned("sgd", trials=1)), "the baseline sgd had none"),
        ("equal trials", (tuned("sgd"), tuned("adam", trials=9)), "unequal (sgd 4 and adam 9)"),
        ("equal trials", (tuned("sgd"),), "unequal (sgd 4 and adam 0)"),
        (
            "equal tuning compute",
            (tuned("sgd"), tuned("adam", spent={"steps": 1600.0})),
            "cost unequally (sgd 800 steps and adam 1600 steps)",
        ),
        ("equal tuning compute", (tuned("sgd"),), "sgd 800 steps and adam nothing"),
        ("bracketed", (tuned("sgd", edges=("lr",)), tuned("adam")), "the best lr of sgd on code_lm is the outermost"),
        ("fresh seeds", (tuned("sgd", seeds=(1000, 2)), tuned("adam")), "sgd was tuned on 2"),
    ],
)
def test_unfair_tuning_fails(rule: str, unfair: tuple[Effort, ...], what: str) -> None:
    finding = found(rule, fair(), efforts=unfair)
    assert finding.verdict == "fail"
    assert what in finding.what
    assert finding.runs


def test_an_arm_that_is_not_the_baseline_may_be_better_than_its_edge_shows_and_that_is_a_warning() -> None:
    finding = found("bracketed", fair(), efforts=(tuned("sgd"), tuned("adam", edges=("lr",))))
    assert (finding.verdict, finding.runs) == ("warn", ("adam",))


def test_a_run_that_chose_a_setting_is_no_result() -> None:
    records = fair()
    trial = tuned("sgd", keys=(records[0].run.key,))
    finding = found("selection apart", records, efforts=(trial, tuned("adam")))
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/sgd/seed 0",))


def test_rates_without_a_history_are_a_warning_and_no_trial_is_made_up() -> None:
    finding = found("choice on record", fair())
    assert finding.verdict == "warn"
    assert finding.what.startswith("how the rates were chosen is not in these results")
    assert {found(rule, fair()).verdict for rule in SELECTION[1:]} == {"not applicable"}


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
    finding = found("selection apart", records, asked(records, "sgd[lr=0.1]", "adam", baseline="adam"))
    assert (finding.verdict, finding.runs) == ("warn", ("sgd",))
    assert finding.what.startswith("every point of 1 grid is reported")


def test_grids_of_unequal_size_are_warned_of() -> None:
    assert of_grid(grid({"sgd": [0.03, 0.1, 0.3], "adam": [0.1, 0.3]}))["equal trials"] == "warn"
    assert of_grid([*grid({"adam": [0.03, 0.1, 0.3]}), record(run(), [5.0, 3.0])])["equal trials"] == "warn"


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_the_best_of_a_grid_at_its_edge_is_warned_of(best: float) -> None:
    records = grid({"sgd": [0.03, 0.1, 0.3]}, best=best)
    finding = found("bracketed", records, asked(records, "sgd[lr=0.1]", baseline="sgd[lr=0.1]"))
    assert (finding.verdict, finding.runs) == ("warn", ("sgd",))
    assert "the best lr of sgd on code_lm is the outermost one tried" in finding.what


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
    finding = found("equal trials", records, of, efforts=(tuned("sgd"),))
    assert "(sgd 4 and lion[x] 0)" in finding.what
    finding = found("equal trials", records, of, efforts=(tuned("sgd"), tuned("sgd[x]", trials=1)))
    assert "(sgd 4, sgd[x] 1 and lion[x] 0)" in finding.what
    for efforts, verdict in (((tuned("sgd"),), "pass"), ((tuned("sgd"), tuned("sgd[x]", trials=1)), "fail")):
        assert found("baseline tuned", records, of, efforts=efforts).verdict == verdict


def clipped(**changes: object) -> list[Record]:
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
        (tuned("sgd+clip", trials=9), "sgd+clip and its twin sgd had 9 and 4 trials on code_lm"),
        (tuned("sgd+clip", searched=("lr", "momentum")), "searched different options on code_lm: lr and momentum and"),
        (tuned("sgd+clip", searched=("clip.fraction",)), "searched different options on code_lm: nothing and lr"),
    ],
)
def test_twins_that_were_tuned_otherwise_fail(unfair: Effort, what: str) -> None:
    finding = found("twins tuned alike", clipped(), asked(clipped(), "sgd", "sgd+clip"), efforts=(tuned("sgd"), unfair))
    assert finding.verdict == "fail"
    assert what in finding.what


def test_a_clipped_arm_without_trials_is_unlike_no_twin() -> None:
    """That it had none is said by another rule."""
    of = asked(clipped(), "sgd", "sgd+clip")
    for one in ("sgd", "sgd+clip"):
        assert found("twins tuned alike", clipped(), of, efforts=(tuned(one),)).verdict == "pass"
        assert found("equal trials", clipped(), of, efforts=(tuned(one),)).verdict == "fail"


def test_twins_at_different_rates_without_a_history_are_warned_of() -> None:
    records = clipped(lr=1.0)
    finding = found("twins tuned alike", records, asked(records, "sgd", "sgd+clip"))
    assert finding.verdict == "warn"
    assert finding.what.startswith("sgd+clip and its twin sgd have different rates")
    same = clipped()
    assert found("twins tuned alike", same, asked(same, "sgd", "sgd+clip")).verdict == "not applicable"
    assert found("twins tuned alike", fair()).what == "no arm has a clip"


def test_of_a_plan_the_tuning_is_judged_and_its_best_value_is_not() -> None:
    runs = [each.run for each in fair()]
    unequal = (tuned("sgd"), tuned("adam", trials=9))
    assert planned("equal trials", runs, question("sgd", "adam"), efforts=unequal).verdict == "fail"
    assert planned("bracketed", runs, question("sgd", "adam"), efforts=TUNED).verdict == "not applicable"
    points = [each.run for each in grid({"sgd": [0.1, 0.3], "adam": [0.1]})]
    names = [each.arm.name for each in points]
    assert planned("equal trials", points, question(*names, baseline=names[0])).verdict == "warn"
