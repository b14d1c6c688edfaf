"""What a run's file may say: numbers that a run can have."""

import typing
from dataclasses import replace
from typing import Any

import pytest
from making import make_run

from clipbench.errors import StoreError
from clipbench.records import FORMAT, Outcome
from clipbench.store.runs import RunFile, parsed

RUN = make_run()
COUNTS = {int, int | None, tuple[int, ...]}
COUNTED = [name for name, kind in typing.get_type_hints(Outcome).items() if kind in COUNTS]


@pytest.mark.parametrize("number", [-1, 1 << 63, 10**400], ids=["negative", "large", "huge"])
@pytest.mark.parametrize("name", COUNTED)
def test_no_count_is_below_zero_or_beyond_what_anything_counts_to(name: str, number: int) -> None:
    """A division of one by another has a result then."""
    changes: dict[str, Any] = {name: (0, number) if name == "resumed_at" else number}
    described = RunFile(FORMAT, RUN.key, RUN, outcome=replace(Outcome("finished"), **changes)).dumped()
    with pytest.raises(StoreError, match=rf"this is not a run \({name}: it is not between 0 and {1 << 63}\)"):
        parsed(described, "run.json")
