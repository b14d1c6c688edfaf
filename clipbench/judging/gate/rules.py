"""How strict the gate is: which verdicts fail it, and how much worse a metric may be."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from clipbench.errors import ClipbenchError

# The gravest first.
Verdict = Literal["regressed", "changed", "not comparable", "missing", "inconclusive", "new", "advice", "ok"]
# `arm` is the row of an arm that as a whole is missing, new or not comparable, or some of whose runs cannot be read.
Metric = Literal["arm", "outcome", "weights", "state", "flops", "loss", "steps", "sharpness", "time", "memory"]
METRICS: tuple[Metric, ...] = get_args(Metric)

# Fractions. Steps are read only as often as a run is evaluated, sharpness varies by factors, time by the minute.
TOLERANCES: Mapping[Metric, float] = {"loss": 0.02, "steps": 0.1, "sharpness": 0.25, "time": 0.1, "memory": 0.05}

# How much of the 5 % that all tested rows share a row is given, in proportion; it was settled before any run was seen.
# The loss is the gate's first question: where steps and sharpness stand beside each loss, the losses have 4/5 of it.
WEIGHTS: Mapping[Metric, float] = {"loss": 8.0, "steps": 1.0, "sharpness": 1.0, "time": 1.0, "memory": 1.0}

# What may be asked to fail: advice and ok say that nothing is to be failed on.
FAILABLE: tuple[Verdict, ...] = ("regressed", "changed", "not comparable", "missing", "inconclusive", "new")
DEFAULT: tuple[Verdict, ...] = ("regressed", "changed")
STRICT: tuple[Verdict, ...] = FAILABLE[:-1]

Failing = tuple[Verdict, Metric | None]  # None: whatever the metric
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Rules:
    """`fail_on` are the verdicts that fail the gate, each for one metric or for all."""

    fail_on: tuple[Failing, ...] = tuple((verdict, None) for verdict in DEFAULT)
    tolerances: Mapping[Metric, float] = field(default_factory=lambda: TOLERANCES)

    def fail(self, verdict: Verdict, metric: Metric) -> bool:
        return (verdict, None) in self.fail_on or (verdict, metric) in self.fail_on


def rules(fail_on: Sequence[str], tolerances: Sequence[str], *, strict: bool) -> Rules:
    """The rules as a command line says them.

    Args:
        fail_on: verdicts, `changed`, or a verdict for one metric, `regressed:loss`; none means DEFAULT.
        tolerances: `METRIC=FRACTION`, or a fraction for every metric that has a tolerance.
        strict: all of STRICT fails too.

    Raises:
        ClipbenchError: an unknown name, or a tolerance that is no fraction above or at 0.
    """
    chosen = [_failing(text) for text in fail_on] or [(verdict, None) for verdict in DEFAULT]
    if strict:
        chosen += [(verdict, None) for verdict in STRICT]
    allowed = dict(TOLERANCES)
    for text in tolerances:
        metric, sign, amount = text.rpartition("=")
        fraction = _fraction(amount)
        for name in [_known(metric, TOLERANCES, "--tolerance")] if sign else TOLERANCES:
            allowed[name] = fraction
    return Rules(tuple(dict.fromkeys(chosen)), allowed)


def _failing(text: str) -> Failing:
    verdict, colon, metric = text.partition(":")
    return (
        _known(verdict.replace("-", " "), FAILABLE, "--fail-on"),
        _known(metric, METRICS, "--fail-on") if colon else None,
    )


def _known(text: str, names: Sequence[Name] | Mapping[Name, float], option: str) -> Name:
    for name in names:
        if name == text:
            return name
    near = difflib.get_close_matches(text, list(names), n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ClipbenchError(f"{option} knows no {text!r}", remedy=f"{meant}it is one of: {', '.join(names)}")


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ClipbenchError(
            f"--tolerance: {text!r} is no fraction", remedy="write 0.02 for 2 %, or loss=0.02 for one metric"
        )
    return value
