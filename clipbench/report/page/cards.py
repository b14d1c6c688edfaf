"""The answers at the top of the page: a card for the arms against the baseline, and for each question about a clip."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipbench.judging.comparison import Row, Twin
from clipbench.judging.paired import Paired, so_many
from clipbench.judging.words import capital, count, fold, listing, span
from clipbench.questions import Better
from clipbench.report.answers import besides
from clipbench.report.arms import difference_cell, mark
from clipbench.report.page.subject import Subject, in_words

MOST_TWINS = 4  # of which there are cards; all of them are further down
_TONES = {"+": "good", "-": "bad", "x": "bad", "yes": "good", "no": "bad"}


@dataclass(frozen=True)
class Card:
    """An answer: what was asked, the verdict in a word, its tone, the effect with its interval and n, what is next.

    `lines` are further answers to the same question.
    """

    asked: str
    word: str
    tone: str
    effect: str
    basis: str
    deciding: str = ""
    lines: Sequence[str] = ()


def cards(subject: Subject, task: str) -> list[Card]:
    """The answers about a task."""
    comparison = subject.comparison
    rows = [row for row in comparison.rows if row.task == task]
    quantity = comparison.metric.quantity
    of_arms = [_against_baseline(subject, rows, in_words(str(comparison.metric)), quantity.better)]
    of_arms += [_against_baseline(subject, judged, what, "lower") for what, judged in besides(comparison, rows)]
    twins = [twin for twin in comparison.twins if twin.task == task]
    of_twins = _of_twin(twins[0]) if len(twins) == 1 else map(_in_short, twins[:MOST_TWINS])
    return [*filter(None, of_arms), *of_twins]


def _against_baseline(subject: Subject, rows: Sequence[Row], what: str, better: Better) -> Card | None:
    """The arm that is farthest ahead among those that are decided, or else among all, and a tally of all arms.

    None where there is no arm but the baseline.
    """
    rivals = [row for row in rows if row.arm != subject.comparison.baseline]
    if not rivals:
        return None
    tally = ", ".join(f"{n} {word}" for word, n in Counter(row.verdict for row in rivals).items())
    asked = f"{capital(what)} against {subject.looks[subject.comparison.baseline].shown}: {tally}"
    paired = [row for row in rivals if row.against is not None and row.against.n]
    if not paired:
        return Card(asked, "no pair of seeds to compare", "", "", "")
    decided = [row for row in paired if row.verdict not in ("undecided", "broken")]
    leader = _leader(decided or paired, higher=better == "higher")
    against, judged = leader.against, leader.judged
    assert against is not None
    interval = ""
    if judged is not None and math.isfinite(judged.low):
        ends = against.shown(judged.low), against.shown(judged.high)
        interval = f"verdict's interval {fold(*ends) if against.scale == 'log' else span(*ends)}"
    mean, *error, _ = difference_cell(against)
    return Card(
        asked=asked,
        word=f"{subject.looks[leader.arm].shown}: {leader.verdict}",
        tone=_TONES.get(mark(leader.verdict, better)[0], ""),
        effect=" ".join([mean + ("×" if against.scale == "log" else ""), *error]),
        basis=", ".join(filter(None, [interval, count(against.n, "seed")])),
        deciding=_undecided(subject, rivals),
    )


def _leader(rows: Sequence[Row], *, higher: bool) -> Row:
    def rank(row: Row) -> float:
        mean = row.against.mean if row.against else math.nan
        return math.inf if math.isnan(mean) else -mean if higher else mean

    return min(rows, key=rank)


def _undecided(subject: Subject, rows: Sequence[Row]) -> str:
    """How many seeds would decide the arms that are not decided."""
    needed = [
        f"{so_many(row.judged.seeds_needed)} for {subject.looks[row.arm].shown}"
        for row in rows
        if row.judged is not None and not math.isnan(row.judged.seeds_needed)
    ]
    return f"Fresh seeds that would decide: {listing(needed, 4)}" if needed else ""


def _of_twin(twin: Twin) -> Iterator[Card]:
    """The answers about a clip, each split at its colon: what was asked, then the answer."""
    paired = {"lower sharpness": twin.sharpness, "lower final loss": twin.loss, "less time per step": twin.step_time}
    for answer in twin.answers:
        asked, _, rest = answer.partition(": ")
        word, _, basis = rest.partition(" (") if asked in paired else ("", "", rest)
        effect, _, basis = basis.rstrip(")").partition(", ") if word else ("", "", basis)
        yield Card(
            asked=f"{twin.arm} against {twin.twin}: {asked}?",
            word=word or _reached(twin),
            tone=_TONES.get(word, ""),
            effect=effect,
            basis=basis,
            deciding=_seeds(paired[asked]) if word == "undecided" else "",
        )


def _in_short(twin: Twin) -> Card:
    """All answers about one of several clips, its sharpness first. One that makes the loss worse is not good."""
    first, *others = twin.answers
    asked, _, rest = first.partition(": ")
    word, worse = rest.partition(" (")[0], others[0].startswith("lower final loss: no")
    tone = "" if worse else _TONES.get(word, "")
    return Card(f"{twin.arm} against {twin.twin}", f"{asked}: {word}", tone, "", "", lines=(rest, *others))


def _reached(twin: Twin) -> str:
    return f"fewer on {twin.fewer_steps_on} of {count(twin.step_pairs, 'seed')}"


def _seeds(difference: Paired) -> str:
    needed = difference.seeds_to_decide()
    return "" if math.isnan(needed) else f"{so_many(needed)} fresh seeds would decide"
