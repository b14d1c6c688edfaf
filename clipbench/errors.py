"""What clipbench says when it cannot go on: what was found, where, and what to do."""

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipbench.harmless import on_one_line, shortened

# Exit codes, as documented in `clipbench --help` (128 + SIGINT is the shell's own convention).
DONE, FINDING, USAGE, UNDECIDED, RUN_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130
LONGEST_REASON = 300  # characters: torch's own messages run to pages, and stand whole in the log
# A worker's own: it was asked to stop and has left a checkpoint (EX_TEMPFAIL of sysexits.h: try again later).
STOPPED = 75
LOST_PROCESS = 71  # another process of its run was lost (EX_OSERR)

_MOST_FAULTS = 20  # of one spec, in its message: who has mended these sees the rest
_WIDEST = 120  # characters of a line that is shown; of a longer line, those around the fault
_LONGEST = 500  # characters of what is said of a fault


class ClipbenchError(Exception):
    """Something the user can mend: `message` says what is wrong, `where` the place, `remedy` what to do."""

    exit_code = USAGE

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        self.message, self.where, self.remedy = message, where, remedy
        super().__init__(message, where, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        """An error of a process elsewhere is raised here: pickle would make it by its arguments alone."""
        return _as_it_was, (type(self), self.args, vars(self))

    def __str__(self) -> str:
        where, message, remedy = map(on_one_line, (self.where, self.message, self.remedy))
        head = f"{where}: {message}" if where else message
        return f"{head}\n  {remedy}" if remedy else head


def _as_it_was(kind: type[ClipbenchError], args: tuple[Any, ...], fields: dict[str, Any]) -> ClipbenchError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


def in_one_line(error: BaseException) -> str:
    """An error's kind and message, for a row of a table: the remedy of one of our own stands in the log."""
    message = error.message if isinstance(error, ClipbenchError) else str(error)
    kind = "" if type(error) is ClipbenchError else f"{type(error).__name__}: "  # which says nothing to a reader
    return f"{kind}{' '.join(message.split())}"


def reason_of(error: BaseException) -> str:
    """Why a run failed, in a line that can be read, by what its code raised; where, if that has no words."""
    if isinstance(error, SystemExit):
        reason = f"the code of the run ended Python: sys.exit({error.code!r})"
    else:
        reason = in_one_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    if not str(error).strip() and frames:
        reason = f"{type(error).__name__}, without a word, at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    reason = on_one_line(reason)
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} … (the log has all of it)"


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """The names, those most like `name` first."""
    from difflib import get_close_matches  # late: only an error asks for it

    like = get_close_matches(name, names, n=max(1, len(names)), cutoff=0.0)
    return [*like, *(candidate for candidate in names if candidate not in like)]


def _name(file: str) -> str:
    return shortened(on_one_line(file), _LONGEST)


def _in_short(message: str) -> str:
    """What is said of a fault, where a name or a value in it may be as long as a file."""
    words = re.sub(rf"\S{{{_WIDEST},}}", lambda match: shortened(match.group(), _WIDEST), on_one_line(message))
    return shortened(words, _LONGEST)


@dataclass(frozen=True)
class Fault:
    """One fault of a spec: `line` and `column` count from 1; `source` is the line itself."""

    message: str
    file: str
    line: int = 0
    column: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        head = f"{_name(place)}: {_in_short(self.message)}"
        if not self.source:
            return head
        before, after = self._around()
        return f"{head}\n    {before}{after}\n    {' ' * len(before)}^"

    def _around(self) -> tuple[str, str]:
        """What is shown of the line, before the column and from there on."""
        before, after = on_one_line(self.source[: self.column - 1]), on_one_line(self.source[self.column - 1 :])
        if len(before) + len(after) <= _WIDEST:
            return before, after
        kept = max(_WIDEST // 2, _WIDEST - len(after))
        before = before if len(before) <= kept else f"…{before[1 - kept :]}"
        room = _WIDEST - len(before)
        return before, after if len(after) <= room else f"{after[: room - 1]}…"


class SpecError(ClipbenchError):
    """A benchmark spec with all of its faults, in the order of the file; nothing was run."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        count = "1 error" if len(faults) == 1 else f"{len(faults)} errors"
        shown = [str(fault) for fault in self.faults[:_MOST_FAULTS]]
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        super().__init__("\n".join([*shown, *more, f"{count} in {_name(file)}; nothing was run"]))

    def __str__(self) -> str:
        return self.message


class StoreError(ClipbenchError):
    """A results folder or a run's folder that cannot be read or written."""


class UndecidedError(ClipbenchError):
    """The question cannot be answered from what there is: no runs, no baseline, not comparable."""

    exit_code = UNDECIDED
