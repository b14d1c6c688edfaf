from judging.made import quickstart, record, run, trial
from report.shown import data, drawn

from clipbench.report.listing import runs, shelf
from clipbench.spec.catalogue import Entry, Option

ENTRIES = [
    Entry(
        name="sgd",
        summary="Stochastic gradient descent [with momentum]",
        target="clipbench.optimizers.sgd:build",
        options=(
            Option("lr", "float", float),
            Option("betas", "tuple[float, float]", tuple, required=False, default=(0.9, 0.99)),
        ),
    ),
    Entry(name="odd", summary="", target="clipbench.optimizers.odd:build", broken="it has no build"),
]


def test_a_shelf_shows_options_with_type_and_default() -> None:
    text = drawn(shelf(ENTRIES))
    assert "Stochastic gradient descent [with momentum]" in text
    assert "betas: tuple[float, float] = (0.9, 0.99)" in text
    assert "[cannot be used: it has no build]" in text


def test_a_required_option_shows_no_default() -> None:
    (line,) = (found for found in drawn(shelf(ENTRIES)).splitlines() if "lr: float" in found)
    assert "=" not in line


def test_a_shelf_in_json_tells_required_options_from_the_others() -> None:
    sgd, odd = data(shelf(ENTRIES))
    assert sgd["options"][0] == {"name": "lr", "type": "float", "required": True, "default": None}
    assert sgd["options"][1]["default"] == [0.9, 0.99]
    assert (odd["broken"], odd["options"]) == ("it has no build", [])


def test_runs_are_listed_with_how_they_ended() -> None:
    unfinished = record(run("lion"), [5.0], status="unfinished")
    text = drawn(runs([*quickstart(), unfinished]))
    (diverged,) = (line for line in text.splitlines() if "adam/seed 2" in line and "diverged" in line)
    assert diverged.split()[-4:] == ["9", "200", "2", "s"]
    (waiting,) = (line for line in text.splitlines() if "lion" in line)
    assert waiting.split()[-3:] == ["–", "–", "–"]


def test_a_run_that_failed_before_its_first_loss_has_none() -> None:
    (line,) = (line for line in drawn(runs([record(run("lion"), [], status="failed")])).splitlines() if "lion" in line)
    assert "nan" not in line


def test_runs_in_json_keep_nan_out() -> None:
    (bare,) = data(runs([record(run("lion"), [], status="unfinished")]))
    assert (bare["status"], bare["final_loss"], bare["steps"]) == ("unfinished", None, None)
    (ended,) = data(runs([record(run(), [5.0, 3.0])]))
    (tried,) = data(runs([record(trial(lr=0.3), [5.0, 3.0])]))
    assert (tried["arm"], tried["trial_of"], ended["trial_of"]) == ("sgd[lr=0.3]", "sgd", "")
    assert (ended["final_loss"], ended["train_seconds"], ended["key"]) == (3.0, 2.0, run().key)
