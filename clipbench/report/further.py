"""What would decide more than a comparison does: the rest of its runs, another baseline, or new seeds alone."""

import itertools
import math
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipbench.judging.cells import grouped
from clipbench.judging.checks.seeds import FEW_SEEDS
from clipbench.judging.comparison import Comparison, Row
from clipbench.judging.paired import so_many
from clipbench.judging.words import count, listing
from clipbench.planning.cost import expected_cost
from clipbench.records import Record
from clipbench.report.answers import metric_name
from clipbench.report.numbers import seconds
from clipbench.spec import bundled

_MOST_NEW = 20  # seeds for which a command is shown
_WITH_A_VALUE = ("--set", "--seeds", "--filter", "--device", "--threads")  # options among the words of a command


@dataclass(frozen=True)
class Origin:
    """Where a comparison comes from, for the commands on its screen.

    - `results`: the folders that were given.
    - `records`: the runs of the spec in them.
    - `command`: the words that name the spec for `clipbench run`, as far as they are known.
    - `planned`: the keys of the reported runs of the latest plan.
    """

    results: Sequence[Path]
    records: Sequence[Record]
    command: Sequence[str]
    planned: Sequence[str] = ()

    @property
    def reported(self) -> list[Record]:
        """The runs that are no trials, or that the plan reports although they tuned."""
        planned = frozenset(self.planned)
        return [record for record in self.records if not record.run.trial_of or record.identity in planned]

    @property
    def roots(self) -> list[str]:
        """The whole paths of the folders that hold the folders of specs."""
        here = Path.cwd()
        folders = (os.path.normpath(here / record.folder / "../../../..") for record in self.reported)
        return list(dict.fromkeys(folders))

    def command_line(self, *more: str, leave_out: Sequence[str] = ()) -> str:
        """`clipbench run` of the spec, for a shell in the current folder; empty where the spec is not known from here.

        Args:
            more: further words.
            leave_out: options that the runs had.
        """
        spec, *words = self.command or ("",)
        if not _is_file(spec) and spec not in bundled.names():
            return ""
        kept, left = [], iter(words)
        for word in left:
            option = [word, *itertools.islice(left, word in _WITH_A_VALUE)]
            kept += [] if word in leave_out else option
        return shlex.join(["clipbench", "run", _no_option(spec), *kept, *more])


def advice(comparison: Comparison, rows: Sequence[Row], source: Origin) -> tuple[str, str]:
    """What to do next where something is undecided, in a sentence, and the command for it; empty without such."""
    if sentence_and_command := _rest_of_the_runs(source):
        return sentence_and_command
    undecided = [row for row in rows if row.verdict == "undecided" and row.against is not None and row.judged]
    if not undecided:
        return "", ""
    faults = {task: _fault_of_baseline(comparison, of_task) for task, of_task in grouped(rows, _task).items()}
    beyond = [fault for task, fault in faults.items() if fault and any(row.task == task for row in undecided)]
    left = [row for row in undecided if not faults[row.task]]
    sentence, command = _more_seeds(rows, left, source)
    return " ".join(filter(None, [*dict.fromkeys(beyond), *_without_a_pair(comparison, left), sentence])), command


def _task(row: Row) -> str:
    return row.task


def _rest_of_the_runs(source: Origin) -> tuple[str, str] | None:
    """That planned runs are missing or unfinished, and the command that resumes them; None where all have ended."""
    ended = {record.identity for record in source.reported if record.outcome}
    planned = source.planned or [record.identity for record in source.reported]
    waiting = sum(key not in ended for key in planned)
    if not waiting:
        return None
    what = f"{waiting} of {count(len(planned), 'planned run')} {'is' if waiting == 1 else 'are'} missing or unfinished"
    root = source.roots[0] if len(source.roots) == 1 else ""
    command = source.command_line("-o", _from_here(root), leave_out=["--filter"]) if root else ""
    if command:
        return f"{what}. This resumes them:", command
    return f"{what}: the same clipbench run{_of_spec(source)}, into the same folder, resumes them.", ""


def _fault_of_baseline(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Why no arm of a task can be compared with the baseline, and what to do; empty if arms can."""
    base, metric = comparison.baseline, str(comparison.metric)
    where = f" on {rows[0].task}" if len(comparison.tasks) > 1 else ""
    row = next((row for row in rows if row.arm == base), None)
    if row is None:
        return f"The baseline {base} has no run{where}: run it, or compare with another arm (--baseline ARM)."
    if row.others[metric].n:
        return ""
    if not any(each.others[metric].n for each in rows) and any(each.seeds.finished for each in rows):
        return f"No finished run{where} has a value of {metric_name(comparison)}: compare another --metric."
    broken = len(row.seeds.diverged) + len(row.seeds.failed)
    if broken == row.seeds.total:
        word = "diverged" if not row.seeds.failed else "failed" if not row.seeds.diverged else "diverged or failed"
        remedy = "another learning rate" if row.seeds.diverged else "mend it"
        lost = f"The baseline {base} {word} on {f'all {broken} seeds' if broken > 1 else 'its seed'}{where}"
        return f"{lost}, so nothing is compared with it: {remedy}, or another arm (--baseline ARM)."
    lacks = f"The baseline {base} has no value of {metric_name(comparison)}{where}"
    return f"{lacks}: compare with another arm (--baseline ARM)."


def _without_a_pair(comparison: Comparison, undecided: Sequence[Row]) -> Iterator[str]:
    """Why arms have fewer than two pairs that more seeds of this kind would not give."""
    missed = [row.arm for row in undecided if row.against and row.against.n < 2 and row.against.neither]
    if missed:
        arms = listing(dict.fromkeys(missed), 4)
        of_loss = not any(head.target and head.target.quantity for head in comparison.tasks)
        yield (
            f"Fewer than two seeds tell {arms} from {comparison.baseline}, as the target was missed: give an easier "
            f"one (--target {'LOSS' if of_loss else 'METRIC>=X, quoted'}) or a longer budget."
        )


def _more_seeds(rows: Sequence[Row], undecided: Sequence[Row], source: Origin) -> tuple[str, str]:
    """How many new seeds would decide, without the old ones, and the command that makes them."""
    several = len({row.task for row in rows}) > 1
    needed = [(row, row.judged.seeds_needed) for row in undecided if row.judged and row.against and row.against.n > 1]
    needed = sorted(((row, seeds) for row, seeds in needed if not math.isnan(seeds)), key=lambda pair: pair[1])
    if not needed:
        return _first_seeds([row for row in undecided if _is_single(row)], rows, source)
    names = [f"{so_many(seeds)} for {row.arm}{f' on {row.task}' if several else ''}" for row, seeds in needed]
    few = [int(seeds) for _, seeds in needed if seeds <= _MOST_NEW]
    cost, command = _again(source, rows, max(few)) if few else ("", "")
    cost = f"; {cost}" if cost else ""
    return f"New seeds alone would decide (80 % power{cost}): {listing(names, 7)}", command


def _is_single(row: Row) -> bool:
    """Whether an arm has one pair, and lacks no other for a reason that new seeds would share."""
    return row.against is not None and row.against.n == 1 and not row.against.neither and not row.against.left_out


def _first_seeds(single: Sequence[Row], rows: Sequence[Row], source: Origin) -> tuple[str, str]:
    """The beginning of a comparison, where no spread over seeds is known yet."""
    if not single:
        return "", ""
    alone = all(row.seeds.total == 1 for row in rows)
    of_arms = f"A single pair of seeds ({listing(dict.fromkeys(row.arm for row in single), 4)})"
    start = f"{'One seed' if alone else of_arms} shows no spread: five are a start"
    if "--quick" in source.command:
        words = ["-o", _from_here(source.roots[0])]
        command = source.command_line(*words, leave_out=["--quick", "--seeds", "--filter"])
        return (f"{start}. Without --quick the spec has its own seeds and budget:" if command else f"{start}."), command
    cost, command = _again(source, rows, FEW_SEEDS)
    return f"{start} ({cost})", command


def _again(source: Origin, rows: Sequence[Row], new: int) -> tuple[str, str]:
    """What runs of all arms with so many new seeds cost, and the command that makes them in a folder of their own."""
    trials = {record.run.seed for record in source.records if record.run.trial_of}
    first = 1 + max(record.run.seed for record in source.reported)
    if trials & set(range(first, first + new)):
        first = 1 + max(trials)
    places = {(row.task, row.arm) for row in rows}
    kinds = {
        place: record.run
        for record in source.reported
        if (place := (record.run.task.name, record.run.arm.name)) in places
    }
    cost = expected_cost(kinds.values(), source.records)  # of one seed: each costs the same
    slots = max((record.environment.side_by_side for record in source.reported if record.environment), default=1)
    time = f", about {seconds(new * cost.seconds / slots)}" if cost.known else ""
    tuning = " without the tuning trials" if trials else ""
    seeds = f"{first}..{first + new - 1}"
    words = ["--seeds", seeds, "-o", _from_here(_free(f"{source.roots[0]}-new"))]
    command = source.command_line(*words, leave_out=["--seeds", "--filter"])
    how = "" if command else f", with --seeds {seeds}{_of_spec(source)}"
    return f"{new} are {count(new * len(kinds), 'run')}{time}{tuning}{how}", command


def _of_spec(source: Origin) -> str:
    return f" of the spec {shlex.quote(source.command[0])}" if source.command else ""


def _free(folder: str) -> str:
    """The folder, or the first with a number behind it, that does not exist."""
    names = itertools.chain([folder], (f"{folder}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def _from_here(path: str) -> str:
    """A whole path as a command names it: from the current folder if it is inside."""
    inside = os.path.relpath(path)
    return path if Path(inside).parts[:1] == (os.pardir,) else _no_option(inside)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # no file can have this name
        return False


def _no_option(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path
