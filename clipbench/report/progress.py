"""Progress of `clipbench run`: a live display on a terminal, plain lines or JSON lines elsewhere."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column

from clipbench import store
from clipbench.harmless import on_one_line
from clipbench.judging.words import count
from clipbench.records import Outcome, Run
from clipbench.report.numbers import seconds
from clipbench.report.raw import to_json_line
from clipbench.report.tally import Pace, Tally
from clipbench.report.text import text_of

WatcherFormat = Literal["human", "jsonl"]
HEARTBEAT_SECONDS = 60.0
_REDRAW_SECONDS = 0.2
_STYLES = {"finished": "green", "diverged": "yellow", "failed": "bold red"}


class Watcher(Protocol):
    """Receives the supervisor's events. Use it as a context manager: a live display must be closed.

    `planned` comes first, with the runs to make and how many others of the plan are made already; `advanced` may come
    any number of times between `started` and `finished`, with the fraction of the budget that is spent;
    `heartbeat` may come as often as is convenient, whatever else happens.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def planned(self, to_make: Sequence[Run], reused: int) -> None:
        """These runs of the plan are to be made; so many others are made already."""

    def started(self, run: Run) -> None:
        """A run has begun."""

    def advanced(self, run: Run, progress: float, text: str) -> None:
        """A run has spent this fraction of its budget; `text` says where it is."""

    def finished(self, run: Run, outcome: Outcome) -> None:
        """A run has ended."""

    def log(self, text: str) -> None:
        """Something else that a person should know."""

    def heartbeat(self) -> None:
        """Time has passed."""


def watcher(
    fmt: WatcherFormat,
    console: Console,
    *,
    put: Callable[[str], object],
    environ: Mapping[str, str] = os.environ,
) -> Watcher:
    """The watcher that suits the output stream.

    Args:
        fmt: `human` for the console, `jsonl` for one JSON object a line by `put`.
        console: on stderr; it decides about colour (NO_COLOR, FORCE_COLOR).
        put: writes a line to stdout, as it is (with its line end).
        environ: a non-empty CI switches the live display off.
    """
    if fmt == "jsonl":
        return JsonlWatcher(put)
    # Ask the file, not the console: with FORCE_COLOR Rich takes a pipe for a terminal.
    live = console.file.isatty() and not environ.get("CI") and not console.is_dumb_terminal
    return LiveWatcher(console) if live else PlainWatcher(console)


def interrupted(folders: Iterable[Path]) -> list[str]:
    """How many interrupted runs kept a checkpoint and how many start again, judging by their folders."""
    begun = [folder for folder in folders if (folder / store.RUN).exists() and store.read_outcome(folder) is None]
    kept = sum((folder / store.CHECKPOINT).exists() for folder in begun)
    lost = len(begun) - kept
    return [
        *([f"{count(kept, 'unfinished run')} kept a checkpoint"] if kept else []),
        *([f"{count(lost, 'unfinished run')} start{'s' if lost == 1 else ''} again from step 0"] if lost else []),
    ]


class PlainWatcher:
    """A line for each finished run, and a heartbeat every minute: for pipes, logs and CI."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._said_at = clock()
        self._tally = Tally()
        self._active: dict[str, tuple[Run, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def planned(self, to_make: Sequence[Run], reused: int) -> None:
        self._say(self._tally.planned(to_make, reused))

    def started(self, run: Run) -> None:
        self._active[run.key] = (run, 0.0)

    def advanced(self, run: Run, progress: float, text: str) -> None:
        self._active[run.key] = (run, progress)
        self._tally.last[run.key] = text

    def finished(self, run: Run, outcome: Outcome) -> None:
        self._active.pop(run.key, None)
        self._say(self._tally.finished(run, outcome), _STYLES[outcome.status])

    def log(self, text: str) -> None:
        self._say(text)

    def heartbeat(self) -> None:
        if self._clock() - self._said_at >= HEARTBEAT_SECONDS:
            working = ", ".join(self._at_work(run, progress) for run, progress in self._active.values())
            done = f"{self._tally.ended} of {self._tally.to_make} runs made"
            self._say(f"{done}; running {working}" if working else f"{done}; waiting")

    def _at_work(self, run: Run, progress: float) -> str:
        """Such as `code_lm/sgd/seed 1 25% (step 50, loss 3.1; no step for 75 s)`."""
        last = self._tally.last.get(run.key)
        return f"{run} {progress:.0%} ({last})" if last else f"{run} {progress:.0%}"

    def _say(self, text: str, style: str = "") -> None:
        self._said_at = self._clock()
        # soft_wrap: a log line stays one line, whatever width Rich takes a pipe to have
        self._console.print(text_of(text, style), soft_wrap=True)


class LiveWatcher:
    """A progress bar for all runs and for each active run; lines of finished runs scroll above them.

    Every bar has a single line, whatever the width: a line that wraps would be left over in the scrollback.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        name_width = max(20, console.width - 50)
        self._progress = Progress(
            # markup off: an arm's name may hold brackets
            TextColumn("{task.description}", markup=False, table_column=_on_one_line(max_width=name_width)),
            BarColumn(bar_width=max(4, min(24, console.width // 8))),
            TaskProgressColumn(table_column=_on_one_line(min_width=4)),
            TextColumn("{task.fields[text]}", markup=False, table_column=_on_one_line(ratio=1)),
            console=console,
            transient=True,
            expand=True,
            auto_refresh=False,  # a thread that draws while this one prints leaves lines behind
        )
        self._clock, self._begin, self._drawn_at = clock, clock(), clock()
        self._tally, self._pace = Tally(), Pace(())
        self._whole: TaskID | None = None
        self._active: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, to_make: Sequence[Run], reused: int) -> None:
        self._say(self._tally.planned(to_make, reused))
        self._begin, self._pace = self._clock(), Pace(to_make)
        self._whole = self._progress.add_task(
            "all trials" if _are_trials(to_make) else "all runs", total=self._tally.to_make, text=""
        )
        self._count()

    def started(self, run: Run) -> None:
        if run.key in self._active:  # tried again after a crash
            self._progress.remove_task(self._active[run.key])
        self._active[run.key] = self._progress.add_task(on_one_line(str(run)), total=1.0, text="")

    def advanced(self, run: Run, progress: float, text: str) -> None:
        self._tally.last[run.key] = text
        if run.key in self._active:
            self._progress.update(self._active[run.key], completed=progress, text=on_one_line(text))
        self._pace.advanced(run, progress)
        self.heartbeat()

    def finished(self, run: Run, outcome: Outcome) -> None:
        if run.key in self._active:
            self._progress.remove_task(self._active.pop(run.key))
        self._pace.finished(run, outcome)
        self._say(self._tally.finished(run, outcome), _STYLES[outcome.status])
        self._count()

    def log(self, text: str) -> None:
        self._say(text)

    def heartbeat(self) -> None:
        if self._clock() - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = self._clock()
            self._count()
            self._progress.refresh()

    def _count(self) -> None:
        """How many runs are made, the time that the rest takes at this pace, and the best loss so far."""
        if self._whole is None:
            return
        done = {task.id: task.completed for task in self._progress.tasks}
        active = {key: done[task] for key, task in self._active.items()}
        words = [f"{self._tally.ended} of {self._tally.to_make}"]
        if left := self._pace.left(self._clock() - self._begin, active):
            words.append(f"about {seconds(round(left))} left")
        if self._tally.best:
            words.append(on_one_line(self._tally.best))
        self._progress.update(self._whole, completed=self._tally.ended + sum(active.values()), text=", ".join(words))

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(text_of(text, style))


def _are_trials(runs: Sequence[Run]) -> bool:
    return any(run.trial_of for run in runs)


def _on_one_line(max_width: int | None = None, min_width: int | None = None, ratio: int | None = None) -> Column:
    return Column(no_wrap=True, overflow="ellipsis", max_width=max_width, min_width=min_width, ratio=ratio)


class JsonlWatcher:
    """Events as JSON lines, for programs: no repeated progress, a heartbeat every minute."""

    def __init__(self, put: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._put = put
        self._clock = clock
        self._said_at = clock()
        self._last: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def planned(self, to_make: Sequence[Run], reused: int) -> None:
        self._event("planned", total=len(to_make) + reused, reused=reused)

    def started(self, run: Run) -> None:
        self._last.pop(run.key, None)
        self._event("started", **_named(run))

    def advanced(self, run: Run, progress: float, text: str) -> None:
        if self._last.get(run.key) != (progress, text):
            self._last[run.key] = progress, text
            self._event("advanced", **_named(run), progress=progress, text=text)

    def finished(self, run: Run, outcome: Outcome) -> None:
        self._event("finished", **_named(run), outcome=asdict(outcome))

    def log(self, text: str) -> None:
        self._event("log", text=text)

    def heartbeat(self) -> None:
        if self._clock() - self._said_at >= HEARTBEAT_SECONDS:
            self._event("heartbeat")

    def _event(self, event: str, **fields: object) -> None:
        self._said_at = self._clock()
        self._put(to_json_line({"event": event} | fields) + "\n")


def _named(run: Run) -> dict[str, object]:
    return {"task": run.task.name, "arm": run.arm.name, "seed": run.seed, "key": run.key}
