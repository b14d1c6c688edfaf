from dataclasses import replace

from judging.made import question, run, trial, tuning
from report.shown import data, drawn

from clipbench.planning.staging import Stage
from clipbench.report.planned import document, planned_arms

PLANNED = [run(arm, seed=seed) for seed in range(3) for arm in ("sgd", "adam")]
MISSING = {PLANNED[1].key, PLANNED[3].key, PLANNED[4].key}
PLAIN = Stage(question("sgd", "adam"), (), tuple(PLANNED), (), ())

# sgd is selected, lion waits for its trials, adam has nothing to tune; the arms stand in the spec as sgd, lion, adam
TRIALS = tuple(trial(arm, lr=lr, seed=seed) for seed in (8, 9) for arm in ("sgd", "lion") for lr in (0.1, 0.3, 1.0))
ASKED = replace(
    question("sgd", "lion", "adam"),
    tuning=tuning({"sgd": [0.1, 0.3, 1.0], "lion": [0.1, 0.3, 1.0]}, seeds=(8, 9), selected={"sgd": 0.3}),
)
WAITING = tuple(run("lion", seed=seed) for seed in range(3))
TUNED = Stage(ASKED, TRIALS, tuple(PLANNED), WAITING, ())
TRIALS_MISSING = {each.key for each in TRIALS if each.trial_of == "lion" and each.seed == 9}


def test_a_plan_counts_what_is_reused_and_what_is_missing_per_arm() -> None:
    sgd, adam = planned_arms(PLAIN, missing=MISSING)
    assert (sgd.arm, sgd.seeds, sgd.reused, sgd.missing) == ("sgd", (0, 1, 2), 2, 1)
    assert (adam.arm, adam.seeds, adam.reused, adam.missing) == ("adam", (0, 1, 2), 1, 2)
    assert adam.budget == "200 steps"


def test_a_plan_is_drawn_with_its_total() -> None:
    text = drawn(document(PLAIN, missing=MISSING))
    assert "6 runs: 3 reused, 3 to make" in text
    (line,) = (found for found in text.splitlines() if "adam" in found)
    assert line.split() == ["code_lm", "adam", "200", "steps", "0,", "1", "and", "2", "3", "1", "2"]
    assert "Trials" not in text


def test_a_plan_in_json_has_the_same_counts() -> None:
    sgd, adam = data(document(PLAIN, missing=MISSING))
    assert (sgd["reused"], sgd["missing"], sgd["seeds"]) == (2, 1, [0, 1, 2])
    assert (adam["task"], adam["reused"], adam["missing"]) == ("code_lm", 1, 2)


def test_trials_come_first_with_what_they_cost_an_arm() -> None:
    sgd, lion, *_ = planned_arms(TUNED, missing=TRIALS_MISSING)
    assert (sgd.arm, sgd.trials, sgd.seeds, sgd.spent) == ("sgd", 3, (8, 9), "1200 steps")
    assert (sgd.reused, sgd.missing) == (6, 0)
    assert (lion.arm, lion.reused, lion.missing) == ("lion", 3, 3)


def test_what_is_reported_says_where_its_settings_come_from_in_the_order_of_the_spec() -> None:
    *_, sgd, lion, adam = planned_arms(TUNED, missing=TRIALS_MISSING)
    assert (sgd.arm, sgd.settings, sgd.trials) == ("sgd", "lr=0.3", 0)
    assert (lion.arm, lion.settings, lion.reused, lion.missing) == ("lion", "selected after tuning", 0, 3)
    assert (adam.arm, adam.settings) == ("adam", "as written")


def test_a_tuned_plan_is_drawn_as_two_tables() -> None:
    text = drawn(document(TUNED, missing=TRIALS_MISSING))
    first, second = text.split("Reported runs")
    (line,) = (found for found in first.splitlines() if "lion" in found)
    assert " ".join(line.split()) == "code_lm lion 200 steps 8 and 9 3 1200 steps 6 3 3"
    (line,) = (found for found in second.splitlines() if "lion" in found)
    assert " ".join(line.split()) == "code_lm lion selected after tuning 200 steps 0, 1 and 2 3 0 3"
    assert "21 runs: 15 reused, 6 to make" in second
