import json
import math
from dataclasses import replace

import pytest
from judging.gate.sides import FIVE, arm, suite
from judging.made import quickstart, record, run

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules
from clipbench.judging.gate.suite import Suite, Unread, counted, differences, dumped, loaded


def test_a_baseline_that_was_saved_and_loaded_gives_the_same_verdicts() -> None:
    theirs = suite(quickstart(), target=3.0)
    ours = suite(arm({0: 3.3, 1: 3.4, 2: 3.3}), target=3.0)
    again = loaded(dumped(theirs), where="b.json")
    assert check(ours, again, Rules()) == check(ours, theirs, Rules())
    assert dumped(again) == dumped(theirs)


def test_what_is_no_number_survives_the_file() -> None:
    theirs = suite([record(run(), [5.0, math.inf], status="diverged"), record(run(seed=1), [5.0, 4.0])], target=1.0)
    first, second = loaded(dumped(theirs), where="b.json").arms[0].seeds
    assert first.final_loss == math.inf
    assert math.isnan(first.log_sharpness)
    assert second.steps_to_target == math.inf


def test_a_baseline_file_is_small() -> None:
    """Under 2 kB a run: the loss curves, the environment and the ledger stay behind."""
    saved = suite(quickstart(), target=3.0)
    assert len(dumped(saved)) < 2000 * len(quickstart())
    assert counted(saved) == "3 arms, 9 runs"


def test_a_suite_with_runs_that_cannot_be_read_is_no_baseline() -> None:
    lacking = replace(suite(arm(FIVE)), unread=(Unread(("quickstart", "code_lm", "sgd"), "r/run.json: no run"),))
    with pytest.raises(UndecidedError) as refused:
        dumped(lacking)
    assert str(refused.value) == (
        "1 run cannot be read, and no baseline is kept without them: r/run.json: no run\n"
        "  restore the run's folder, or delete it and run the spec again"
    )
    assert "unread" not in json.loads(dumped(replace(lacking, unread=())))


def test_a_baseline_file_from_before_devices_were_kept_still_loads() -> None:
    content = json.loads(dumped(suite(arm(FIVE))))
    for result in content["arms"][0]["seeds"]:
        assert result.pop("device") == "cpu"
    (older,) = loaded(json.dumps(content).encode(), where="b.json").arms
    assert {result.device for result in older.seeds} == {""}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "this is not a baseline file (Expecting value"),
        (b"[]", "this is not a baseline file ("),
        (b'{"arms": [], "format": 2}', "this baseline has format 2; this clipbench reads format 1"),
        (b'{"arms": [{}]}', "this is not a baseline file (arms.0.spec: Field required)"),
        (b'{"arms": [], "more": 1}', "this is not a baseline file (more: "),
        (b"\xff\xfe\x00", "this is not a baseline file ("),
        (b"[" * 100_000, "this is not a baseline file ("),
    ],
)
def test_a_file_that_is_no_baseline_is_named_with_its_fault(content: bytes, said: str) -> None:
    with pytest.raises(ClipbenchError) as refused:
        loaded(content, where="b.json")
    assert str(refused.value).startswith(f"b.json: {said}")
    assert "write it anew: clipbench check RESULTS --save-baseline FILE" in str(refused.value)


def test_a_truncated_baseline_is_refused() -> None:
    content = dumped(suite(arm(FIVE)))
    with pytest.raises(ClipbenchError, match="not a baseline file"):
        loaded(content[: len(content) // 2], where="b.json")


def test_a_baseline_with_an_arm_or_a_seed_twice_is_refused() -> None:
    """A seed that counts double would feign certainty; of two arms one would be dropped in silence."""
    content = json.loads(dumped(suite(arm(FIVE))))
    doubled = {**content, "arms": content["arms"] * 2}
    with pytest.raises(ClipbenchError, match=r"b.json: this baseline has sgd on code_lm of quickstart twice"):
        loaded(json.dumps(doubled).encode(), where="b.json")
    content["arms"][0]["seeds"] += content["arms"][0]["seeds"][3:4]
    with pytest.raises(ClipbenchError, match="this baseline has seed 3 of sgd on code_lm of quickstart twice"):
        loaded(json.dumps(content).encode(), where="b.json")


def test_differences_are_told_in_words() -> None:
    assert differences({"lr": 0.1, "a": 1}, {"lr": 0.2, "b": "x"}) == (
        "lr was 0.1 and is 0.2, a was 1 and is nothing and b was nothing and is x"
    )
    assert differences({"lr": 0.1}, {"lr": 0.1}) == ""
    assert json.loads(dumped(Suite(())))["format"] == 1
