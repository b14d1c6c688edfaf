"""What clipbench says when it cannot go on: what was found, where, and what to do."""

from dataclasses import dataclass

# Exit codes, as documented in `clipbench --help` (128 + SIGINT is the shell's own convention).
DONE, FINDING, USAGE, UNDECIDED, RUN_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130
LONGEST_REASON = 300  # characters: torch's own messages run to pages, and stand whole in the log
# A worker's own: it was asked to stop and has left a checkpoint (EX_TEMPFAIL of sysexits.h: try again later).
STOPPED = 75


class ClipbenchError(Exception):
    """Something the user can mend: `found` says what, `where` the place, `remedy` what to do."""

    exit_code = USAGE

    def __init__(self, found: str, *, where: str = "", remedy: str = "") -> None:
        self.found, self.where, self.remedy = found, where, remedy
        super().__init__(found, where, remedy)

    def __str__(self) -> str:
        head = f"{self.where}: {self.found}" if self.where else self.found
        return f"{head}\n  {self.remedy}" if self.remedy else head


def in_one_line(error: BaseException) -> str:
    """An error's kind and what was found, for a row of a table: the remedy stands in the log."""
    found = error.found if isinstance(error, ClipbenchError) else str(error)
    return f"{type(error).__name__}: {' '.join(found.split())}"


def reason_of(error: BaseException) -> str:
    """Why a run failed, in a line that can be read, by what its code raised."""
    if isinstance(error, SystemExit):
        reason = f"the code of the run ended Python: sys.exit({error.code!r})"
    else:
        reason = in_one_line(error)
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} … (the log has all of it)"


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
        head = f"{place}: {self.message}"
        if not self.source:
            return head
        return f"{head}\n    {self.source}\n    {' ' * (self.column - 1)}^"


class SpecError(ClipbenchError):
    """A benchmark spec with all of its faults, in the order of the file; nothing was run."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        count = "1 error" if len(faults) == 1 else f"{len(faults)} errors"
        listing = "\n".join(str(fault) for fault in self.faults)
        super().__init__(f"{listing}\n{count} in {file}; nothing was run")


class StoreError(ClipbenchError):
    """A results folder or a run's folder that cannot be read or written."""


class UndecidedError(ClipbenchError):
    """The question cannot be answered from what there is: no runs, no baseline, not comparable."""

    exit_code = UNDECIDED
