import json
import math
import re
from dataclasses import replace

import pytest
from judging.gate.sides import FIVE, arm, suite
from judging.made import quickstart, record, run

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.gate.baseline import dumped, loaded
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules
from clipbench.judging.gate.suite import Suite, Unread, counted, differences


def test_a_baseline_that_was_saved_and_loaded_gives_the_same_verdicts() -> None:
    theirs = suite(quickstart(), target=3.0)
    ours = suite(arm({0: 3.3, 1: 3.4, 2: 3.3}), target=3.0)
    again = loaded(dumped(theirs), where="b.json")
    assert check(ours, again, Rules()) == check(ours, theirs, Rules())
    assert dumped(again) == dumped(theirs)


def test_what_is_no_number_survives_the_file() -> None:
    theirs = suite([record(run(), [math.nan, math.inf]), record(run(seed=1), [5.0, 4.0])], target=1.0)
    first, second = loaded(dumped(theirs), where="b.json").arms[0].seeds
    assert math.isnan(first.first_loss)
    assert (first.final_loss, first.readings["loss"].rounding) == (math.inf, math.inf)
    assert (second.readings["steps"].value, second.readings["steps"].at_least) == (250.0, True)


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
        "1 run cannot be read, and a baseline needs all runs: r/run.json: no run\n"
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
        (b'{"arms": [], "format": 1}', "this baseline has format 1; this clipbench reads format 2"),
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
    assert "save it again: clipbench check RESULTS --save-baseline FILE" in str(refused.value)


# What is written in place of a value of a sound file, and what is said.
WRONG = {
    "a number in quotes": ('"seed": 0', '"seed": "0"', "arms.0.seeds.0.seed: Input should be a valid integer"),
    "true for a number": ('"side_by_side": 1', '"side_by_side": true', "arms.0.seeds.0.side_by_side: Input should be"),
    "a fraction of a run": ('"side_by_side": 1', '"side_by_side": 1.0', "arms.0.seeds.0.side_by_side: Input should be"),
    "a seed below 0": ('"seed": 0', '"seed": -1', "arms.0.seeds.0.seed: Input should be greater than or equal to 0"),
    "a seed without end": (
        '"seed": 0',
        f'"seed": 1{"0" * 400}',
        "arms.0.seeds.0.seed: Input should be less than or equal",
    ),
    "a number that is too long": ('"seed": 0', f'"seed": {"9" * 5000}', "Exceeds the limit (4300 digits)"),
    "a reading in quotes": (
        '"value": 3.0',
        '"value": "3.0"',
        "seeds.0.readings.loss.value: Input should be a valid number",
    ),
    "no time": ('"started": 0.0', '"started": NaN', "arms.0.seeds.0.started: Input should be a finite"),
    "time before the beginning": (
        '"started": 0.0',
        '"started": -1',
        "started: Input should be greater",
    ),
    "a target that is no number": ('"target": null', '"target": NaN', "arms.0.target: Input should be a finite number"),
    "an exact number that is none": ('"weights": "', '"state_bytes": 1.5, "weights": "', "seeds.0.exact.state_bytes"),
    "a fact that is no number": ('"lr": 0.1', '"lr": NaN', "arms.0.described.lr"),
    "an unknown status": ('"finished"', '"fine"', "arms.0.seeds.0.status: Input should be "),
    "an unknown key": ('"seed": 0', '"seed": 0, "sede": 1', "arms.0.seeds.0.sede: Unexpected keyword argument"),
    "a key twice": ('"seed": 0', '"seed": 0, "seed": 1', "'seed' is there twice"),
    "a text for a list": ('"caveats": []', '"caveats": "none"', "caveats: Input should be a valid"),
    "another format as text": ('"format": 2', f'"format": "{"x" * 10**6}"', "this baseline has format 'xxxx"),
    "an unknown key without end": ('"seed": 0', f'"seed": 0, "{"k" * 10**6}\\u001b": 1', "arms.0.seeds.0.kkkk"),
    "depth": ('"lr": 0.1', f'"lr": {"[" * 100_000}{"]" * 100_000}', "ecursion"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_baseline_is_read_strictly(kind: str) -> None:
    old, new, said = WRONG[kind]
    content = dumped(suite(arm(FIVE))).decode()
    assert old in content
    with pytest.raises(ClipbenchError) as refused:
        loaded(content.replace(old, new, 1).encode(), where="b.json")
    message = str(refused.value)
    assert said in message
    assert len(message) < 500
    assert all(map(str.isprintable, message.split("\n")))


@pytest.mark.parametrize("loss", ["Infinity", "-Infinity", "NaN", "1e308", "-1e308", "0", "5e-324"])
def test_any_loss_has_a_verdict(loss: str) -> None:
    """A run may end at any float, and so may each of a stranger's."""
    ours = suite(arm(FIVE), target=3.0)
    content = re.sub(r'("(?:first_loss|value|rounding)": )[^,]+', rf"\g<1>{loss}", dumped(ours).decode())
    assert check(ours, loaded(content.encode(), where="b.json"), Rules()).rows


@pytest.mark.parametrize("value", ["NaN", "Infinity", "0.0", "-1.0"])
def test_a_reading_that_has_no_ratio_is_missing_on_the_side_of_the_candidate_and_unknown_in_the_baseline(
    value: str,
) -> None:
    measured = suite(arm(FIVE, sharpness=[1.5]))
    odd = (
        dumped(measured)
        .decode()
        .replace('"value": 1.5', f'"value": {value}')
        .replace('"log": 0.405', '"log": NaN, "x": 0.405')
    )
    odd = re.sub(r', "x": [\d.]+', "", odd)
    strange = loaded(odd.encode(), where="b.json")
    assert {each.verdict for each in check(strange, measured, Rules()).rows if each.metric == "sharpness"} == {
        "missing"
    }
    assert check(strange, measured, Rules()).exit_code == 3
    assert {each.verdict for each in check(measured, strange, Rules()).rows if each.metric == "sharpness"} == {"new"}


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
    assert json.loads(dumped(Suite(())))["format"] == 2
