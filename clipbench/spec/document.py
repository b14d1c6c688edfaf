"""A spec's YAML as plain data, with the place of every key and value kept for error messages."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from clipbench.errors import Fault, SpecError
from clipbench.files import read_ordinary
from clipbench.harmless import shortened
from clipbench.spec.bundled import absent, located
from clipbench.spec.limits import DEEPEST, LONGEST_KEY, MOST_BYTES
from clipbench.spec.scalars import scalar

Where = tuple[str | int, ...]

# PyYAML counts these as line ends, so the line shown must be cut at the same ones.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_EDITOR_NOTE = "yaml-language-server:"

_ENOUGH = 100  # faults of the YAML: of a file that is none, each line may have several
_NAME = 60  # characters of a key, where it is repeated


@dataclass(frozen=True)
class Mark:
    """A place in a file, counted from 1 (line 0: a place that is not a line, such as an override)."""

    file: str
    line: int = 0
    column: int = 0
    source: str = ""

    def fault(self, message: str) -> Fault:
        """A fault at this place."""
        return Fault(message, self.file, line=self.line, column=self.column, source=self.source)


@dataclass(frozen=True)
class SpecDocument:
    """What a spec says, as dicts, lists and scalars, and where it says it.

    `values` and `keys` map the path of a value (`("optimizers", "sgd", "lr")`) to where the value and its key
    stand; `question` is the first paragraph of the comment the file opens with; `faults` are those found so far.
    """

    file: str
    data: dict[str, Any]
    values: Mapping[Where, Mark]
    keys: Mapping[Where, Mark] = field(default_factory=dict)
    question: str = ""
    faults: tuple[Fault, ...] = ()

    def fault(self, where: Where, message: str, *, key: bool = False) -> Fault:
        """A fault of the value at `where` (or of its key), shown at the nearest place that the file has."""
        marks = self.keys if key and where in self.keys else self.values
        known = next(where[:size] for size in range(len(where), -1, -1) if where[:size] in marks)
        text = f"{'.'.join(shortened(str(part), _NAME) for part in where)}: {message}" if where else message
        return marks[known].fault(text)


def read(
    path: Path,
    *,
    shape: str = "a spec is a mapping of keys such as task and optimizers",
    needs: str = "a spec needs at least task, optimizers, budget and seeds",
) -> SpecDocument:
    """Read a spec file, or another file of the same YAML.

    YAML 1.2 core scalars; duplicate keys, anchors, aliases, merge keys and tags are refused: a spec is read by
    people, and each value stands where it is used.

    Args:
        path: the file, or the name of one that comes with clipbench.
        shape, needs: what a file of another shape, or an empty one, is told to be.

    Raises:
        SpecError: the file cannot be read, or is not one YAML mapping. Lesser faults (a duplicate key) are kept
            in the document, so that they are reported together with all others.
    """
    file = str(path)
    text = _text(located(path), file)
    data, marks, faults = parse(text, file)
    if data is None:
        raise SpecError(file, [Fault(f"the file is empty: {needs}", file)])
    if not isinstance(data, dict):
        top = marks[0][()]
        raise SpecError(
            file, [top.fault(f"{shape}, not {'a list' if isinstance(data, list) else shortened(repr(data), _NAME)}")]
        )
    return SpecDocument(file, data, *marks, _question(text), tuple(faults))


def parse(text: str, file: str) -> tuple[Any, tuple[dict[Where, Mark], dict[Where, Mark]], list[Fault]]:
    """One YAML document as plain data, its marks (values, keys) and the lesser faults; None if there is nothing.

    Raises:
        SpecError: not YAML, more than one document, or YAML that a spec does not use.
    """
    reader = _Reader(file, _LINE_END.split(text))
    if tabs := list(reader.tabs()):
        raise SpecError(file, tabs)
    try:
        if refused := list(islice(reader.refused(text), _ENOUGH)):
            raise SpecError(file, refused)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = None if node is None else reader.data(node, ())
    except yaml.MarkedYAMLError as error:
        raise SpecError(file, [reader.syntax(error)]) from error
    except ReaderError as error:
        character = f"U+{int(error.character):04X}"
        before = _LINE_END.split(text[: error.position])
        mark = reader.at(len(before) - 1, len(before[-1]))
        raise SpecError(file, [mark.fault(f"the character {character} is not allowed in YAML; remove it")]) from error
    return data, (reader.values, reader.keys), reader.faults


def _text(path: Path, file: str) -> str:
    try:
        content = read_ordinary(path, most=MOST_BYTES)
    except FileNotFoundError as error:
        raise SpecError(file, [Fault(absent(path), file)]) from error
    except IsADirectoryError as error:
        raise SpecError(file, [Fault("this is a folder; name a YAML file in it", file)]) from error
    except OSError as error:
        raise SpecError(file, [Fault(f"the file cannot be read: {error.strerror}", file)]) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.object lacks the byte-order mark, so its offsets agree with the text before the bad byte.
        before = _LINE_END.split(error.object[: error.start].decode("utf-8"))
        byte = error.object[error.start]
        message = f"the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        raise SpecError(file, [Fault(message, file, line=len(before), column=len(before[-1]) + 1)]) from error


def _question(text: str) -> str:
    """The first paragraph of the comment that the file opens with, on one line."""
    paragraph: list[str] = []
    for line in text.lstrip().splitlines():
        words = line.removeprefix("#").strip()
        if words.startswith(_EDITOR_NOTE) or (line.startswith("#") and not words and not paragraph):
            continue
        if not line.startswith("#") or not words:
            break
        paragraph.append(words)
    return " ".join(paragraph)


@dataclass
class _Reader:
    file: str
    lines: list[str]
    values: dict[Where, Mark] = field(default_factory=dict)
    keys: dict[Where, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def at(self, line: int, column: int) -> Mark:
        """The mark of a place counted from 0."""
        source = self.lines[line] if line < len(self.lines) else ""
        return Mark(self.file, line=line + 1, column=column + 1, source=source)

    def tabs(self) -> Iterator[Fault]:
        for number, line in enumerate(self.lines):
            indent = line[: len(line) - len(line.lstrip())]
            if "\t" in indent:
                mark = self.at(number, indent.index("\t"))
                yield mark.fault("a tab in the indentation; YAML indents with spaces")

    def refused(self, text: str) -> Iterator[Fault]:
        documents = depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            mark = self.at(event.start_mark.line, event.start_mark.column) if event.start_mark else Mark(self.file)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                yield mark.fault(f"this is nested too deeply to be a spec: more than {DEEPEST} levels")
                return
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    yield mark.fault("a second YAML document begins here; a spec is one: make it a file of its own")
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                yield mark.fault("anchors and aliases (& and *) are not read in a spec; write the value out")
            elif tag := getattr(event, "tag", None):
                yield mark.fault(f"tags ({shortened(tag, _NAME)}) are not read in a spec; write the plain value")

    def syntax(self, error: yaml.MarkedYAMLError) -> Fault:
        where = error.problem_mark or error.context_mark
        problem = error.problem or "it cannot be read"
        if "'\\t'" in problem:
            problem = "a tab where a value should begin; use spaces"
        if error.context and error.context_mark and where and error.context_mark.line != where.line:
            problem += f" ({error.context} begun at line {error.context_mark.line + 1})"
        if (
            where
            and where.column > LONGEST_KEY
            and problem.startswith(("mapping values", "could not find expected ':'"))
        ):
            problem += f" (a key has at most {LONGEST_KEY} characters)"
        mark = self.at(where.line, where.column) if where else Mark(self.file)
        return mark.fault(f"not valid YAML: {problem}")

    def data(self, node: Node, where: Where) -> Any:
        self.values[where] = self.at(node.start_mark.line, node.start_mark.column)
        if isinstance(node, ScalarNode):
            return node.value if node.style else scalar(node.value)
        if isinstance(node, SequenceNode):
            return [self.data(item, (*where, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        read: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, where, read)
            if key is not None:
                read[key] = self.data(value_node, (*where, key))
        return read

    def _key(self, node: Node, where: Where, before: Mapping[str, Any]) -> str | None:
        mark = self.at(node.start_mark.line, node.start_mark.column)
        key = None
        if isinstance(node, ScalarNode):
            key = node.value if node.style else scalar(node.value)
        if not isinstance(key, str):
            self.faults.append(mark.fault("a key must be text; put it in quotes if it should be a name"))
        elif key == "<<":
            self.faults.append(mark.fault("merge keys (<<) are not read in a spec; write the values out"))
        elif key in before:
            first = self.keys[*where, key].line
            self.faults.append(
                mark.fault(f"the key {shortened(key, _NAME)!r} is here a second time; the first is in line {first}")
            )
        else:
            self.keys[*where, key] = mark
            return key
        return None
