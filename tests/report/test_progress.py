import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from judging.made import record, run
from rich.console import Console

from clipbench import store
from clipbench.records import Outcome
from clipbench.report.progress import JsonlWatcher, LiveWatcher, PlainWatcher, Watcher, interrupted, watcher

SGD, ADAM = run("sgd"), run("adam [x]", use="adam")


def ended(**changes: object) -> Outcome:
    outcome = record(SGD, [5.0]).outcome
    assert outcome is not None
    return replace(outcome, **changes)  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def play(to: Watcher) -> None:
    """Three runs of which one is reused: one finishes, one diverges."""
    with to:
        to.planned([SGD, ADAM], 1)
        to.started(SGD)
        to.started(ADAM)
        to.advanced(SGD, 0.5, "step 100, loss 3.1")
        to.log("a word")
        to.finished(SGD, ended())
        to.finished(ADAM, ended(status="diverged", reason="the loss is nan at step 12", step_seconds=0.0))


def test_off_a_terminal_each_finished_run_is_one_plain_line() -> None:
    file = io.StringIO()
    play(PlainWatcher(Console(file=file, width=20)))
    assert file.getvalue().splitlines() == [
        "3 runs: 1 reused, 2 to make",
        "a word",
        "[1/2] + code_lm/sgd/seed 0 finished: 200 steps in 2 s, 10 ms/step, step 100, loss 3.1",
        "[2/2] x code_lm/adam [x]/seed 0 diverged: 200 steps in 2 s, the loss is nan at step 12",
    ]


ACTS = "a\x1b[31m\n::error::x\r\u202e[red]"


@pytest.mark.parametrize("live", [True, False])
def test_no_name_reason_or_word_acts_on_what_shows_it(live: bool) -> None:
    file = Terminal()
    console = Console(file=file, width=300, force_terminal=live, color_system=None, legacy_windows=False)
    arm = replace(run("sgd"), arm=replace(SGD.arm, name=ACTS))
    with LiveWatcher(console) if live else PlainWatcher(console) as to:
        to.planned([arm], 0)
        to.started(arm)
        to.advanced(arm, 0.5, ACTS)
        to.heartbeat()
        to.log(ACTS)
        to.finished(arm, ended(status="failed", reason=f"Error: {ACTS}"))
    shown = file.getvalue()
    assert r"code_lm/a\x1b[31m\n::error::x\r\u202e[red]/seed 0" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    assert not any(line.startswith("::") for line in shown.splitlines())


def test_a_sign_of_life_comes_once_in_a_silent_minute() -> None:
    file, clock = io.StringIO(), Clock()
    to = PlainWatcher(Console(file=file, width=200), clock=clock)
    to.planned([SGD, ADAM], 0)
    to.started(SGD)
    to.advanced(SGD, 0.25, "")
    for clock.now in (30.0, 59.0, 60.0, 61.0, 119.0, 121.0):
        to.heartbeat()
    assert file.getvalue().splitlines()[1:] == ["0 of 2 runs made; running code_lm/sgd/seed 0 25%"] * 2


def test_a_sign_of_life_says_how_far_a_run_is_and_for_how_long_no_step_was_finished() -> None:
    file, clock = io.StringIO(), Clock()
    to = PlainWatcher(Console(file=file, width=20), clock=clock)
    to.planned([SGD, ADAM], 0)
    for each, progress, text in ((SGD, 0.25, "step 50, loss 3.1; no step for 75 s"), (ADAM, 0.0, "preparing")):
        to.started(each)
        to.advanced(each, progress, text)
    clock.now = 75.0
    to.heartbeat()
    assert file.getvalue().splitlines()[1:] == [
        "0 of 2 runs made; running code_lm/sgd/seed 0 25% (step 50, loss 3.1; no step for 75 s), "
        "code_lm/adam [x]/seed 0 0% (preparing)"
    ]


def test_a_sign_of_life_without_a_run_at_work_says_waiting() -> None:
    file, clock = io.StringIO(), Clock()
    to = PlainWatcher(Console(file=file, width=200), clock=clock)
    to.planned([SGD, ADAM], 0)
    clock.now = 60.0
    to.heartbeat()
    assert file.getvalue().splitlines()[1:] == ["0 of 2 runs made; waiting"]


def test_a_finished_line_puts_the_sign_of_life_off() -> None:
    file, clock = io.StringIO(), Clock()
    to = PlainWatcher(Console(file=file, width=200), clock=clock)
    to.planned([SGD, ADAM], 0)
    clock.now = 50.0
    to.finished(SGD, ended())
    clock.now = 100.0
    to.heartbeat()
    assert len(file.getvalue().splitlines()) == 2


def test_json_lines_tell_every_event_in_order() -> None:
    stream = io.StringIO()
    play(JsonlWatcher(stream.write))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        "planned",
        "started",
        "started",
        "advanced",
        "log",
        "finished",
        "finished",
    ]
    assert (events[0]["total"], events[0]["reused"]) == (3, 1)
    assert (events[3]["arm"], events[3]["seed"], events[3]["key"]) == ("sgd", 0, SGD.key)
    assert (events[3]["progress"], events[3]["text"]) == (0.5, "step 100, loss 3.1")
    assert events[6]["outcome"]["status"] == "diverged"


def test_json_lines_tell_once_how_far_a_run_is() -> None:
    """The supervisor looks twenty times a second."""
    stream = io.StringIO()
    to = JsonlWatcher(stream.write)
    for each, progress, text in (
        *[(SGD, 0.0, "preparing")] * 3,
        *[(ADAM, 0.0, "preparing")] * 2,
        *[(SGD, 0.5, "step 1")] * 2,
    ):
        to.advanced(each, progress, text)
    to.started(SGD)  # tried again
    to.advanced(SGD, 0.5, "step 1")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event.get("text") for event in events] == ["preparing", "preparing", "step 1", None, "step 1"]


def test_json_lines_hold_no_nan() -> None:
    stream = io.StringIO()
    JsonlWatcher(stream.write).finished(SGD, ended(effective={"lr": math.nan}))
    assert json.loads(stream.getvalue())["outcome"]["effective"] == {"lr": None}


def test_json_lines_beat_once_a_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    to = JsonlWatcher(stream.write, clock=clock)
    for clock.now in (59.0, 60.0, 61.0):
        to.heartbeat()
    assert stream.getvalue() == '{"event": "heartbeat"}\n'


def test_the_live_display_scrolls_finished_runs_and_is_taken_down() -> None:
    file = Terminal()
    to = LiveWatcher(Console(file=file, width=120, force_terminal=True, color_system=None, legacy_windows=False))
    play(to)
    text = file.getvalue()
    assert "3 runs: 1 reused, 2 to make" in text
    assert "[1/2] + code_lm/sgd/seed 0 finished" in text
    assert "[2/2] x code_lm/adam [x]/seed 0 diverged: 200 steps in 2 s, the loss is nan at step 12" in text
    assert "\x1b[?25h" in text  # the cursor is given back


def live(file: Terminal, clock: Clock, width: int = 120) -> LiveWatcher:
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    return LiveWatcher(console, clock=clock)


def drawn_anew(to: LiveWatcher, file: Terminal, clock: Clock) -> str:
    """What the display shows a second later."""
    file.truncate(0)
    clock.now += 1.0
    to.heartbeat()
    return file.getvalue()


def test_the_live_display_shows_the_runs_at_work() -> None:
    file, clock = Terminal(), Clock()
    with live(file, clock) as to:
        to.planned([SGD, ADAM], 0)
        to.started(ADAM)
        to.advanced(ADAM, 0.25, "loss [3.1]")
        to.started(ADAM)  # tried again after a crash: one line, not two
        to.advanced(ADAM, 0.5, "loss [3.0]")
        frame = drawn_anew(to, file, clock)
    assert frame.count("code_lm/adam [x]/seed 0") == 1
    assert "50%" in frame
    assert "loss [3.0]" in frame
    assert "0 of 2" in frame


def test_the_live_display_says_how_long_the_rest_takes_at_this_pace_and_which_loss_is_the_least() -> None:
    """One run and a half of four in 59 and 1 s: the rest takes 100 s."""
    file, clock = Terminal(), Clock()
    with live(file, clock) as to:
        to.planned([SGD, ADAM, run("lion"), run("sign")], 0)
        to.started(ADAM)
        clock.now = 39.0
        assert "left" not in drawn_anew(to, file, clock)  # nothing is known of the pace before a run is made
        to.advanced(ADAM, 1.0, "loss 2.5")
        to.finished(ADAM, ended())
        to.started(SGD)
        to.advanced(SGD, 0.0, "preparing")
        to.advanced(SGD, 0.5, "step 100, loss 3.1")
        clock.now = 59.0
        assert "1 of 4, about 1 min 40 s left, best on code_lm 2.5: adam [x]" in drawn_anew(to, file, clock)
        to.advanced(SGD, 1.0, "loss 2.4")
        to.finished(SGD, ended())
        diverged = run("lion")
        to.started(diverged)
        to.advanced(diverged, 1.0, "loss 0.1")
        to.finished(diverged, ended(status="diverged"))
        assert "best on code_lm 2.4: sgd" in drawn_anew(to, file, clock)


def test_trials_are_told_from_the_runs_that_follow_them() -> None:
    file, clock = Terminal(), Clock()
    with live(file, clock) as to:
        to.planned([replace(SGD, trial_of="sgd")], 0)
        frame = drawn_anew(to, file, clock)
    assert "all trials" in frame
    assert "all runs" not in frame


def test_the_time_that_is_left_knows_an_arm_by_its_own_runs() -> None:
    """Two of sgd took 10 s, one of adam 100 s: sgd's third takes 10 s, adam's second 100 s."""
    file, clock = Terminal(), Clock()
    sgds, adams = [[run(name, seed=seed) for seed in range(3)] for name in ("sgd", "adam")]
    with live(file, clock) as to:
        to.planned([*sgds, *adams[:2]], 0)
        for each, took in ((sgds[0], 10.0), (sgds[1], 10.0), (adams[0], 100.0)):
            to.started(each)
            clock.now += took
            to.finished(each, ended(wall_seconds=took))
        assert "3 of 5, about 1 min 51 s left" in drawn_anew(to, file, clock)  # 121 of 120 s have passed for 110
        to.started(sgds[2])
        to.finished(sgds[2], ended(status="failed", wall_seconds=0.0))
        assert "4 of 5, about 1 min 42 s left" in drawn_anew(to, file, clock)


def test_the_time_that_is_left_counts_of_a_resumed_run_what_is_made_now() -> None:
    """Nine tenths of the first were there: the last took 10 s, so that each of four others takes 100 s."""
    file, clock = Terminal(), Clock()
    runs = [run("sgd", seed=seed) for seed in range(5)]
    with live(file, clock) as to:
        to.planned(runs, 0)
        to.started(runs[0])
        to.advanced(runs[0], 0.9, "step 90")
        clock.now += 9.0
        to.finished(runs[0], ended(wall_seconds=100.0))
        assert "1 of 5, about 6 min 40 s left" in drawn_anew(to, file, clock)
        to.started(runs[1])
        to.advanced(runs[1], 0.5, "step 50")
        assert "1 of 5, about 6 min 25 s left" in drawn_anew(to, file, clock)  # 350 of 400 s, and 11 s for 10


@pytest.mark.parametrize("took", [0.0, 1e308, math.inf, math.nan])
def test_no_time_that_a_run_says_it_took_ends_the_display(took: float) -> None:
    """A run that goes on adds to the seconds of its checkpoint, which anybody may have written."""
    file, clock = Terminal(), Clock()
    runs = [run("sgd", seed=seed) for seed in range(5)]
    with live(file, clock) as to:
        to.planned(runs, 0)
        for each in runs[:3]:
            to.finished(each, ended(wall_seconds=took))
        assert "3 of 5" in drawn_anew(to, file, clock)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_bar_has_one_line_whatever_the_width(width: int) -> None:
    """A line that wraps is left over in the scrollback."""
    file, clock = Terminal(), Clock()
    with live(file, clock, width) as to:
        to.planned([SGD, ADAM], 0)
        long = run("a clipped optimizer with a name that is far longer than anyone would choose", use="sgd")
        to.started(long)
        to.advanced(long, 0.5, "step 100, loss 3.1; no step for 75 s, and a text that is long as well " * 3)
        frame = re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", drawn_anew(to, file, clock)).strip("\r\n\0 ")
    bars = frame.splitlines()
    assert [bar.split()[0] for bar in bars] == ["all", "code_lm/a"]
    assert max(map(len, bars)) <= width
    assert "50%" in bars[1]


def test_the_live_display_bears_events_without_a_plan() -> None:
    file = Terminal()
    with LiveWatcher(Console(file=file, width=120, force_terminal=True)) as to:
        to.advanced(SGD, 0.5, "early")
        to.finished(SGD, ended())
    assert "finished" in file.getvalue()


@pytest.mark.parametrize(
    ("terminal", "environ", "kind"),
    [
        (True, {}, LiveWatcher),
        (True, {"CI": ""}, LiveWatcher),
        (True, {"CI": "true"}, PlainWatcher),
        (False, {}, PlainWatcher),
        (False, {"FORCE_COLOR": "1"}, PlainWatcher),
    ],
)
def test_the_display_is_live_on_a_terminal_where_somebody_watches(
    terminal: bool, environ: dict[str, str], kind: type
) -> None:
    file = Terminal() if terminal else io.StringIO()
    console = Console(file=file, _environ={"TERM": "xterm", **environ})
    assert type(watcher("human", console, put=io.StringIO().write, environ=environ)) is kind


def test_a_dumb_terminal_gets_plain_lines() -> None:
    console = Console(file=Terminal(), _environ={"TERM": "dumb"})
    assert isinstance(watcher("human", console, put=io.StringIO().write, environ={}), PlainWatcher)


def test_json_lines_go_to_the_stream_whatever_the_console_is() -> None:
    stream = io.StringIO()
    to = watcher("jsonl", Console(file=Terminal()), put=stream.write, environ={})
    to.log("hello")
    assert json.loads(stream.getvalue()) == {"event": "log", "text": "hello"}


def test_forced_colour_colours_plain_lines() -> None:
    file = io.StringIO()
    console = Console(file=file, width=200, _environ={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    PlainWatcher(console).finished(SGD, ended())
    assert "\x1b[32m" in file.getvalue()


@pytest.mark.parametrize(
    ("kept", "lost", "lines"),
    [
        (0, 0, []),
        (1, 0, ["1 unfinished run kept a checkpoint"]),
        (2, 1, ["2 unfinished runs kept a checkpoint", "1 unfinished run starts again from step 0"]),
        (0, 2, ["2 unfinished runs start again from step 0"]),
    ],
)
def test_who_kept_a_checkpoint_is_counted_and_who_has_none(
    tmp_path: Path, kept: int, lost: int, lines: list[str]
) -> None:
    """Beside them a run that did not begin, and one that crashed."""
    folders = [store.folder_of(run(seed=seed), tmp_path) for seed in range(kept + lost + 2)]
    for number, folder in enumerate(folders[:-1]):
        store.describe(run(seed=number), folder)
        if number < kept:
            (folder / store.CHECKPOINT).touch()
    store.finish(folders[-2], Outcome("failed"), None)
    assert interrupted(folders) == lines
