"""What `clipbench doctor` found: the machine, and what it could show."""

from collections.abc import Mapping
from dataclasses import asdict

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from clipbench.judging.noise import SEEDS, Noise
from clipbench.judging.words import count, number
from clipbench.report.raw import to_json
from clipbench.report.text import text_of

EXPLAINED = (
    "noise: the standard deviation of the ratio of two identical runs. Beside it the least difference that the 95 % "
    "interval of `compare` would show in 80 % of tries, by the number of seeds. Arms that differ are less alike than "
    "an arm and itself: their losses lie between the two lines."
)


def noise_table(facts: Mapping[str, str], noise: Noise) -> RenderableType:
    """The machine's facts, then a line for each quantity."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(text_of(name, style="dim"), text_of(value))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("quantity")
    table.add_column("noise", justify="right")
    for n in SEEDS:
        table.add_column(f"{n} seeds", justify="right")
    for each in noise.quantities:
        table.add_row(each.quantity, _percent(each.deviation), *(_percent(each.detectable[n]) for n in SEEDS))
    return Group(
        *(text_of("This machine", style="bold"), Padding(grid, (0, 0, 1, 2))),
        text_of(f"An arm against itself, {count(noise.pairs, 'pair')} of runs in turns", style="bold"),
        *(text_of(f"  {bits(noise)}"), text_of(), Padding(table, (0, 0, 1, 2)), text_of(EXPLAINED, style="dim")),
    )


def noise_json(facts: Mapping[str, str], noise: Noise) -> str:
    return to_json({"machine": dict(facts), **asdict(noise)})


def bits(noise: Noise) -> str:
    """Whether equal seeds gave equal bits."""
    if noise.same_bits == noise.pairs:
        return "equal seeds gave equal bits, each time"
    return f"EQUAL SEEDS GAVE OTHER BITS in {noise.pairs - noise.same_bits} of {count(noise.pairs, 'pair')}"


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{number(share * 100, 2)} %"
