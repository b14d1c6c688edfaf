import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipbench.spec import json_schema


@pytest.fixture
def schema(shelves: Path) -> dict[str, Any]:
    (shelves / "tasks" / "odd.py").write_text("def build(:\n")
    return json_schema(shelves=shelves)


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walk(inner)


def _rule(schema: dict[str, Any], definition: str, name: str) -> dict[str, Any]:
    rules = schema["$defs"][definition]["allOf"]
    [then] = [rule["then"] for rule in rules if rule["if"]["properties"]["use"] == {"const": name}]
    return dict(then)


def test_it_is_plain_json_of_draft_2020_12(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_reference_leads_somewhere_and_nothing_is_left_over(schema: dict[str, Any]) -> None:
    references = {node["$ref"] for node in _walk(schema) if "$ref" in node}
    assert references == {f"#/$defs/{name}" for name in schema["$defs"]}


def test_the_keys_of_a_spec_are_there_and_closed(schema: dict[str, Any]) -> None:
    assert set(schema["required"]) == {"task", "optimizers", "budget", "seeds"}
    assert schema["additionalProperties"] is False
    assert {"schedule", "measure", "target", "evaluate", "device", "threads", "baseline", "tuning"} < set(
        schema["properties"]
    )


def test_use_is_a_name_of_the_shelf_or_something_from_elsewhere(schema: dict[str, Any]) -> None:
    named, elsewhere = schema["$defs"]["ArmSettings"]["properties"]["use"]["anyOf"]
    assert named == {"enum": ["descent"]}
    assert elsewhere["type"] == "string"
    assert elsewhere["pattern"].startswith("^")
    assert schema["$defs"]["Task"]["properties"]["use"]["anyOf"][0] == {"enum": ["bowl", "valley"]}
    assert schema["properties"]["task"]["anyOf"][0]["anyOf"][0] == {"enum": ["bowl", "valley"]}
    assert schema["$defs"]["Probe"]["properties"]["use"]["anyOf"][0] == {"enum": ["norms", "sharpness"]}


def test_each_entry_has_its_options_with_their_types(schema: dict[str, Any]) -> None:
    arm = _rule(schema, "ArmSettings", "descent")
    assert arm["required"] == ["lr"]
    assert arm["additionalProperties"] is False
    assert {"use", "clip", "schedule", "liveness", "lr", "momentum", "betas"} < set(arm["properties"])
    one, several, space = arm["properties"]["lr"]["anyOf"]
    assert space == {"$ref": "#/$defs/SpaceSettings"}
    assert one == {"type": "number"}
    assert several == {"type": "array", "items": {"type": "number"}, "minItems": 1}
    assert _rule(schema, "Task", "bowl")["properties"]["width"]["description"] == "how many parameters."
    assert len(arm["properties"]["form"]["anyOf"]) == 2  # words have no space
    assert len(_rule(schema, "Task", "bowl")["properties"]["width"]["anyOf"]) == 2  # and a task is not tuned
    # A probe's options are no grid.
    assert _rule(schema, "Probe", "norms")["properties"]["samples"] == {"type": "integer"}


def test_the_tuning_section_is_there_and_closed(schema: dict[str, Any]) -> None:
    tuning = schema["$defs"]["TuningSettings"]
    assert set(tuning["properties"]) == {"seeds", "search", "trials", "select"}
    assert tuning["required"] == ["seeds"]
    assert tuning["additionalProperties"] is False
    assert tuning["properties"]["search"]["enum"] == ["grid", "random", "halton"]


def test_the_evaluate_section_is_there_with_its_share_and_closed(schema: dict[str, Any]) -> None:
    evaluate = schema["$defs"]["EvaluateSettings"]
    assert set(evaluate["properties"]) == {"every", "diverged"}
    assert evaluate["additionalProperties"] is False
    share = evaluate["properties"]["diverged"]
    assert (share["type"], share["exclusiveMinimum"], share["default"]) == ("number", 0, 0.1)
    assert "diverged" in evaluate["description"]


def test_a_task_may_have_terms_of_its_own_beside_its_options(schema: dict[str, Any]) -> None:
    assert {"use", "budget", "target", "evaluate", "depth"} < set(_rule(schema, "Task", "valley")["properties"])
    task = schema["$defs"]["Task"]["properties"]
    assert {"$ref": "#/$defs/BudgetSettings"} in task["budget"]["anyOf"]
    assert set(schema["$defs"]["TaskEvaluation"]["properties"]) == {"every"}
    assert "budget" not in schema["$defs"]["Probe"]["properties"]


def test_the_real_shelves_have_a_schema() -> None:
    schema = json_schema()
    assert "lr" in _rule(schema, "ArmSettings", "sgd")["properties"]
    assert "code_lm" in schema["$defs"]["Task"]["properties"]["use"]["anyOf"][0]["enum"]
