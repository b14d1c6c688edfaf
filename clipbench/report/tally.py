"""What the progress of `clipbench run` counts: the runs made, the best of them, and the time that the others take."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clipbench.judging.words import brief, count
from clipbench.records import Outcome, Run
from clipbench.report.numbers import seconds

_MARKS = {"finished": "+", "diverged": "x", "failed": "x"}


class Tally:
    """Counts runs to make and runs made, keeps the last progress text of each, and the best end on each task."""

    def __init__(self) -> None:
        self.to_make = 0
        self.ended = 0
        self.last: dict[str, str] = {}
        self.best = ""  # the arm with the least final loss so far, on the task of the latest finished run
        self._least: dict[str, tuple[float, str]] = {}

    def planned(self, to_make: Sequence[Run], reused: int) -> str:
        """Such as `21 runs: 3 reused, 18 to make`."""
        self.to_make = len(to_make)
        return f"{count(self.to_make + reused, 'run')}: {reused} reused, {self.to_make} to make"

    def finished(self, run: Run, outcome: Outcome) -> str:
        """Such as `[3/21] + code_lm/sgd/seed 1 finished: 200 steps in 4.1 s, 12.3 ms/step, loss 2.96`."""
        self.ended += 1
        facts = [f"{outcome.steps} steps in {seconds(outcome.train_seconds)}"]
        if outcome.step_seconds:
            facts.append(f"{outcome.step_seconds * 1000:.3g} ms/step")
        last = self.last.pop(run.key, "")
        facts.append(brief(outcome.reason) or last)
        if outcome.status == "finished" and last.startswith("loss "):  # as the supervisor ends a run
            task = run.task.name
            loss = float(last.removeprefix("loss ")), run.arm.name
            self._least[task] = min(self._least.get(task, loss), loss)
            self.best = f"best on {task} {self._least[task][0]:.4g}: {self._least[task][1]}"
        words = ", ".join(filter(None, facts))
        mark = _MARKS[outcome.status]
        return f"[{self.ended}/{self.to_make}] {mark} {run} {outcome.status}: {words}"


class Pace:
    """How long the runs that are left take: each as those of its arm on its task did, or as others did."""

    def __init__(self, to_make: Iterable[Run]) -> None:
        self._kinds = {run.key: (run.task.name, run.arm.name) for run in to_make}
        self._left = Counter(self._kinds.values())
        self._begun: dict[str, float] = {}  # the fraction that was done of a run when it was first heard of
        self._spent = 0.0  # what the runs that have ended took since then
        self._took: dict[tuple[str, ...], tuple[float, int]] = {}  # seconds and runs of an arm, of a task, and of all

    def advanced(self, run: Run, progress: float) -> None:
        """Take note of where a run goes on from."""
        if progress < 1:  # of a quick run the end alone is heard
            self._begun.setdefault(run.key, progress)

    def finished(self, run: Run, outcome: Outcome) -> None:
        """Count a run that has ended."""
        kind = run.task.name, run.arm.name
        self._left[kind] -= 1
        self._spent += outcome.wall_seconds * (1 - self._begun.get(run.key, 0.0))
        if outcome.status != "failed":
            for known in (kind, kind[:1], ()):
                took, runs = self._took.get(known, (0.0, 0))
                self._took[known] = took + outcome.wall_seconds, runs + 1

    def left(self, elapsed: float, progress: Mapping[str, float]) -> float:
        """Seconds, where `elapsed` have passed and of runs at work the fraction `progress` is done; 0 if unknown."""
        if not self._took:
            return 0.0
        left, done = sum(self._seconds(kind) * runs for kind, runs in self._left.items()), self._spent
        for key, share in progress.items():
            if key in self._kinds:
                whole = self._seconds(self._kinds[key])
                left -= whole * share
                done += whole * max(0.0, share - self._begun.get(key, 0.0))
        at_this_pace = elapsed * left / done if done else 0.0
        return at_this_pace if math.isfinite(at_this_pace) else 0.0

    def _seconds(self, kind: tuple[str, str]) -> float:
        took, runs = next(filter(None, map(self._took.get, (kind, kind[:1], ()))))
        return took / runs
