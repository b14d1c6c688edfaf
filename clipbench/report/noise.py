"""The report of `clipbench doctor`: the machine, its noise, and the differences it can detect."""

from collections.abc import Mapping
from dataclasses import asdict

from clipbench.judging.noise import SEEDS, Noise, QuantityNoise
from clipbench.judging.words import count, number
from clipbench.report.table import Column, Document, Paragraph, Table, facts, text_column

EXPLAINED = (
    "Noise: the standard deviation of the ratio of two identical runs. Beneath a number of seeds: the least difference "
    "that `compare` would detect in 80 % of cases (95 % confidence interval). Two different arms agree less than two "
    "identical runs: the noise of their losses lies between the two rows of losses."
)


def document(machine: Mapping[str, str], noise: Noise) -> Document:
    """The machine's facts, then a line for each quantity."""
    return Document(
        parts=(
            facts(machine, title="This machine", indent=2),
            Paragraph(bits(noise), title=f"A/A test: {count(noise.pairs, 'pair')} of identical runs", indent=2),
            _table(noise),
        ),
        data=lambda: {"machine": dict(machine), **asdict(noise)},
    )


def bits(noise: Noise) -> str:
    """Whether equal seeds gave equal bits."""
    if noise.same_bits == noise.pairs:
        return "equal seeds gave equal bits in every pair"
    return f"EQUAL SEEDS GAVE DIFFERENT BITS in {noise.pairs - noise.same_bits} of {count(noise.pairs, 'pair')}"


def _table(noise: Noise) -> Table[QuantityNoise]:
    return Table(
        name="noise",
        columns=(
            text_column("quantity", "what varies", lambda row: row.quantity),
            Column(
                "deviation",
                "standard deviation of the log ratio of two identical runs",
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
        f"least difference that {seeds} seeds would detect",
        lambda row: row.detectable[seeds],
        f"{seeds} seeds",
        lambda row: (_percent(row.detectable[seeds]),),
    )


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{number(share * 100, 2)} %"
