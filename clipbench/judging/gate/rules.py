"""The rules of the gate: metrics, failing verdicts and tolerances."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from clipbench.errors import ClipbenchError
from clipbench.quantities import (
    FINAL_LOSS,
    PEAK_BYTES,
    STEP_SECONDS,
    STEPS_TO_TARGET,
)
from clipbench.records import DIRECTIONAL_SHARPNESS

# The gravest first. A row is `missing` where the candidate lacks what the baseline has: an arm, or a metric on a seed.
GateVerdict = Literal[
    "regressed", "changed", "not comparable", "missing", "undecided", "new", "improved", "advice", "ok"
]  # fmt: skip
Metric = str


@dataclass(frozen=True)
class Varying:
    """A quantity that varies between runs described alike, of which less is better; the gate compares its ratios.

    - `tolerance`: the fraction by which it may be worse.
    - `weight`: how much of the 5 % that all tested rows share a row is given, in proportion.
    - `least`: a smaller value counts as this, so that every ratio is defined.
    """

    metric: Metric
    quantity: str
    tolerance: float
    weight: float = 1.0
    least: float = 0.0


# Steps are read only as often as a run is evaluated, sharpness varies by factors, time by the minute. The weights were
# settled before any run was seen. The loss is the gate's first question: where steps and sharpness stand beside each
# loss, the losses have 4/5 of the 5 %.
VARYING = (
    Varying("loss", FINAL_LOSS, tolerance=0.02, weight=8.0),
    Varying("steps", STEPS_TO_TARGET, tolerance=0.1, least=1.0),
    Varying("sharpness", DIRECTIONAL_SHARPNESS, tolerance=0.25),
    Varying("time", STEP_SECONDS, tolerance=0.1),
    Varying("memory", PEAK_BYTES, tolerance=0.05),
)


@dataclass(frozen=True)
class Counted:
    """An exact quantity of which any increase is a regression; `alike`: only where both sides compute alike."""

    metric: Metric
    quantity: str
    unit: str
    alike: bool = False


# Passes are not counted: clipbench steps without a closure, so no optimizer can ask for a second one, and what it
# multiplies on its own account is among its operations. Kernels differ in how they count those.
COUNTED = (
    Counted("state", "state_bytes", "bytes"),
    Counted("flops", "step_flops", "FLOPs a step", alike=True),
)

# `arm` is the row of an arm that as a whole is missing, new or not comparable, or some of whose runs cannot be read;
# `seeds` the row of an arm that lacks seeds.
METRICS: tuple[Metric, ...] = (
    *("arm", "seeds", "outcome", "weights"),
    *(each.metric for each in (*COUNTED, *VARYING)),
)
TOLERANCES: Mapping[Metric, float] = {each.metric: each.tolerance for each in VARYING}

# What may be asked to fail: improved, advice and ok say that nothing is to be failed on.
FAILABLE: tuple[GateVerdict, ...] = ("regressed", "changed", "not comparable", "missing", "undecided", "new")
VERDICT_ALIASES = {"inconclusive": "undecided"}  # earlier names that `--fail-on` still takes
DEFAULT: tuple[GateVerdict, ...] = ("regressed", "changed")
STRICT: tuple[GateVerdict, ...] = FAILABLE[:-1]

Failing = tuple[GateVerdict, Metric | None]  # None: whatever the metric
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Rules:
    """`fail_on` are the verdicts that fail the gate, each for one metric or for all.

    `seeds` are those that are asked for; None for those that the baseline has.
    """

    fail_on: tuple[Failing, ...] = tuple((verdict, None) for verdict in DEFAULT)
    tolerances: Mapping[Metric, float] = field(default_factory=lambda: TOLERANCES)
    seeds: tuple[int, ...] | None = None

    @property
    def metrics(self) -> frozenset[Metric]:
        """Those that alone can fail; empty where every metric can."""
        named = [metric for _, metric in self.fail_on]
        return frozenset(metric for metric in named if metric) if all(named) else frozenset()

    def fail(self, verdict: GateVerdict, metric: Metric) -> bool:
        """Whether a verdict on a metric fails the gate."""
        return (verdict, None) in self.fail_on or (verdict, metric) in self.fail_on


def rules(
    fail_on: Sequence[str], tolerances: Sequence[str], *, strict: bool, seeds: tuple[int, ...] | None = None
) -> Rules:
    """The rules as a command line says them.

    Args:
        fail_on: verdicts, `changed`, or a verdict for one metric, `regressed:loss`; none means DEFAULT.
        tolerances: `METRIC=FRACTION`, or a fraction for every metric that has a tolerance.
        strict: all of STRICT fails too.
        seeds: those that are asked for.

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
        for name in [_known(metric, tuple(TOLERANCES), "--tolerance")] if sign else TOLERANCES:
            allowed[name] = fraction
    return Rules(tuple(dict.fromkeys(chosen)), allowed, seeds)


def _failing(text: str) -> Failing:
    name, colon, metric = text.partition(":")
    name = name.replace("-", " ")
    verdict = _known(VERDICT_ALIASES.get(name, name), FAILABLE, "--fail-on")
    return verdict, _known(metric, METRICS, "--fail-on") if colon else None


def _known(text: str, names: Sequence[Name], option: str) -> Name:
    for name in names:
        if name == text:
            return name
    near = difflib.get_close_matches(text, names, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ClipbenchError(f"{option} does not know {text!r}", remedy=f"{meant}it is one of: {', '.join(names)}")


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ClipbenchError(
            f"--tolerance: {text!r} is not a fraction", remedy="write 0.02 for 2 %, or loss=0.02 for one metric"
        )
    return value
