"""A spec's shape checked against its models, with every fault at its place in the file."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clipbench.errors import Fault
from clipbench.spec.arms import ClipEntry, ScheduleSettings
from clipbench.spec.document import SpecDocument, Where
from clipbench.spec.models import (
    BudgetSettings,
    EvaluateSettings,
    MeasureSettings,
    SelectSettings,
    SpecFile,
    TargetSettings,
    TaskEvaluation,
    TrainingSection,
    TuningSettings,
)
from clipbench.spec.shapes import SpaceSettings
from clipbench.spec.wording import meant, mismatch, nearest, written

M = TypeVar("M", bound=BaseModel)

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "budget": BudgetSettings,
    "clip": ClipEntry,
    "evaluate": EvaluateSettings,
    "measure": MeasureSettings,
    "schedule": ScheduleSettings,
    "target": TargetSettings,
    "task.evaluate": TaskEvaluation,
    "training": TrainingSection,
    "tuning": TuningSettings,
    "tuning.select": SelectSettings,
}

# By pydantic's name of the error, given its context.
_EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "expected a whole number",
    "float_type": lambda _: "expected a number",
    "finite_number": lambda _: "expected a finite number",
    "bool_type": lambda _: "expected true or false",
    "string_type": lambda _: "expected text",
    "model_type": lambda _: "expected a mapping",
    "dict_type": lambda _: "expected a mapping",
    "list_type": lambda _: "expected a list",
    "tuple_type": lambda _: "expected a list",
    "literal_error": lambda context: f"expected {context['expected']}",
    "string_pattern_mismatch": lambda _: "expected auto, cpu, mps, cuda or cuda:N",
    "greater_than": lambda context: f"must be above {written(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {written(context['ge'])}",
    "less_than": lambda context: f"must be below {written(context['lt'])}",
    "less_than_equal": lambda context: f"must be at most {written(context['le'])}",
    "too_short": lambda _: "at least one is needed",
    "too_long": lambda context: f"at most {context['max_length']} are allowed",
}


# What a number alone is taken to mean.
_OF_A_NUMBER = {"budget": "steps", "clip": "fraction", "evaluate": "every", "measure": "every", "target": "loss"}


def checked(document: SpecDocument) -> tuple[SpecFile | None, list[Fault]]:
    """The spec as its models have it, or None and the faults of its shape."""
    return fitted(document, SpecFile, sections=_SECTIONS)


def fitted(
    document: SpecDocument, model: type[M], *, sections: Mapping[str, type[BaseModel]]
) -> tuple[M | None, list[Fault]]:
    """What a document says as `model` has it, or None and the faults of its shape.

    Args:
        document: as it was read.
        model: of the whole document.
        sections: the models of what lies deeper, by the key they stand under; they tell an unknown key's neighbours.
    """
    try:
        return model.model_validate(document.data), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # Where every item of a list is at fault, pydantic also finds the list too short.
        kept = [detail for detail in errors if detail["type"] != "too_short" or not detail["input"]]
        return None, [_fault(document, detail, model=model, sections=sections) for detail in kept]


def space_at(document: SpecDocument, where: Where) -> tuple[SpaceSettings | None, list[Fault]]:
    """The space of values that stands at a place of the document, or None and the faults of its shape."""
    value: Any = document.data
    for part in where:
        value = value[part]
    try:
        return SpaceSettings.model_validate(value), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return None, [_fault(document, {**detail, "loc": (*where, *detail["loc"])}) for detail in errors]


def _fault(
    document: SpecDocument,
    error: ErrorDetails,
    *,
    model: type[BaseModel] = SpecFile,
    sections: Mapping[str, type[BaseModel]] = _SECTIONS,
) -> Fault:
    where = _where(document.data, error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        missing = str(error["loc"][-1])
        return document.fault(where, f"the key {missing!r} is missing{_slip(where, missing, error['input'])}", key=True)
    if kind == "extra_forbidden":
        above = [str(part) for part in where[:-1] if isinstance(part, str)]
        # What is no section of a spec is a setting, and a mapping under a setting is a space.
        known = sections.get(".".join(above), sections.get(above[-1], SpaceSettings)) if above else model
        key = str(where[-1])
        homes = [name for name in model.model_fields if name in sections and key in sections[name].model_fields]
        under = " or ".join(f"`{name}`" for name in homes)
        home = f"it stands under {under}" if homes and not above else nearest(key, known.model_fields)
        if known is TargetSettings and not meant(key, known.model_fields):
            form = f"{{quantity: {key}, at_least: {written(error['input'])}}}"
            home = f"a target of a metric is written {form}, or at_most"
        return document.fault(where, f"there is no such key; {home}", key=True)
    if kind == "value_error":
        return document.fault(where, str(context["error"]), key="[key]" in error["loc"])
    expected = _EXPECTED[kind](context) if kind in _EXPECTED else error["msg"]
    return document.fault(where, f"{mismatch(expected, error['input'])}{_in_full(kind, where, error['input'])}")


def _in_full(kind: str, where: Where, value: object) -> str:
    """How a number is written where a mapping is expected; empty where it is not clear which number it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    meant = _OF_A_NUMBER.get(str(where[-1])) if where and kind == "model_type" and is_number else None
    return f"; write {{{meant}: {written(value)}}}" if meant else ""


def _slip(where: Where, missing: str, entry: Any) -> str:
    """The key of an entry that may have been meant for the missing one, in words; of an arm, for `groups` too."""
    wanted = [missing, "groups"] if where[:1] == ("optimizers",) else [missing]
    near = [(key, get_close_matches(key, wanted, n=1)) for key in entry if isinstance(key, str)]
    return next((f"; by {key!r}, did you mean {close[0]!r}?" for key, close in near if close), "")


def _where(data: Any, loc: tuple[str | int, ...]) -> Where:
    """The path in the file that pydantic's location means, without the names that it gives to branches."""
    where: Where = ()
    for part in loc:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if inside:
            where, data = (*where, part), data[part]
    return where
