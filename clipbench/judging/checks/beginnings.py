"""Checks that compared runs began alike, by their fingerprints and the commits of what they loaded."""

from collections.abc import Iterator, Mapping, Sequence

from clipbench.judging.cells import grouped
from clipbench.judging.checks.evidence import Finding, Severity, numerics_id, split
from clipbench.judging.words import count, listing, seeds_named
from clipbench.records import EVALUATION_BATCHES, FIRST_BATCHES, INITIAL_WEIGHTS, PROBE_BATCHES, Record, Run

_UNLIKE = {
    INITIAL_WEIGHTS: "did not start from the same weights",
    FIRST_BATCHES: "did not train on the same batches",
    EVALUATION_BATCHES: "were not evaluated on the same batches",
    PROBE_BATCHES: "were not probed on the same batches",
}
_ALWAYS = {INITIAL_WEIGHTS, FIRST_BATCHES, EVALUATION_BATCHES}  # what is not probed has no probe batches
_SHORT = 12  # digits of a commit


def begun_unlike(records: Sequence[Record]) -> Iterator[Finding]:
    """Arms of one task and seed whose fingerprints differ, though they were made under one numerics_id.

    Elsewhere equal seeds need not give equal bits. What a run did not record is not compared.
    """
    placed = [record for record in records if record.environment]
    apart: dict[tuple[str, str, tuple[str, ...]], list[Run]] = {}
    for block in grouped(placed, lambda record: f"{numerics_id(record)} {_place(record.run)}").values():
        for name, words in _UNLIKE.items():
            pairs = [(_fingerprints(each)[name], each.run) for each in block if name in _fingerprints(each)]
            prints = split(pairs, lambda pair: pair[0])
            if prints.odd:
                odd = [run for _, run in prints.odd]
                arms = (prints.examples[0][1].arm.name, *(run.arm.name for run in odd))
                apart.setdefault((odd[0].task.name, words, arms), []).extend(odd)
    for (task, words, arms), odd in apart.items():
        seeds = seeds_named(sorted({run.seed for run in odd}))
        yield Finding("fail", f"{listing(arms)} {words} on {task}, {seeds}: their losses are not comparable.", odd)


def known_by(records: Sequence[Record]) -> str:
    """How it is known that runs began alike: by fingerprints, or as far as they are described alike.

    A run is compared by description where it recorded no fingerprints, or not all runs of its task and seed were made
    under one numerics_id.
    """
    ids: dict[str, set[str]] = {}
    for record in records:
        ids.setdefault(_place(record.run), set()).add(numerics_id(record))
    comparable = {place for place, of_place in ids.items() if len(of_place) == 1 and "" not in of_place}
    printed = [each for each in records if _place(each.run) in comparable and _fingerprints(each).keys() >= _ALWAYS]
    if not printed:
        return " (by description only)"
    rest = len(records) - len(printed)
    exceptions = f"; {count(rest, 'run')} by description only" if rest else ""
    return f", and the same initial weights (by fingerprint{exceptions})"


def commits(records: Sequence[Record]) -> Iterator[Finding]:
    """Names from a hub that stood for several commits: grave where arms of one task and seed had different ones."""
    loaded: dict[str, list[tuple[str, Run]]] = {}
    for record in records:
        for name, commit in record.outcome.loaded.items() if record.outcome else ():
            loaded.setdefault(name, []).append((commit, record.run))
    for name, pairs in loaded.items():
        by_commit = split(pairs, lambda pair: pair[0])
        if by_commit.odd:
            shown = listing(commit[:_SHORT] for commit in dict.fromkeys(commit for commit, _ in pairs))
            blocks = grouped(pairs, lambda pair: _place(pair[1])).values()
            within = any(len({commit for commit, _ in block}) > 1 for block in blocks)
            where = "" if within else ", each seed at a single commit"
            what = f"{name} was loaded at {len(by_commit.values)} commits ({shown}){where}"
            severity: Severity = "fail" if within else "warn"
            yield Finding(severity, f"{what}: their losses are not comparable.", [run for _, run in by_commit.odd])


def _place(run: Run) -> str:
    return f"{run.task.name}/{run.seed}"


def _fingerprints(record: Record) -> Mapping[str, str]:
    return record.outcome.fingerprints if record.outcome else {}
