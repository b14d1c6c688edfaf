"""Make the runs of `cases`, keep their numbers in golden.json, and tell which of them moved.

The file has the METHOD and the numerics that its numbers were made under, the fingerprints of the data they were made
from, and for each case the hash of its final weights and every number but times, by direction and quantity.

Where the numerics are the file's own, weights and numbers are equal bit for bit. Elsewhere sums are taken in another
order, so numbers are held to 1e-5 of themselves, and to 1e-6 where they pass through zero: differences of losses and
curvatures that cancel have lost digits that a relative bound would ask for. The hash says nothing there; the weights
show in the loss, which every case has after every step.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from clipbench import store
from clipbench.data import SOURCES
from clipbench.records import METHOD, Record, Run, Scalar
from clipbench.running.worker import work
from clipbench.spec import catalogue

FILE = Path(__file__).with_name("golden.json")
RELATIVE, FLOOR = 1e-5, 1e-6
# What rounding itself decides, and the place of a minimum, where the loss is flat: these are held to the bits alone.
BITS_ALONE = frozenset(
    {"finite_difference_sharpness", "finite_difference_bound", "lambda_max_residual", "line_best_step"}
)


@dataclass(frozen=True)
class Numbers:
    """What a case came to: the hash of its final weights, and by "direction quantity" its values by step."""

    weights: str
    series: Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Golden:
    """The file; `data` has the fingerprint of each source that its cases read from the disk."""

    method: int
    numerics_id: str
    numerics: Mapping[str, Scalar]
    data: Mapping[str, str]
    cases: Mapping[str, Numbers]


def make(run: Run, results: Path) -> Record:
    """Make a run in this process; AssertionError where it or one of its probes fails."""
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    record = store.read(folder)
    assert record.outcome is not None
    assert record.outcome.status != "failed", record.outcome.reason
    assert not record.outcome.failed_probes
    return record


def numbers(record: Record) -> Numbers:
    assert record.outcome is not None
    series: dict[str, dict[int, float]] = {}
    for row in record.measurements:
        series.setdefault(f"{row.direction} {row.quantity}".strip(), {})[row.step] = row.value
    return Numbers(record.outcome.weights_sha256, series)


def data_of(run: Run) -> str:
    """The name of the source that a run's task reads; empty for none."""
    return catalogue.entry("tasks", run.task.use).data


def fingerprint(data: str) -> str:
    return SOURCES[data].fingerprint()


def moved(kept: Numbers, now: Numbers, *, exactly: bool) -> Iterator[str]:
    """What differs, a sentence each. Only what is kept is asked for: a quantity that is new has moved nothing."""
    if exactly and kept.weights != now.weights:
        yield "the final weights are others"
    for name, values in kept.series.items():
        if not exactly and name.rpartition(" ")[2] in BITS_ALONE:
            continue
        found = now.series.get(name, {})
        if found.keys() != values.keys():
            yield f"{name} is measured at the steps {sorted(found)} and was at {sorted(values)}"
            continue
        for step, value in values.items():
            if not _agree(value, found[step], exactly=exactly):
                yield f"{name} at step {step} is {found[step]!r} and was {value!r}"


def _agree(kept: float, now: float, *, exactly: bool) -> bool:
    if exactly:
        return repr(kept) == repr(now)  # of a zero its sign, and nan is nan
    return repr(kept) == repr(now) or abs(now - kept) <= max(RELATIVE * abs(kept), FLOOR)


def read(path: Path = FILE) -> Golden:
    return TypeAdapter(Golden).validate_json(path.read_bytes())


def write(golden: Golden, path: Path = FILE) -> None:
    """A series a line, so that what moved is what a diff shows."""
    head = {name: value for name, value in asdict(golden).items() if name != "cases"}
    cases = ",\n".join(_case(name, kept) for name, kept in golden.cases.items())
    text = json.dumps(head, indent=1).removesuffix("\n}")
    path.write_text(f'{text},\n "cases": {{\n{cases}\n }}\n}}\n', encoding="utf-8")


def _case(name: str, kept: Numbers) -> str:
    rows = ",\n".join(f"    {json.dumps(series)}: {json.dumps(values)}" for series, values in kept.series.items())
    return f'  {json.dumps(name)}: {{\n   "weights": "{kept.weights}",\n   "series": {{\n{rows}\n   }}\n  }}'


def verdict(case: str, differences: list[str], golden: Golden) -> str:
    """What to do about numbers that moved."""
    anew = "write the file anew: python tests/golden/write.py"
    if golden.method != METHOD:
        return f"METHOD is {METHOD} and golden.json is of METHOD {golden.method}: {anew}"
    said = "\n".join(f"  {difference}" for difference in differences[:5])
    more = f"\n  and {len(differences) - 5} more" if len(differences) > 5 else ""
    return (
        f"the numbers of '{case}' moved and METHOD is still {METHOD}:\n{said}{more}\n"
        f"undo what moved them, or raise METHOD in clipbench/records.py and {anew}"
    )
