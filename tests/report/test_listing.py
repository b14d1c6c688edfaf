import io
import json

from judging.made import quickstart, record, run
from rich.console import Console, RenderableType

from clipbench.report.listing import plan, planned_arms, runs, shelf
from clipbench.spec.catalogue import Entry, Option


def drawn(renderable: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


PLANNED = [run(arm, seed=seed) for seed in range(3) for arm in ("sgd", "adam")]
MISSING = {PLANNED[1].key, PLANNED[3].key, PLANNED[4].key}
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


def test_a_plan_counts_what_is_reused_and_what_is_missing_per_arm() -> None:
    sgd, adam = planned_arms(PLANNED, missing=MISSING)
    assert (sgd.arm, sgd.seeds, sgd.reused, sgd.missing) == ("sgd", (0, 1, 2), 2, 1)
    assert (adam.arm, adam.seeds, adam.reused, adam.missing) == ("adam", (0, 1, 2), 1, 2)
    assert adam.budget == "200 steps"


def test_a_plan_is_drawn_with_its_total() -> None:
    text = drawn(plan(PLANNED, missing=MISSING))
    assert "6 runs: 3 reused, 3 to make" in text
    (line,) = (found for found in text.splitlines() if "adam" in found)
    assert line.split() == ["code_lm", "adam", "200", "steps", "0,", "1", "and", "2", "3", "1", "2"]


def test_a_plan_in_json_has_the_same_counts() -> None:
    sgd, adam = json.loads(str(plan(PLANNED, missing=MISSING, fmt="json")))
    assert (sgd["reused"], sgd["missing"], sgd["seeds"]) == (2, 1, [0, 1, 2])
    assert (adam["task"], adam["reused"], adam["missing"]) == ("code_lm", 1, 2)


def test_a_shelf_shows_options_with_type_and_default() -> None:
    text = drawn(shelf(ENTRIES))
    assert "Stochastic gradient descent [with momentum]" in text
    assert "betas: tuple[float, float] = (0.9, 0.99)" in text
    assert "[cannot be used: it has no build]" in text


def test_a_required_option_shows_no_default() -> None:
    (line,) = (found for found in drawn(shelf(ENTRIES)).splitlines() if "lr: float" in found)
    assert "=" not in line


def test_a_shelf_in_json_tells_required_options_from_the_others() -> None:
    sgd, odd = json.loads(str(shelf(ENTRIES, fmt="json")))
    assert sgd["options"][0] == {"name": "lr", "type": "float", "required": True, "default": None}
    assert sgd["options"][1]["default"] == [0.9, 0.99]
    assert (odd["broken"], odd["options"]) == ("it has no build", [])


def test_runs_are_listed_with_how_they_ended() -> None:
    unfinished = record(run("lion"), [5.0], status="unfinished")
    text = drawn(runs([*quickstart(), unfinished]))
    (diverged,) = (line for line in text.splitlines() if "adam/seed 2" in line and "diverged" in line)
    assert diverged.split()[-4:] == ["9", "200", "2", "s"]
    (waiting,) = (line for line in text.splitlines() if "lion" in line)
    assert waiting.split()[-2:] == ["–", "–"]


def test_runs_in_json_keep_nan_out() -> None:
    (bare,) = json.loads(str(runs([record(run("lion"), [], status="unfinished")], fmt="json")))
    assert (bare["status"], bare["final_loss"], bare["steps"]) == ("unfinished", None, None)
    (ended,) = json.loads(str(runs([record(run(), [5.0, 3.0])], fmt="json")))
    assert (ended["final_loss"], ended["train_seconds"], ended["key"]) == (3.0, 2.0, run().key)
