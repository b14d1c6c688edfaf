"""Specs beyond every measure: each is refused at once, at its place, in a few short lines."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from making import sparse
from spec.bench import MINIMAL, Bench

from clipbench.errors import ClipbenchError, Fault, SpecError
from clipbench.planning.runs import plan
from clipbench.spec import load
from clipbench.spec.limits import MOST_BYTES


def tuned(space: str) -> str:
    """The minimal spec with the rates of both arms drawn from a space."""
    arms = MINIMAL.replace("lr: 0.1", f"lr: {space}").replace("lr: 0.3", f"lr: {space}")
    return arms + "tuning: {seeds: [5], search: halton, trials: 3}\n"


def listed(count: int, start: int = 0) -> str:
    return f"[{', '.join(map(str, range(start, start + count)))}]"


HUGE = "1" + "0" * 400

# By what is wrong: what is replaced in the minimal spec, by what, and what is said of the first fault.
BEYOND = {
    "a budget of 10^400": ("100", HUGE, "6:17: budget.steps: must be at most 1000000000000000, found 1000000"),
    "a budget in hexadecimal": (
        "100",
        "0x" + "f" * 4000,
        "6:17: budget.steps: expected a whole number, found the text",
    ),
    "a budget of 5,000 digits": ("100", "9" * 5000, "6:17: budget.steps: expected a whole number, found the text '999"),
    "samples without end": ("steps: 100", "samples: 1000000000000001", "6:19: budget.samples: must be at most"),
    "seconds without end": ("steps: 100", "seconds: 1e300", "6:19: budget.seconds: must be at most"),
    "a rate of 10^400": ("0.1", HUGE, "4:28: optimizers.slow.lr: expected float, found 10000000"),
    "a target of 10^400": ("seeds:", f"target: {{loss: {HUGE}}}\nseeds:", "7:16: target.loss: expected a number"),
    "a million threads": ("seeds:", "threads: 1000000\nseeds:", "7:10: threads: must be at most 1024, found 1000000"),
    "a seed of 10^300": ("[0, 1]", f"[1{'0' * 300}]", "7:9: seeds.0: must be at most 9223372036854775807, found"),
    "brackets": ("valley", "[" * 20_000, "2:26: this is nested too deeply to be a spec: more than 20 levels"),
    "braces": ("valley", "{a: " * 9_000, "2:83: this is nested too deeply"),
    "dashes": ("valley", "\n  " + "- " * 9_000, "3:41: this is nested too deeply"),
    "a name of 70,000 characters": ("slow:", "? " + "a" * 70_000 + "\n  :", "4:5: optimizers.aaaaaaaaaaaaaaaaaaa"),
    "a plain key of that length": ("slow:", "a" * 70_000 + ":", "(a key has at most 1024 characters)"),
    "a baseline of that length": (
        "seeds:",
        f"baseline: {'b' * 70_000}\nseeds:",
        "7:11: baseline: there is no arm 'bbb",
    ),
    "an optimizer of that length": (
        "descent, lr: 0.1",
        "x" * 70_000,
        "4:15: optimizers.slow.use: there is no optimizer",
    ),
    "an option of that length": ("lr: 0.1", f"? {'k' * 70_000} : 1, lr: 1", "4:26: optimizers.slow.kkkkkkk"),
    "an option's value of that length": ("lr: 0.1", f"lr: {'v' * 70_000}", "expected float, found the text 'vvvvv"),
    "an arm with a long folder": (
        "slow:",
        "a" * 256 + ":",
        "needs a folder whose name has 256 bytes, and a disk takes",
    ),
    "an arm with a long quoted folder": ("slow:", "é" * 43 + ":", "whose name has 258 bytes, and a disk takes 255"),
    "a point of a grid with a long folder": ("slow", f"{'a' * 250}", "whose name has 256 bytes"),
    "a task with a long folder": (
        "valley",
        f"[bowl, {{use: bowl, name: {'n' * 300}}}]",
        "2:14: task.1: the task 'bowl[name=nnnn",
    ),
    "evaluation beyond the budget": (
        "seeds:",
        "evaluate: {every: 101}\nseeds:",
        "7:19: evaluate.every: 101 is beyond the budget of 100 steps",
    ),
    "probes beyond the budget": (
        "seeds:",
        "measure: {every: 100}\nseeds:",
        "7:18: measure.every: no step of the budget of 100 would be probed: the first after 0 is step 100",
    ),
    "laughs": ("valley", "&a [x]\nx: [*a, *a, *a, *a]", "2:7: anchors and aliases (& and *) are not read in a spec"),
    "very many anchors": ("task:", "".join(f"a{n}: &a{n} x\n" for n in range(1500)) + "task:", "2:5: anchors"),
    "very many tasks": ("valley", f"[{'valley, ' * 2000}]", "2:16: task.1: the task 'valley' is here twice"),
    "a million tasks": (
        "valley",
        f"{{use: bowl, width: {listed(1000)}, spread: {[[n] for n in range(1000)]}}}",
        "7:1: seeds: these are 4,000,000 runs, and at most 50,000 are allowed",
    ),
    "a million runs": (
        "[0, 1]",
        f"{listed(1000)}\ntuning: {{seeds: {listed(1000, 1000)}}}",
        "these are 2,002,000 runs",
    ),
    "a long list": (
        "0.1",
        listed(1_500),
        "4:28: optimizers.slow.lr: the list has 1500 values, and at most 1000",
    ),
    "a clip's list": (
        "lr: 0.1",
        f"lr: 0.1, clip: {{norm: {listed(1_500, 1)}}}",
        "clip.norm: at most 1000 are allowed",
    ),
    "very many probes": (
        "seeds:",
        f"measure: {{probes: [{'norms, ' * 2000}]}}\nseeds:",
        "the probe 'norms' is here",
    ),
    "very many keys": ("seeds:", "".join(f"k{n}: 1\n" for n in range(1500)) + "seeds:", "7:1: k0: there is no such"),
    "a key over and over": ("seeds:", "device: cpu\n" * 1500 + "seeds:", "8:1: the key 'device' is here a second"),
    "a name that acts": ("slow:", '"a\\e[31m\\n::error::x":', r"4:3: optimizers.a\x1b[31m\n::error::x: an arm's name"),
    "a control character": ("slow:", "a\x1b[31m:", "4:4: the character U+001B is not allowed in YAML"),
    "a NUL": ("valley", "val\0ley", "2:10: the character U+0000 is not allowed in YAML"),
    "a name from right to left": ("use: descent, lr: 0.1", "use: a\u202eb", r"there is no optimizer 'a\u202eb'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BEYOND)
def test_what_is_beyond_every_measure_is_said_in_short_at_its_place(bench: Bench, kind: str) -> None:
    old, new, said = BEYOND[kind]
    text = MINIMAL.replace(old, new, 1)
    if kind == "a point of a grid with a long folder":
        text = text.replace("lr: 0.1", "lr: [1, 2]", 1)
    if kind == "a million runs":
        text = text.replace("lr: 0.1", f"lr: {listed(1000)}").replace("lr: 0.3, momentum: 0.9", f"lr: {listed(1000)}")
    with pytest.raises(SpecError) as refused:
        bench.load(text)
    message = str(refused.value)
    assert said in message.replace(f"{bench.path}:", "")
    lines = message.split("\n")
    assert lines[-1].endswith("; nothing was run")
    assert len(lines) <= 3 * 20 + 2
    assert max(map(len, lines)) <= 700
    assert all(map(str.isprintable, lines))
    assert (f"and {len(refused.value.faults) - 20} more" in lines) == (len(refused.value.faults) > 20)


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (1, ("x" * 119 + "…", "")),
        (61, ("x" * 119 + "…", " " * 60)),
        (151, ("…" + "x" * 118 + "…", " " * 60)),
        (300, ("…" + "x" * 119, " " * 119)),
    ],
)
def test_of_a_long_line_what_is_around_the_fault_is_shown(column: int, shown: tuple[str, str]) -> None:
    _, source, caret = str(Fault("wrong", "x.yaml", line=1, column=column, source="x" * 300)).split("\n")
    assert (source.strip(), caret[4:].removesuffix("^")) == shown


RIGHT = {
    "a name that a disk just takes": ("slow:", "a" * 255 + ":"),
    "an evaluation at the end alone": ("seeds:", "evaluate: {every: 100}\nseeds:"),
    "the last step that can be probed": ("seeds:", "measure: {every: 99}\nseeds:"),
    "no probes however rarely": ("seeds:", "measure: {every: 1000, probes: []}\nseeds:"),
    "a default that is beyond the budget": ("100", "3"),
    "as many threads as are allowed": ("seeds:", "threads: 1024\nseeds:"),
    "the longest budget": ("100", "1000000000000000"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_just_within_the_measure_is_right(bench: Bench, kind: str) -> None:
    bench.load(MINIMAL.replace(*RIGHT[kind], 1))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{log: [1e-300, 1e300]}", "a space this wide cannot be drawn from; this one is [1e-300, 1e+300]"),
        ("{range: [-1.0e+308, 1.0e+308]}", "a space this wide cannot be drawn from"),
        (
            f"{{range: [{'1, ' * 500}2]}}",
            "a space goes from a low to a higher end, [low, high]; this one is [1.0, 1.0",
        ),
        (f"{{range: [0, {HUGE}]}}", "expected a number, found 10000"),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused(bench: Bench, space: str, said: str) -> None:
    with pytest.raises(SpecError, match="lr") as refused:
        bench.load(tuned(space))
    assert said in str(refused.value)
    assert max(map(len, str(refused.value).split("\n"))) <= 700


def test_whole_numbers_are_drawn_from_whole_ends_that_a_float_holds(bench: Bench) -> None:
    with pytest.raises(SpecError, match="every: expected ends of at most 1000000000000000"):
        bench.load(tuned("0.1, every: {range: [1, 1.0e+300]}"))


OVERRIDES = {
    "brackets": "task=" + "[" * 3000,
    "a place of 5,000 digits": f"seeds.{'9' * 5000}=1",
    "a number of 4,000 digits": f"budget.steps={'9' * 4000}",
    "a key of 100,000 characters": f"{'k' * 100_000}=1",
    "a path of 50,000 keys": f"{'a.' * 50_000}b=1",
    "a name that acts": "optimizers.a\x1b[31m\n::error::x=1",
    "an alias": "task=*a",
}


@pytest.mark.parametrize("kind", OVERRIDES)
def test_an_override_beyond_every_measure_is_refused_in_short(bench: Bench, kind: str) -> None:
    with pytest.raises(SpecError) as refused:
        bench.load(MINIMAL, OVERRIDES[kind])
    lines = str(refused.value).split("\n")
    assert lines[0].startswith("--set ")
    assert max(map(len, lines)) <= 700
    assert all(map(str.isprintable, lines))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "it is not an ordinary file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is not an ordinary file"),
    "a folder": (Path.mkdir, "this is a folder; name a YAML file in it"),
    "a large file": (lambda path: path.write_bytes(b"#" * (MOST_BYTES + 1)), "it has more than 100,000 bytes"),
    "a sparse file of 50 GB": (partial(sparse, size=50 * 10**9), "it has more than 100,000"),
    "UTF-16": (lambda path: path.write_text(MINIMAL, encoding="utf-16"), "the byte 0xff is not UTF-8"),
    "a binary file": (lambda path: path.write_bytes(bytes(range(256))), "the byte 0x80 is not UTF-8"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_spec_is_refused_unread(tmp_path: Path, kind: str) -> None:
    make, said = FILES[kind]
    make(tmp_path / "x.yaml")
    with pytest.raises(SpecError, match="nothing was run") as refused:
        load(tmp_path / "x.yaml")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"), [("a" * 250, "needs a folder whose name has 256 bytes"), ("\udcff", "not UTF-8")]
)
def test_a_spec_whose_name_can_be_no_folder_is_refused(bench: Bench, name: str, said: str) -> None:
    bench.path = bench.path.with_name(f"{name}.yml")
    with pytest.raises(SpecError, match=said):
        bench.load()


def test_more_runs_than_a_plan_holds_are_refused_where_the_seeds_come_from_outside(bench: Bench) -> None:
    spec = bench.replaced("0.1}", f"{listed(99, 1)}}}")
    with pytest.raises(ClipbenchError, match="these are 100,000 runs, and at most 50,000 are allowed"):
        plan(replace(spec, seeds=tuple(range(1000))), device="cpu")
