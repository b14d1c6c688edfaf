"""Finds seeds that are copies: a run that ends with the same weights as another run is a copy of it.

If a task or an optimizer ignores its seed, all seeds are the same run, and counting them as independent observations
would overstate the evidence. Arms are compared in pairs, a pair for each seed: a pair is a copy if both its runs are
copies of the runs of another pair. Copies count once, whatever their evaluation says.

Times are exempt: every copy takes its own time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from clipbench.judging.words import seeds_named

Ends = Mapping[int, str]  # by seed, the hash of the final weights of an arm's run; empty where it left none
T = TypeVar("T")


def counted(seeds: Iterable[int], *arms: Ends) -> list[int]:
    """The seeds that count for these arms, in ascending order: of copies only the first."""
    return [group[0] for group in alike({seed: [ends.get(seed, "") for ends in arms] for seed in seeds})]


def alike(ends: Mapping[int, Sequence[str]]) -> list[tuple[int, ...]]:
    """Groups of seeds that are copies, by the final weights of their runs.

    A run without recorded weights is no copy.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for seed in sorted(ends):
        weights = tuple(ends[seed])
        groups.setdefault(weights if all(weights) else (seed,), []).append(seed)
    return [tuple(group) for group in groups.values()]


def once(ours: Mapping[int, T], theirs: Mapping[int, object], *arms: Ends) -> dict[int, T]:
    """Our values on the common seeds, copies once, ready to be paired with theirs."""
    return {seed: ours[seed] for seed in counted(ours.keys() & theirs.keys(), *arms)}


def copies_sentence(seeds: Sequence[int], name: str) -> str:
    """The sentence about seeds that end with the same weights."""
    return f"{seeds_named(seeds)} of {name} end with the same weights: the seed has no effect, so they count once"
