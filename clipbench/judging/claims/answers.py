"""The answer to a claim: its comparisons with their confidence intervals, and the verdict."""

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
    """An estimate over seeds with its two-sided 95 % confidence interval [low, high], and its verdict on the claim.

    - `n`: the number of seeds; `steps`: the least number of steps behind a seed's value.
    - `used`: the number of values (or pairs) in the estimate; `excluded`: those that are not positive in a ratio.
    - `left_out`: seeds that do not contribute, because a run diverged, failed, has not ended or is absent.
    - `lost`: of these, the seeds on which only the first arm's run broke (for quantities of a whole run).
    - `against`: the two-sided p-value against the claim; 1 if the estimate is on the claimed side of the margin.
    - `verdict`: of this comparison alone.
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
        """The comparison that speaks most against the claim, which must hold in all of them."""
        if self.claim.expect is None:
            return None
        decided = [comparison for comparison in self.comparisons if comparison.n > 1] or list(self.comparisons)
        if self.claim.expect == "higher":
            return min(
                decided,
                key=lambda comparison: (comparison.verdict != "fails", comparison.low, comparison.estimate),
                default=None,
            )
        return max(
            decided,
            key=lambda comparison: (comparison.verdict == "fails", comparison.high, comparison.estimate),
            default=None,
        )


@dataclass
class Tally:
    """The differences at a site by seed and step, and counts of what is left out."""

    points: Points
    lost: int = 0
    left_out: Collection[int] = ()
    roundings: tuple[float, ...] = ()  # of single differences, where they were read in steps


def comparison(site: Site, tally: Tally, *, quantity: str, claim: Claim) -> ClaimComparison:
    """A site's estimate: the mean over a seed's steps first, then the t interval over seeds, which are independent."""
    rounding = sum(tally.roundings) / len(tally.roundings) if tally.roundings else 0.0
    paired = tally.points.paired(rounding)
    centre, low, high = map(paired.shown, (paired.mean, *paired.interval()))
    verdict = _verdict(low, high, claim=claim)
    against = _against(paired, claim)
    if tally.lost and claim.expect == "lower":
        verdict, against = "fails", 0.0  # a run that never ends well has no loss that is lower
        centre, high = math.inf, math.inf
    return ClaimComparison(
        site=site,
        quantity=quantity,
        estimate=centre,
        low=low,
        high=high,
        n=paired.n,
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


def _against(paired: Paired, claim: Claim) -> float:
    """The two-sided p-value of the distance from the margin, on the side that speaks against the claim; else 1."""
    margin = math.log(claim.beyond) if paired.scale == "log" else claim.beyond
    off = margin - paired.mean if claim.expect == "higher" else paired.mean - margin
    if paired.n < 2 or not off >= 0:
        return 1.0
    if off == paired.error == 0:
        return 0.0  # on the margin with every seed, which is not beyond it
    return 2 * (paired.p_lower(margin) if claim.expect == "higher" else paired.p_higher(margin))


def _verdict(low: float, high: float, *, claim: Claim) -> ClaimVerdict:
    """By where the whole interval lies; NaN, the interval of a single seed, is on neither side.

    An interval that touches the margin from the wrong side fails: no difference at all is not a lower value.
    """
    margin = claim.beyond
    if claim.expect == "higher":
        return "holds" if low > margin else "fails" if high <= margin else "undecided"
    return "holds" if high < margin else "fails" if low >= margin else "undecided"
