"""The reference pages that are made of the code: each command with its options, and each key of a spec."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from clipbench.cli import app
from clipbench.spec import json_schema

Schema = Mapping[str, Any]


def write(folder: Path) -> None:
    """Write commands.md and spec.md into a folder."""
    folder.mkdir(exist_ok=True)
    for name, lines in (("commands", commands()), ("spec", keys(json_schema()))):
        (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def commands() -> Iterator[str]:
    """A section for each command: its help, its usage, and a row for each option."""
    from typer.main import get_command

    group: Any = get_command(app)
    context = group.make_context("clipbench", ["--version"], resilient_parsing=True)
    yield "# Commands"
    yield f"\n{group.epilog}"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inside = command.make_context(name, [], parent=context, resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(inside))
        yield f"\n## {name}\n\n{_paragraphs(command.help)}\n\n```text\nclipbench {name} {usage}\n```\n"
        rows = [_row(parameter, inside) for parameter in command.params]
        yield "| | |\n|---|---|"
        yield from (f"| {option} | {meaning} |" for option, meaning in rows if option)


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    record = parameter.get_help_record(context)
    if record is None:
        return "", ""
    option, meaning = record
    return f"`{option}`".replace("|", "\\|"), " ".join(meaning.split()).replace("|", "\\|").replace("<", "&lt;")


def keys(schema: Schema) -> Iterator[str]:
    """A section for the spec and for each mapping within it: a row for each key."""
    yield "# Keys of a spec"
    yield "\n`clipbench schema` prints the JSON Schema that this page is made of."
    yield from _section("The spec", schema)
    for name, part in schema["$defs"].items():
        if "properties" in part:
            yield from _section(name.removesuffix("Settings"), part)


def _section(title: str, part: Schema) -> Iterator[str]:
    yield f"\n## {title}\n\n{_paragraphs(part.get('description', ''))}\n"
    yield "| key | values | default | meaning |\n|---|---|---|---|"
    for name, key in part["properties"].items():
        default = f"`{_as_yaml(key['default'])}`" if key.get("default") is not None else ""
        needed = "required" if name in part.get("required", ()) else default
        yield f"| `{name}` | {_values(key)} | {needed} | {' '.join(key.get('description', '').split())} |"


def _as_yaml(value: object) -> str:
    """As it is written in a spec."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).splitlines()[0]


def _values(key: Schema) -> str:
    """The values that a key takes, in words."""
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2].removesuffix("Settings")
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in key:
            return " or ".join(dict.fromkeys(_values(each) for each in key[several] if each.get("type") != "null"))
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    if "const" in key:
        return f"`{key['const']}`"
    if key.get("type") == "array":
        return f"a list of {_values(key.get('items', {}))}"
    if key.get("type") == "object":
        values = key.get("additionalProperties")
        return f"by name: {_values({} if values is True else values)}" if values else "a mapping"
    kinds = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    return kinds.get(key.get("type", ""), "any value")


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).replace("<", "&lt;")
