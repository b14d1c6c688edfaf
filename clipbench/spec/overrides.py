"""Single values of a spec set from outside, `optimizers.sgd.lr=0.2`, under the same rules as the file itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clipbench.errors import Fault, SpecError
from clipbench.harmless import shortened
from clipbench.spec.document import Mark, SpecDocument, Where, parse
from clipbench.spec.wording import found, nearest

# Sections that a spec may leave out, so that a key in them can be set without them.
_OPTIONAL = ("schedule", "evaluate", "target", "measure", "training", "tuning")
_OPTIONAL_IN_ARM = ("clip", "schedule", "create_graph", "options")
_OPTIONAL_IN_TASK = ("budget", "target", "evaluate", "options")
_SHOWN = 120  # characters of an override, where it is repeated
_KEY = 60  # and of a key in it


@dataclass(frozen=True)
class Overrides:
    """What the command line says in place of a spec's file; None leaves what the file says.

    - `values`: "path=value", such as "optimizers.sgd.lr=0.2", set in their order.
    - `only`: a pattern for the names of the arms to run now.
    - `quick`: one seed (to tune on, as well), and what the spec's `quick` says, or a tenth of the budget.
    """

    values: Sequence[str] = ()
    seeds: Sequence[int] | None = None
    only: str | None = None
    quick: bool = False
    device: str | None = None
    threads: int | None = None

    def words(self) -> Iterator[str]:
        """The options of a command that say the same, but for `only`: whatever was left out is still to be run."""
        for value in self.values:
            yield from ("--set", value)
        if self.quick:
            yield "--quick"
        options = {"--seeds": _seeds(self.seeds), "--device": self.device, "--threads": self.threads}
        for option, choice in options.items():
            if choice is not None:
                yield from (option, str(choice))


NO_OVERRIDES = Overrides()


def _seeds(seeds: Sequence[int] | None) -> str | None:
    """As `--seeds` takes them: `0..4`, or `0,3,7`."""
    if seeds is None:
        return None
    is_range = len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}..{seeds[-1]}" if is_range else ",".join(map(str, seeds))


def overridden(document: SpecDocument, overrides: Sequence[str]) -> SpecDocument:
    """The document with each `path=value` set, in their order.

    A path is keys and list places (from 0) joined by dots. A key may itself have dots, blanks or equals signs
    in it: of the keys that are there, the longest that fits is meant. The value is YAML on one line, so that
    `[0.1, 0.3]` is a list and `1e-3` a number. A plain name `x` on the way counts as `{use: x}`.
    """
    for override in overrides:
        mark = Mark(f"--set {shortened(override, _SHOWN)}")
        document = _set(document, mark, partial(_split, override=override, mark=mark))
    return document


def quickened(document: SpecDocument) -> SpecDocument:
    """The document with all that its section `quick` says set, by paths as `overridden` has them."""
    section = document.data.get("quick")
    for path, value in (section if isinstance(section, dict) else {}).items():
        mark = document.values[("quick", path)]
        document = _set(document, mark, partial(_at, path=str(path), value=value, mark=mark))
    return document


def _at(data: dict[str, Any], path: str, value: Any, mark: Mark) -> tuple[Where, Any]:
    return _split(data, f"{path}=null", mark)[0], value


def _set(document: SpecDocument, mark: Mark, find: Callable[[dict[str, Any]], tuple[Where, Any]]) -> SpecDocument:
    """The document with the value that `find` tells of at its path, which is marked; or with the faults in that."""
    data, values, keys = deepcopy(document.data), dict(document.values), dict(document.keys)
    try:
        where, value = find(data)
        _put(data, where, value)
    except SpecError as error:
        return replace(document, faults=(*document.faults, *error.faults))
    for marks in (values, keys):
        for stale in [path for path in marks if path[: len(where)] == where]:
            del marks[stale]
    for size in range(1, len(where)):
        values.setdefault(where[:size], mark)
        keys.setdefault(where[:size], mark)
    values[where] = keys[where] = mark
    return replace(document, data=data, values=values, keys=keys)


def _split(data: dict[str, Any], override: str, mark: Mark) -> tuple[Where, Any]:
    """The path that an override means in `data`, and its value."""
    node: Any = data
    where: Where = ()
    rest = override
    while True:
        if isinstance(node, str) and where:
            node = {"use": node}
        key, sign, after = _next(node, rest)
        if not sign:
            raise _refused(mark, "expected KEY=VALUE, such as optimizers.sgd.lr=0.2")
        if sign == "=":
            return (*where, _place(node, where, key, mark)), _value(after, mark)
        known = _place(node, where, key, mark)
        if isinstance(node, dict) and key not in node:
            if key not in _creatable(where):
                raise _refused(mark, f"there is no {shortened(key, _KEY)!r} in {_name(where)}; {nearest(key, node)}")
            node = {}
        else:
            node = node[known]
        where, rest = (*where, known), after


def _next(node: Any, rest: str) -> tuple[str, str, str]:
    """The next key, what follows it (`.`, `=` or nothing), and the rest."""
    fits = (
        [key for key in node if rest.startswith(key) and rest[len(key) :][:1] in {".", "="}]
        if isinstance(node, dict)
        else []
    )
    if fits:
        key = max(fits, key=len)
        return key, rest[len(key)], rest[len(key) + 1 :]
    size = next((place for place, character in enumerate(rest) if character in ".="), len(rest))
    return rest[:size], rest[size : size + 1], rest[size + 1 :]


def _place(node: Any, where: Where, key: str, mark: Mark) -> str | int:
    if isinstance(node, list):
        places = {str(place): place for place in range(len(node))}
        if key not in places:
            reason = f"{shortened(key, _KEY)!r} is not a place from 0 to {len(node) - 1}"
            raise _refused(mark, f"{_name(where)} is a list of {len(node)}: {reason}")
        return places[key]
    if not isinstance(node, dict):
        raise _refused(mark, f"{_name(where)} is {found(node)}: nothing can be set in it")
    if not key:
        raise _refused(mark, "a key is missing; expected KEY=VALUE, such as optimizers.sgd.lr=0.2")
    return key


def _creatable(where: Where) -> tuple[str, ...]:
    if not where:
        return _OPTIONAL
    if where[0] == "task":
        return _OPTIONAL_IN_TASK if len(where) == 1 or (len(where) == 2 and isinstance(where[1], int)) else ()
    if where[0] == "optimizers" and len(where) == 4:
        return ("options",)  # of a group
    return _OPTIONAL_IN_ARM if len(where) == 2 and where[0] == "optimizers" else ()


def _value(text: str, mark: Mark) -> Any:
    try:
        value, _, faults = parse(text, mark.file)
    except SpecError as error:
        raise _refused(mark, *(fault.message for fault in error.faults)) from error
    if faults:
        raise _refused(mark, *(fault.message for fault in faults))
    if not text.strip():
        raise _refused(mark, "no value after the equals sign")
    return value


def _put(data: dict[str, Any], where: Where, value: Any) -> None:
    node: Any = data
    for key in where[:-1]:
        if isinstance(node, dict) and key not in node:
            node[key] = {}
        if isinstance(node[key], str):
            node[key] = {"use": node[key]}
        node = node[key]
    node[where[-1]] = value


def _name(where: Where) -> str:
    return repr(shortened(".".join(str(part) for part in where), _KEY)) if where else "the spec"


def _refused(mark: Mark, *messages: str) -> SpecError:
    faults: Mapping[str, Fault] = {message: mark.fault(message) for message in messages}
    return SpecError(mark.file, list(faults.values()))
