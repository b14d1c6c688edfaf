"""What the gate needs to know of a suite of runs, and no more: small enough to lie beside the code as one JSON file."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.harmless import on_one_line, shortened
from clipbench.judging.metrics import Status
from clipbench.judging.words import count, listing
from clipbench.records import Scalar

FORMAT = 1
MOST_BYTES = 24_000_000  # of a baseline file: the ten thousand runs that judging is measured at, at 2 kB each
MEND = "restore the run's folder, or delete it and run the spec again"
_CLOSED = ConfigDict(ser_json_inf_nan="constants", extra="forbid", strict=True)
_SHOWN = 200  # characters of what is wrong with a file


def _no_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("this cannot be NaN")
    return value


# A loss may be any float: a run that diverged has ended at infinity, or at what is no number.
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Times = Annotated[int, Field(ge=1, le=2**63 - 1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Steps = Annotated[float, Field(ge=0), AfterValidator(_no_nan)]  # infinity is a target that was missed
Fact = bool | int | Finite | str | None


@with_config(_CLOSED)
@dataclass(frozen=True)
class SeedResult:
    """One run, as the gate sees it.

    `log_sharpness` is the mean of ln over the positive values of the run, NaN where there is none. `state_bytes`,
    `peak_bytes` and `step_flops` are None, `started` is 0 and `device` empty, for runs that did not record them.
    """

    seed: Count
    status: Status
    reason: str
    first_loss: float
    final_loss: float
    steps: Count
    steps_to_target: Steps | None
    log_sharpness: float
    weights: str
    step_seconds: Seconds
    state_bytes: Count | None
    peak_bytes: Count | None
    numerics_id: str
    machine_id: str
    side_by_side: Count
    started: Seconds
    step_flops: Count | None = None
    device: str = ""  # cpu, cuda or mps, whichever of several

    @property
    def sound(self) -> bool:
        """It finished, with a loss that is a number."""
        return self.status == "finished" and math.isfinite(self.final_loss)

    @property
    def hit(self) -> bool:
        """It reached its target."""
        return self.steps_to_target is not None and self.steps_to_target < math.inf


@with_config(_CLOSED)
@dataclass(frozen=True)
class ArmResult:
    """All runs of one arm on one task.

    - `problem`: what must be the same on both sides for a loss to mean the same: the task with its options and
      its code, the data, the budget, when it was evaluated.
    - `described`: what the spec says of the arm. `code` identifies the optimizer's code, which may change.
    - `target`: reached where so many `consecutive` evaluations are at or below it.
    """

    spec: str
    task: str
    arm: str
    target: Finite | None
    problem: Mapping[str, Fact]
    described: Mapping[str, Fact]
    code: str
    evaluate_every: Times
    seeds: tuple[SeedResult, ...]
    consecutive: Times = 1

    @property
    def place(self) -> tuple[str, str, str]:
        return self.spec, self.task, self.arm

    @property
    def goal(self) -> tuple[float | None, int]:
        """What steps are counted to."""
        return self.target, self.consecutive


@with_config(_CLOSED)
@dataclass(frozen=True)
class Unread:
    """A run that is there and cannot be read: `place` is where it lies, `found` what was found there."""

    place: tuple[str, str, str]
    found: str


@with_config(_CLOSED)
@dataclass(frozen=True)
class Suite:
    """The arms of one or more specs, each with its seeds; `caveats` were found while they were gathered.

    Runs that are `unread` are in no arm. A suite that has any is not kept as a baseline.
    """

    arms: tuple[ArmResult, ...]
    caveats: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    format: int = FORMAT


_SUITE = TypeAdapter(Suite)


def dumped(suite: Suite) -> bytes:
    """A suite as the JSON of a baseline file.

    Raises:
        UndecidedError: it has runs that could not be read: what lacks their seeds would silently judge on fewer.
    """
    if suite.unread:
        broken = listing((run.found for run in suite.unread), limit=3)
        found = f"{count(len(suite.unread), 'run')} cannot be read, and no baseline is kept without them: {broken}"
        raise UndecidedError(found, remedy=MEND)
    harmless = replace(suite, caveats=tuple(map(on_one_line, suite.caveats)))  # a folder's name may be no text
    return _SUITE.dump_json(harmless, indent=1, exclude={"unread"})


def loaded(content: bytes, *, where: str) -> Suite:
    """A suite from the JSON of a baseline file.

    Raises:
        ClipbenchError: it is no such file, or one of another format.
    """
    anew = "write it anew: clipbench check RESULTS --save-baseline FILE"
    try:
        text = content.decode()
        raw: Any = json.loads(text, object_pairs_hook=_each_once)
        if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
            has = shortened(repr(raw["format"]), _SHOWN)
            found = f"this baseline has format {has}; this clipbench reads format {FORMAT}"
            raise ClipbenchError(found, where=where, remedy=anew)
        suite = _SUITE.validate_json(text)  # as JSON, where a list may be a tuple and nothing else is converted
    except ValidationError as error:
        fault = error.errors()[0]
        reason = shortened(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", _SHOWN)
        raise ClipbenchError(f"this is not a baseline file ({reason})", where=where, remedy=anew) from error
    except (ValueError, RecursionError) as error:
        reason = shortened(str(error), _SHOWN)
        raise ClipbenchError(f"this is not a baseline file ({reason})", where=where, remedy=anew) from error
    # Of two arms one would be dropped in silence, and a seed that counts double would feign certainty.
    arms = Counter(f"{arm.arm} on {arm.task} of {arm.spec}" for arm in suite.arms)
    seeds = Counter(
        f"seed {run.seed} of {arm.arm} on {arm.task} of {arm.spec}" for arm in suite.arms for run in arm.seeds
    )
    if twice := [name for name, times in [*arms.items(), *seeds.items()] if times > 1]:
        found = f"this baseline has {shortened(twice[0], _SHOWN)} twice"
        raise ClipbenchError(found, where=where, remedy=anew)
    return suite


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two values under one name, a reader could take either."""
    read = dict(pairs)
    if len(read) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice!r} is there twice")
    return read


def differences(before: Mapping[str, Scalar], after: Mapping[str, Scalar]) -> str:
    """Which facts are not the same, in words: lr was 0.003 and is 0.004. Empty where all are."""
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    said = [f"{name} was {_short(before.get(name))} and is {_short(after.get(name))}" for name in names]
    return listing(said, limit=4)


def _short(value: Scalar) -> str:
    """A value, or the beginning of a hash; the whole of one tells a reader no more."""
    text = str(value) if value not in ("", None) else "nothing"
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def counted(suite: Suite) -> str:
    """3 arms, 15 runs."""
    return f"{count(len(suite.arms), 'arm')}, {count(sum(len(arm.seeds) for arm in suite.arms), 'run')}"
