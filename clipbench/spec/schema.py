"""The spec as a JSON Schema, so that editors complete its keys and mark what is wrong while it is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clipbench.spec.annotations import is_numeric
from clipbench.spec.catalogue import KINDS, OWN, SEAMS, Entry, Kind
from clipbench.spec.models import SpecFile
from clipbench.spec.offers import entries
from clipbench.spec.shapes import FROM_ELSEWHERE

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_FROM_ELSEWHERE = {"type": "string", "pattern": FROM_ELSEWHERE}


def json_schema(*, shelves: Path = OWN, folder: Path | None = None) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec in `folder`, with all names that are known there and their options."""
    schema = SpecFile.model_json_schema()
    definitions = schema["$defs"]
    usable = {kind: _usable(kind, shelves, folder) for kind in KINDS}
    definitions["Task"] = _with_entries(definitions.pop("TaskSettings"), "tasks", usable["tasks"])
    definitions["Probe"] = _with_entries(definitions.pop("Use"), "probes", usable["probes"])
    definitions["ArmSettings"] = _with_entries(definitions["ArmSettings"], "optimizers", usable["optimizers"])
    definitions["GroupSettings"] = _with_entries(definitions["GroupSettings"], "optimizers", usable["optimizers"])
    definitions["WrapperSettings"] = _with_entries(definitions["WrapperSettings"], "wrappers", usable["wrappers"])
    named = [_names(usable["wrappers"]), {"$ref": "#/$defs/WrapperSettings"}]
    for arm in ("ArmSettings", "GroupedArmSettings"):
        definitions[arm]["properties"]["wrap"] = {"type": "array", "items": {"anyOf": named}, "minItems": 1}
    schema["properties"]["task"] = _one_or_several("Task", _names(usable["tasks"]))
    probes = definitions["MeasureSettings"]["properties"]["probes"]
    probes["items"] = {"anyOf": [_names(usable["probes"]), {"$ref": "#/$defs/Probe"}]}
    return {"$schema": _DRAFT, **schema, "title": "clipbench spec"}


def _names(usable: Sequence[Entry]) -> dict[str, Any]:
    return {"anyOf": [{"enum": [entry.name for entry in usable]}, _FROM_ELSEWHERE]}


def _usable(kind: Kind, shelves: Path, folder: Path | None) -> list[Entry]:
    return [entry for entry in entries(kind, own=shelves, folder=folder) if not entry.broken]


def _one_or_several(name: str, names: dict[str, Any]) -> dict[str, Any]:
    item = {"anyOf": [names, {"$ref": f"#/$defs/{name}"}]}
    return {"anyOf": [*item["anyOf"], {"type": "array", "items": item, "minItems": 1}]}


def _with_entries(model: dict[str, Any], kind: Kind, usable: Sequence[Entry]) -> dict[str, Any]:
    """A model that is open for options, closed again for each entry by the options which that has."""
    fixed = dict.fromkeys(model["properties"], True)
    rules = []
    for entry in usable:
        if entry.open:  # an installed package's: its options are only known once it is imported
            continue
        options = {option.name: _value(option.accepts, option.doc, kind) for option in entry.options}
        beside = {name: value for name, value in options.items() if name not in (*SEAMS[kind].keys, *fixed)}
        apart = {name: value for name, value in options.items() if name not in beside}
        closed = {"type": "object", "properties": apart, "additionalProperties": False}
        rules.append(
            {
                "if": {"properties": {"use": {"const": entry.name}}, "required": ["use"]},
                "then": {
                    "properties": fixed | {"options": closed} | beside,
                    "required": [option.name for option in entry.options if option.required and option.name in beside],
                    "additionalProperties": False,
                },
            }
        )
    properties = model["properties"] | {"use": _names(usable)}
    return {**model, "properties": properties, "additionalProperties": True, **({"allOf": rules} if rules else {})}


def _value(accepts: Any, doc: str, kind: Kind) -> dict[str, Any]:
    """One value, or several but of a probe; of an arm's numbers, a space to tune them in as well."""
    schema = TypeAdapter(accepts).json_schema()
    forms = [schema, {"type": "array", "items": schema, "minItems": 1}]
    if kind in ("optimizers", "wrappers") and is_numeric(accepts):
        forms.append({"$ref": "#/$defs/SpaceSettings"})
    described = dict(schema) if kind == "probes" else {"anyOf": forms}
    return described | ({"description": doc} if doc else {})
