"""Whether the arms of a comparison began alike: by fingerprints and by the commits that were loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from judging.audit.unfair import asked, fair, found
from judging.claims.measured import answered
from judging.made import HERE, ending, question, record, run

from clipbench.judging.claims.judge import cautions, results_of
from clipbench.judging.compare import compare
from clipbench.records import (
    EVALUATION_BATCHES,
    FIRST_BATCHES,
    INITIAL_WEIGHTS,
    PROBE_BATCHES,
    Environment,
    Record,
)

ALIKE = {INITIAL_WEIGHTS: "w", FIRST_BATCHES: "b", EVALUATION_BATCHES: "e", PROBE_BATCHES: "p"}


def printed(records: Sequence[Record]) -> list[Record]:
    """The same runs with fingerprints, each seed with its own."""
    return [
        ending(each, fingerprints={name: f"{value}{each.run.seed}" for name, value in ALIKE.items()})
        for each in records
    ]


def other(records: Sequence[Record], arm: str, seeds: Sequence[int], **changes: object) -> list[Record]:
    """Runs of one arm ended otherwise."""
    return [
        ending(each, **changes) if each.run.arm.name == arm and each.run.seed in seeds else each for each in records
    ]


def said(records: Sequence[Record]) -> list[str]:
    caveats = compare(records, question("sgd", "adam", "lion")).caveats
    assert cautions(results_of([(answered(), records)])) == [each for each in caveats if "comparable" in each]
    return [each.removesuffix(": their losses are not comparable.") for each in caveats if "comparable" in each]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (INITIAL_WEIGHTS, "sgd and adam did not start from the same weights on code_lm, seed 3"),
        (FIRST_BATCHES, "sgd and adam did not train on the same batches on code_lm, seed 3"),
        (EVALUATION_BATCHES, "sgd and adam were not evaluated on the same batches on code_lm, seed 3"),
        (PROBE_BATCHES, "sgd and adam were not probed on the same batches on code_lm, seed 3"),
    ],
)
def test_arms_that_began_otherwise_fail_the_audit_and_stand_under_the_table(name: str, sentence: str) -> None:
    records = other(printed(fair()), "adam", [3], fingerprints={**ALIKE, name: "odd"})
    rest = {kind: f"{value}3" for kind, value in ALIKE.items()}
    records = other(records, "adam", [3], fingerprints={**rest, name: "odd"})
    finding = found("same task", records)
    assert (finding.verdict, finding.what, finding.runs) == ("fail", sentence, ("code_lm/adam/seed 3",))
    assert said(records) == [sentence]


def test_arms_that_began_alike_pass_by_fingerprint() -> None:
    finding = found("same task", printed(fair()))
    expected = "every arm had the same task, batches and data, and the same weights to start from, by fingerprint"
    assert (finding.verdict, finding.what) == ("pass", expected)
    assert said(printed(fair())) == []


def test_runs_without_fingerprints_pass_by_description_and_it_says_so() -> None:
    assert found("same task", fair()).what == "every arm had the same task, batches and data, by description alone"
    few = other(printed(fair()), "adam", [2, 3], fingerprints={})
    assert found("same task", few).what.endswith("by fingerprint, but 2 runs by description alone")
    assert said(few) == []


def test_where_nothing_is_probed_there_are_no_probe_batches_to_compare() -> None:
    bare = [
        ending(each, fingerprints={name: value for name, value in _of(each).items() if name != PROBE_BATCHES})
        for each in printed(fair())
    ]
    assert found("same task", bare).what.endswith("by fingerprint")


def _of(each: Record) -> Mapping[str, str]:
    assert each.outcome is not None
    return each.outcome.fingerprints


@pytest.mark.parametrize("environment", [None, replace(HERE, numerics_id="n2")])
def test_fingerprints_are_compared_only_under_one_numerical_set_up(environment: Environment | None) -> None:
    """Elsewhere the same seed may draw other weights, and nobody is to blame."""
    records = other(printed(fair()), "adam", [3], fingerprints=ALIKE)
    records = [
        replace(each, environment=environment) if (each.run.arm.name, each.run.seed) == ("adam", 3) else each
        for each in records
    ]
    assert found("same task", records).verdict == "pass"
    assert "by description alone" in found("same task", records).what
    caveats = compare(records, question("sgd", "adam")).caveats
    assert not any("same weights" in each for each in caveats)


def test_seeds_may_begin_otherwise_and_the_odd_arm_of_several_is_named() -> None:
    three = [*fair(3), *(record(run("lion", seed=seed), [5.0, 3.0]) for seed in range(3))]
    records = other(printed(three), "lion", [0, 2], fingerprints={INITIAL_WEIGHTS: "odd"})
    assert said(records) == ["sgd and lion did not start from the same weights on code_lm, seeds 0 and 2"]
    assert found("same task", records, asked(records, "sgd", "adam", "lion")).runs == (
        "code_lm/lion/seed 0",
        "code_lm/lion/seed 2",
    )


def test_two_commits_under_one_name_are_a_finding() -> None:
    loaded = [ending(each, loaded={"org/text@main": "a" * 40}) for each in fair()]
    assert found("same task", loaded).verdict == "pass"
    records = other(loaded, "adam", [4], loaded={"org/text@main": "b" * 40})
    finding = found("same task", records)
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/adam/seed 4",))
    assert finding.what == f"org/text@main was loaded at 2 commits ({'a' * 12} and {'b' * 12})"
    assert said(records) == [finding.what]


def test_a_seed_whose_arms_all_loaded_another_commit_is_warned_of() -> None:
    records = [ending(each, loaded={"org/text@main": "ab"[each.run.seed == 4]}) for each in fair()]
    finding = found("same task", records)
    assert finding.verdict == "warn"
    assert finding.what.endswith("at 2 commits (a and b), each seed at one")
    other_name = [ending(each, loaded={f"org/text@{each.run.seed}": str(each.run.seed)}) for each in fair()]
    assert found("same task", other_name).verdict == "pass"
