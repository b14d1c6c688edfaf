"""Judges claims on runs: what a claim needs, what the runs have, and the verdict."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.judging.checks import seeds, setup
from clipbench.judging.checks.audit import caveats, evidence_of
from clipbench.judging.claims.answers import Answer, ClaimComparison, ClaimVerdict, Site
from clipbench.judging.claims.comparing import comparisons
from clipbench.judging.claims.ranking import rank_comparisons
from clipbench.judging.claims.selecting import OF_A_RUN
from clipbench.judging.current import InForce, select
from clipbench.judging.families import holm
from clipbench.judging.paired import LEVEL
from clipbench.judging.words import count, listing, number
from clipbench.questions import Question
from clipbench.records import Record
from clipbench.spec.claims import TWIN, Arms, Claim

_CAUTIONS = (
    setup.same_task,
    setup.same_arm,
    setup.same_budget,
    setup.same_cadence,
    setup.same_precision,
    setup.as_described,
    seeds.copies,
)


def results_of(specs: Sequence[tuple[Question, Sequence[Record]]]) -> list[InForce]:
    """The runs of each spec that claims are held against, and what was left out of them.

    Raises:
        UndecidedError: two different runs claim the same task, arm and seed of one spec.
    """
    return [select(records, question) for question, records in specs]


def judge(claims: Sequence[Claim], results: Sequence[InForce]) -> list[Answer]:
    """What the runs of some specs say of each claim.

    A claim is about every comparison that it describes. It holds where all of them hold: then each may be judged by
    itself, for none can make up for another (Berger 1982, Technometrics 24). It fails where one fails even when all are
    tested at once (Holm): among a hundred comparisons some lie on the wrong side by chance. Otherwise it is undecided.
    Where nothing or too little was measured, it is not measured, and never holds. Runs of different specs are never
    compared with each other.
    """
    return [_answer(claim, results) for claim in claims]


def cautions(results: Sequence[InForce]) -> list[str]:
    """The caveats of `compare` that also weaken claims.

    Copies of a run, runs of an earlier version of the spec, and differences between the runs of a task.
    """
    return [sentence for each in results for sentence in (*each.left_out, *caveats(evidence_of((), each), _CAUTIONS))]


def _answer(claim: Claim, results: Sequence[InForce]) -> Answer:
    if claim.unmeasured is not None:
        return Answer(claim, "not measured", claim.unmeasured)
    compared = comparisons(claim, results) or rank_comparisons(claim, results)
    if not compared:
        broken = sum(record.status != "finished" for each in results for cell in each.cells for record in cell.records)
        ends = f" ({count(broken, 'run')} diverged, failed or did not end)" if broken else ""
        return Answer(claim, "not measured", _missing(claim, results) + ends)
    verdict, why = _verdict(claim, compared, results)
    lacking = sum(each.left_out > 0 for each in compared)
    if lacking:
        where = _all(len(compared)) if lacking == len(compared) else f"{lacking} of {len(compared)} comparisons"
        why += f"; seeds that lack a finished run are left out of {where}"
    return Answer(claim, verdict, why, tuple(compared))


def _verdict(claim: Claim, compared: Sequence[ClaimComparison], results: Sequence[InForce]) -> tuple[ClaimVerdict, str]:
    """What follows from all comparisons of a claim, and why."""
    wrong = [each for each in compared if each.verdict == "fails"]
    holding = [each for each in compared if each.verdict == "holds"]
    if surely := _surely(compared):
        why = f"fails in {surely} of {count(len(compared), 'comparison')}"
        if len(wrong) > surely:
            why += f" (and in {len(wrong) - surely} more before Holm's correction)"
        return "fails", f"{why}, holds in {len(holding)}"
    if not any(each.n for each in compared):
        excluded = sum(each.excluded for each in compared)
        what = f"no value is usable ({excluded} left out)" if excluded else "no seed is left to compare"
        return "undecided", what
    if lacking := _uncovered(claim, results) or _lacking(claim, compared):
        return "not measured", lacking
    if len(holding) == len(compared):
        return "holds", f"in {_all(len(compared))}"
    if max(each.n for each in compared) < 2:
        return "undecided", "a single seed has no confidence interval"
    against = f"fails in {len(wrong)} before Holm's correction and in none after it" if wrong else "fails in none"
    side = "above" if claim.expect == "higher" else "below"
    margin = f"the confidence interval does not lie {side} {number(claim.beyond)}"
    why = margin if len(compared) == 1 else f"holds in {len(holding)} of {len(compared)} comparisons, {against}"
    return "undecided", why


def _surely(compared: Sequence[ClaimComparison]) -> int:
    """How many fail even when all are tested at once."""
    corrected = holm([each.against for each in compared])
    pairs = zip(compared, corrected, strict=True)
    return sum(each.verdict == "fails" and judged.p <= LEVEL for each, judged in pairs)


def _all(n: int) -> str:
    return "the only comparison" if n == 1 else f"all {n} comparisons"


def _uncovered(claim: Claim, results: Sequence[InForce]) -> str:
    """Of several arms that a claim names, those that no comparison has: it is about each of them."""
    if claim.compare is None:
        return ""
    for key in ("of", "against", "on"):
        wanted = getattr(claim.compare, key)
        for arms in wanted if isinstance(wanted, tuple) else ():
            narrowed = claim.compare.model_copy(update={key: arms})
            if not comparisons(claim.model_copy(update={"compare": narrowed}), results):
                return f"these runs have no comparison for {_arms_text(arms)}"
    return ""


def _lacking(claim: Claim, compared: Sequence[ClaimComparison]) -> str:
    """What the claim needs more of, with the first shortage; empty where it has all."""
    needs = claim.needs
    each_step = claim.compare is not None and claim.compare.each_step
    steps_of: dict[Site, int] = {}
    for comparison in compared:
        if comparison.n:
            site = replace(comparison.site, step=None)
            steps_of[site] = steps_of.get(site, 0) + 1 if each_step else comparison.steps
    there = {
        "tasks": (needs.tasks, len({comparison.site.task for comparison in compared})),
        "trajectories": (needs.trajectories, len({comparison.site.trajectory for comparison in compared})),
        "steps": (needs.steps, min(steps_of.values())),
        "comparisons": (needs.comparisons, len(compared)),
    }
    for what, (needed, has) in there.items():
        if has < needed:
            return f"it needs {needed} {what}, and the runs have {has}"
    return ""


def _missing(claim: Claim, results: Sequence[InForce]) -> str:
    """Why there is nothing to compare: the quantity was not measured, or not for what is compared."""
    measured = {
        quantity
        for each in results
        for cell in each.cells
        for record in cell.records
        for _, quantity in record.measurements.places
    }
    absent = [name for name in _quantities(claim) if name not in measured and name not in OF_A_RUN]
    if absent:
        return f"these runs have no {listing(absent)}"
    if claim.rank is not None:
        return f"no task has {claim.needs.arms} arms with {claim.rank.by} and {claim.rank.to} on the same seed"
    if claim.compare is None:
        return ""
    pair = _arms_text(claim.compare.of)
    if claim.compare.against is not None:
        pair += f" and {'its twin' if claim.compare.against == TWIN else _arms_text(claim.compare.against)}"
    if claim.compare.at == "own":
        return f"no task has ended runs of {pair} with the same seed"
    return f"no run measured {pair} at shared points, which needs ghosts"


def _quantities(claim: Claim) -> list[str]:
    """What has to be measured; of alternatives the first."""
    written: list[str] = []
    if claim.compare is not None:
        asked = claim.compare.quantity
        written = [asked if isinstance(asked, str) else asked[0], claim.compare.against_quantity or ""]
    if claim.rank is not None:
        written = [claim.rank.by.removeprefix("-"), (claim.rank.rather_than or "").removeprefix("-")]
    return list(dict.fromkeys(part.strip() for name in written for part in name.split("/") if part.strip()))


def _arms_text(arms: Arms) -> str:
    """A pattern of arms as text: sgd without a clip, adam with a clip (fraction 0.5 of the numerator)."""
    if isinstance(arms, tuple):
        return " or ".join(map(_arms_text, arms))
    if isinstance(arms, str):
        return arms
    name = " ".join(part for part in (arms.use, arms.name) if part != "*") or "any arm"
    if arms.clip is None:
        return name
    if isinstance(arms.clip, bool):
        return f"{name} {'with' if arms.clip else 'without'} a clip"
    rule = ", ".join(
        f"{number(value)} of the {arms.clip.of}" if key == "fraction" and arms.clip.of else f"{key} {number(value)}"
        for key, value in arms.clip.model_dump(exclude_none=True, exclude={"of"}).items()
    )
    return f"{name} with a clip of {rule or f'the {arms.clip.of}'}"
