"""What the runs say of a claim: its comparisons with their intervals, and the verdict that follows from all of them."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from clipbench.judging.paired import Paired, Points
from clipbench.questions import Scale
from clipbench.spec.claims import Claim

ClaimVerdict = Literal["holds", "fails", "undecided", "not measured"]
VERDICTS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)


@dataclass(frozen=True)
class Site:
    """Where something is compared.

    In the results of which spec, on which task, on whose trajectory (empty for own paths), between which arms, and at
    which step where each step counts for itself.
    """

    spec: str
    task: str
    trajectory: str
    between: str
    step: int | None = None


@dataclass(frozen=True)
class ClaimComparison:
    """One estimate over seeds with its two-sided 95 % interval [low, high], and what it means for the claim.

    `n` seeds; `steps` is the least number of steps behind a seed's value; `used` values or pairs of them entered it and
    `excluded` could not (a ratio with a value that is not positive). `left_out` counts the seeds of which nothing is in
    it, since a run of theirs diverged, failed, has not ended or is not there; `lost` those of them on which the first
    arm's run broke and the second's finished, where the quantity is of a run as a whole. `against` is how often chance
    alone would put the estimate so far on the wrong side of the margin (two-sided), 1 where it is on the right side;
    `verdict` is of this comparison by itself.
    """

    site: Site
    quantity: str
    estimate: float
    low: float
    high: float
    n: int
    steps: int
    used: int
    excluded: int
    lost: int
    left_out: int
    against: float
    verdict: ClaimVerdict


@dataclass(frozen=True)
class Answer:
    """A claim with its verdict, the reason in words, and every comparison behind it."""

    claim: Claim
    verdict: ClaimVerdict
    why: str
    comparisons: tuple[ClaimComparison, ...] = ()

    @property
    def decisive(self) -> ClaimComparison | None:
        """The comparison that speaks most against the claim: of a claim about all of them the one that counts."""
        if self.claim.expect is None:
            return None
        decided = [each for each in self.comparisons if each.n > 1] or list(self.comparisons)
        if self.claim.expect == "higher":
            return min(decided, key=lambda each: (each.verdict != "fails", each.low, each.estimate), default=None)
        return max(decided, key=lambda each: (each.verdict == "fails", each.high, each.estimate), default=None)


@dataclass
class Tally:
    """What was found at one site: differences by seed and step, and what is in none of them."""

    points: Points
    lost: int = 0
    left_out: Collection[int] = ()
    roundings: tuple[float, ...] = ()  # of single differences, where they were read in steps


def comparison(site: Site, tally: Tally, *, quantity: str, claim: Claim) -> ClaimComparison:
    """A site's estimate: the mean over a seed's steps first, then the t interval over seeds, which are independent."""
    rounding = sum(tally.roundings) / len(tally.roundings) if tally.roundings else 0.0
    found = tally.points.paired(rounding)
    centre, low, high = map(found.shown, (found.mean, *found.interval()))
    verdict = _verdict(low, high, claim=claim)
    against = _against(found, claim)
    if tally.lost and claim.expect == "lower":
        verdict, against = "fails", 0.0  # a run that never ends well has no loss that is lower
        centre, high = math.inf, math.inf
    return ClaimComparison(
        site=site,
        quantity=quantity,
        estimate=centre,
        low=low,
        high=high,
        n=found.n,
        steps=min(map(len, tally.points.by_unit.values()), default=0),
        used=len(tally.points.used),
        excluded=tally.points.left_out,
        lost=tally.lost,
        left_out=len(tally.left_out),
        against=against,
        verdict=verdict,
    )


def points(how: str) -> Points:
    """For the differences of a claim: of logarithms where it is about a ratio."""
    scale: Scale = "log" if how == "ratio" else "linear"
    return Points(scale)


def _against(found: Paired, claim: Claim) -> float:
    """The two-sided p-value of the distance from the margin, on the side that speaks against the claim; else 1."""
    margin = math.log(claim.beyond) if found.scale == "log" else claim.beyond
    off = margin - found.mean if claim.expect == "higher" else found.mean - margin
    if found.n < 2 or not off >= 0:
        return 1.0
    if off == found.error == 0:
        return 0.0  # on the margin with every seed, which is not beyond it
    return 2 * (found.p_lower(margin) if claim.expect == "higher" else found.p_higher(margin))


def _verdict(low: float, high: float, *, claim: Claim) -> ClaimVerdict:
    """By where the whole interval lies; NaN, the interval of a single seed, is on neither side.

    An interval that touches the margin from the wrong side fails: no difference at all is not a lower value.
    """
    margin = claim.beyond
    if claim.expect == "higher":
        return "holds" if low > margin else "fails" if high <= margin else "undecided"
    return "holds" if high < margin else "fails" if low >= margin else "undecided"
