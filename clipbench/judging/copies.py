"""Which seeds are observations of their own: a run that ends with another's weights is a copy of it.

A task or an optimizer that takes no notice of its seed makes one run under many names, and many copies of one run
would pass for proof. Two arms are compared in pairs, one a seed: a pair is a copy where both its runs are copies of
those of another pair, for then nothing new was tried. Whatever the evaluation says of a copy, it counts once.

Times are not among what is counted so: a machine takes another time for each copy.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from clipbench.judging.words import seeds_named

Ends = Mapping[int, str]  # by seed, the hash of the final weights of an arm's run; empty where it left none
T = TypeVar("T")


def counted(seeds: Iterable[int], *arms: Ends) -> list[int]:
    """Of some seeds, in ascending order, those that count for these arms: of copies the first."""
    return [group[0] for group in alike({seed: [ends.get(seed, "") for ends in arms] for seed in seeds})]


def alike(ends: Mapping[int, Sequence[str]]) -> list[tuple[int, ...]]:
    """Seeds in groups, those in one group being copies; by the weights with which the runs of each seed end.

    A run that left no weights is nobody's copy.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for seed in sorted(ends):
        weights = tuple(ends[seed])
        groups.setdefault(weights if all(weights) else (seed,), []).append(seed)
    return [tuple(group) for group in groups.values()]


def once(ours: Mapping[int, T], theirs: Mapping[int, object], *arms: Ends) -> dict[int, T]:
    """An arm's values on the seeds that it has in common with another and that count, to be paired with the other's."""
    return {seed: ours[seed] for seed in counted(ours.keys() & theirs.keys(), *arms)}


def copies_sentence(seeds: Sequence[int], name: str) -> str:
    """The sentence about seeds that end with the same weights."""
    return f"{seeds_named(seeds)} of {name} end with the same weights: the seed has no effect, so they count once"
