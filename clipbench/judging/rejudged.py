"""The rows of a table, judged by another ratio to the baseline than the table's metric."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from clipbench.judging.comparison import Row
from clipbench.judging.families import Test, judge
from clipbench.judging.paired import Paired


def rejudged(rows: Sequence[Row], ratio: Callable[[Row], Paired | None]) -> list[Row]:
    """The rows of a task with this ratio in `against`, and with verdicts on it that are corrected for all of them.

    The baseline and broken arms keep their verdict; an arm without a single pair is left out.
    """
    ratios = {row.arm: paired for row in rows if (paired := ratio(row)) is not None and paired.n}
    sound = [row.arm for row in rows if row.arm in ratios and row.verdict != "broken"]
    verdicts = dict(zip(sound, judge([Test(ratios[arm]) for arm in sound]), strict=True))
    return [
        replace(
            row,
            against=ratios.get(row.arm),
            judged=verdicts.get(row.arm),
            verdict=verdicts[row.arm].word if row.arm in verdicts else row.verdict,
        )
        for row in rows
        if row.arm in ratios or row.verdict == "baseline"
    ]
