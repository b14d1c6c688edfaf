"""Runs with ghosts made by hand, and claims about them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from judging.made import question, record, run, with_rows

from clipbench.judging.claims.answers import Answer
from clipbench.judging.claims.judge import judge, results_of
from clipbench.measurements import Measurement
from clipbench.questions import Question
from clipbench.records import DIRECTIONAL_SHARPNESS, Arm, Record
from clipbench.spec.claims import Claim

Values = Mapping[str, Sequence[float]]  # by direction, one a step: 50, 100, …

SGD, ADAM = run("sgd").arm, run("adam").arm
CLIPPED = run("sgd+clip", use="sgd", clip=0.1, lr=1.0).arm


def measured(of: Record, values: Values, quantity: str = DIRECTIONAL_SHARPNESS) -> Record:
    """The record with a quantity along some directions added."""
    rows = [
        Measurement(50 * place, 0.0, direction, quantity, value)
        for direction, of_direction in values.items()
        for place, value in enumerate(of_direction, start=1)
    ]
    return with_rows(of, rows)


def haunted(values: Values, *, seed: int = 0, arm: Arm = SGD, ghosts: Sequence[Arm] = (ADAM,), **made: Any) -> Record:
    """A run with ghosts, and the directional sharpness along its own step and theirs."""
    described = run(seed=seed, **made)
    described = replace(described, arm=arm, measure=replace(described.measure, ghosts=tuple(ghosts)))
    return measured(record(described, [5.0, 3.0]), values)


def claim(**changes: Any) -> Claim:
    """SGD's step is sharper than Adam's, at shared points."""
    whole = {
        "name": "C",
        "statement": "It is so.",
        "compare": {"quantity": DIRECTIONAL_SHARPNESS, "of": "sgd", "against": "adam"},
        "expect": "higher",
    }
    return Claim.model_validate({key: value for key, value in {**whole, **changes}.items() if value is not None})


def asked(of: Claim, records: Sequence[Record], **changes: Any) -> Answer:
    """The answer to one claim, of runs that answer a question with these changes."""
    [answer] = judge([of], results_of([(answered(**changes), records)]))
    return answer


def answered(**changes: Any) -> Question:
    return replace(question("sgd", "adam"), **changes)
