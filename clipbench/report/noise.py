"""What `clipbench doctor` measured: the machine, and what it could show."""

from collections.abc import Mapping
from dataclasses import asdict

from clipbench.judging.noise import SEEDS, Noise, QuantityNoise
from clipbench.judging.words import count, number
from clipbench.report.table import Column, Document, Paragraph, Table, facts, text_column

EXPLAINED = (
    "noise: the standard deviation of the ratio of two identical runs. Beside it the least difference that the 95 % "
    "interval of `compare` would show in 80 % of tries, by the number of seeds. Arms that differ are less alike than "
    "an arm and itself: their losses lie between the two lines."
)


def document(machine: Mapping[str, str], noise: Noise) -> Document:
    """The machine's facts, then a line for each quantity."""
    return Document(
        parts=(
            facts(machine, title="This machine", indent=2),
            Paragraph(
                bits(noise), title=f"An arm against itself, {count(noise.pairs, 'pair')} of runs in turns", indent=2
            ),
            _table(noise),
        ),
        data=lambda: {"machine": dict(machine), **asdict(noise)},
    )


def bits(noise: Noise) -> str:
    """Whether equal seeds gave equal bits."""
    if noise.same_bits == noise.pairs:
        return "equal seeds gave equal bits, each time"
    return f"EQUAL SEEDS GAVE OTHER BITS in {noise.pairs - noise.same_bits} of {count(noise.pairs, 'pair')}"


def _table(noise: Noise) -> Table[QuantityNoise]:
    return Table(
        name="noise",
        columns=(
            text_column("quantity", "what varies", lambda row: row.quantity),
            Column(
                "deviation",
                "the standard deviation of the logarithm of the ratio of two identical runs",
                lambda row: row.deviation,
                "noise",
                lambda row: (_percent(row.deviation),),
            ),
            *map(_detectable, SEEDS),
        ),
        rows=noise.quantities,
        note=EXPLAINED,
        indent=2,
    )


def _detectable(seeds: int) -> Column[QuantityNoise]:
    return Column(
        f"detectable_{seeds}",
        f"the least difference that {seeds} seeds would show",
        lambda row: row.detectable[seeds],
        f"{seeds} seeds",
        lambda row: (_percent(row.detectable[seeds]),),
    )


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{number(share * 100, 2)} %"
