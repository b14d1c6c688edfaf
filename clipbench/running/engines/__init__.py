"""An engine starts workers somewhere and tells how they ended. Policy (order, retry, timeout) is the supervisor's.

An engine is one file in this folder, found by being there. It has

- `Options`: a frozen dataclass, the options of `--engine-opt`, each with a default;
- `resolve(device, options)`: the device that runs will have where a spec asks for `device`, "auto" for whichever (the
  local engine leaves that to running/devices.py);
- `build(need, options, jobs)`: the engine, for runs of one need and at most `jobs` of them at a time;
- `leave(folders, need, options, jobs)`, where runs can be left to it: submits them and returns.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from clipbench.errors import ClipbenchError, nearest
from clipbench.running import devices

STOP_SECONDS = 20.0  # how long a worker may take to checkpoint before it is killed
LOST = 255  # the exit code of a worker whose end nobody saw: what forked it was killed before it
GONE = 256  # no exit code: the worker's machine is gone, or what was to make it there; the run can go on elsewhere

Slot = tuple[str, tuple[int, ...]]  # the device, and the CPUs a process is pinned to (none: not pinned)
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Need:
    """What a run needs to itself: `device` is cpu, cuda, cuda:N or mps; `threads` counts CPU cores.

    `code` is a folder in which its worker searches the user's modules, after the current folder; empty for none.
    `together` is how many such runs share a GPU: more than one for runs whose times do not matter. `processes` is how
    many devices of its own, or times `threads` cores, the run needs.
    """

    device: str
    threads: int
    code: str = ""
    together: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Handle:
    """A submitted run, as its engine knows it."""

    number: int
    folder: Path


class Engine(Protocol):
    """A context: at its end no worker is left, unless the engine was told to leave them."""

    @property
    def about(self) -> str:
        """How many runs are made at a time, and where, as in "2 at a time on this machine"."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def capacity(self) -> int:
        """How many more runs may be submitted now."""

    def submit(self, folder: Path) -> Handle:
        """Start a worker on the run that `folder` describes; returns at once."""

    def begun(self, handle: Handle) -> bool:
        """Whether the worker has started: what waits in a queue takes none of its time."""

    def poll(self, handle: Handle) -> int | None:
        """None while the worker is at work; then its exit code, negative for the signal that killed it, LOST or GONE.

        Asked again, it gives the same answer.
        """

    def wait(self, seconds: float) -> None:
        """Return when a worker has ended, or after so many seconds."""

    def cancel(self, handle: Handle, *, kill: bool) -> None:
        """Ask the worker to checkpoint and stop, or kill it; `poll` tells when it has gone."""

    def call(self, function: Callable[Asked, Answer], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        """What a function answers where the runs are made, on a device of their need; what it raises is raised."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine by its name, with its options; None where none was given."""

    name: str = "local"
    options: Any = None

    def resolve(self, device: str) -> str:
        """The device that runs will have where a spec asks for `device`.

        Raises:
            ClipbenchError: there is none.
        """
        if self == LOCAL:  # asked of by commands that make no run, also where no process can be forked
            return devices.resolve(device)
        resolved: str = _module(self.name).resolve(device, self._options)
        return resolved

    def build(self, need: Need, *, jobs: int | None = None) -> Engine:
        """The engine, for runs of one need.

        Raises:
            ClipbenchError: it cannot be used: a package is missing, or what it starts workers with does not answer.
        """
        engine: Engine = _module(self.name).build(need, self._options, jobs)
        return engine

    @property
    def can_leave(self) -> bool:
        """Whether runs go on when the command that has submitted them has ended."""
        return hasattr(_module(self.name), "leave")

    def leave(self, folders: Sequence[Path], need: Need, *, jobs: int | None = None) -> None:
        """Submit runs of one need, which `folders` describe, and leave them; one that is at work is left alone.

        Raises:
            ClipbenchError: they cannot be submitted.
        """
        _module(self.name).leave(folders, need, self._options, jobs)

    @property
    def _options(self) -> Any:
        return _module(self.name).Options() if self.options is None else self.options


LOCAL = EngineChoice()  # this machine


def names() -> list[str]:
    """The engines that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def chosen(name: str, given: Sequence[str] = ()) -> EngineChoice:
    """An engine with options of the form `key=value`.

    Raises:
        ClipbenchError: there is no such engine or option, or its value is of the wrong kind.
    """
    if name not in names():
        raise ClipbenchError(f"there is no engine '{name}'", remedy=f"choose one of: {', '.join(names())}")
    values = dict(_pair(text) for text in given)
    return EngineChoice(name, _checked(name, _module(name).Options, values) if values else None)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ClipbenchError(f"--engine-opt '{text}' is no option", remedy="write it as key=value")
    return key, value


def _checked(name: str, options: type[Any], values: Mapping[str, str]) -> object:
    known = [field.name for field in fields(options)]
    for key in values:
        if key not in known:
            offer = f"its options are {', '.join(nearest(key, known))}" if known else "it has no options"
            raise ClipbenchError(f"the engine {name} has no option '{key}'", remedy=offer)
    try:
        return TypeAdapter(options).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0])
        message = f"--engine-opt {key}={values.get(key, '')}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
        raise ClipbenchError(message) from None


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
