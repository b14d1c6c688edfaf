"""State that no state_dict holds: plain attributes and generators, kept by value and put back.

What is kept is made of numbers, texts and tensors, and of lists, tuples and dicts of them: `torch.save` writes it, and
`torch.load(weights_only=True)` reads it. What is not a number or a text stands as a tuple that begins with its kind.
"""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_SIMPLE = (NoneType, bool, int, float, complex, str, torch.dtype, torch.device, torch.Size)
_DICTS: dict[str, type] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": defaultdict}
_ROWS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
_NUMBERS = "biufcSUMm"
"""The kinds of NumPy's dtypes that hold no Python objects."""

OTHER = ("other",)
"""Stands for an attribute that is not plain: it was there, and is left alone."""

_OF_TORCH = {*vars(nn.Module()), "state", "param_groups", "defaults"}
"""Attributes of a module or an optimizer that torch itself keeps; it has hooks of optimizers by their first letters."""


class _NotPlainError(Exception):
    """A thing of a kind that is not kept."""


def attributes(thing: object) -> dict[str, Any]:
    """Copies of the plain attributes of `vars(thing)` by name; OTHER for what is not plain.

    Plain are None, numbers, texts, bytes, dtypes and devices; dense tensors that are no parameters; NumPy's arrays and
    scalars; generators of torch, Python and NumPy; and lists, tuples, sets, deques and dicts of plain things. What a
    module or an optimizer keeps for itself (parameters, buffers, state, groups, hooks) is left out.
    """
    return {name: kept_value(value) for name, value in _own(thing).items()}


def put_back(thing: object, kept: Mapping[str, Any]) -> None:
    """Give the plain attributes of `thing` the values that they had when `attributes` took them.

    Tensors, arrays, generators, lists and dicts stay the objects that they are wherever they fit what was kept. A plain
    attribute that has come since goes.
    """
    have = vars(thing)
    for name, value in _own(thing).items():
        if name not in kept and kept_value(value) != OTHER:
            del have[name]
    for name, value in kept.items():
        if value != OTHER:
            have[name] = _restored(have.get(name), value)


def generators(devices: Iterable[torch.device]) -> dict[str, Any]:
    """The state of the global generators: torch's on the CPU and on these devices, Python's and NumPy's."""
    states = {str(device): _random_state(device) for device in {torch.device("cpu"), *devices}}
    return {"torch": states, "random": random.getstate(), "numpy": _kept(np.random.get_state(legacy=False))}


def put_generators_back(kept: Mapping[str, Any]) -> None:
    """Let the global generators go on where `generators` found them."""
    for device, state in kept["torch"].items():
        _set_random_state(torch.device(device), state)
    random.setstate(kept["random"])
    np.random.set_state(_restored(None, kept["numpy"]))


def clone(tensor: Tensor) -> Tensor:
    """The numbers of a tensor as they are now, without a graph."""
    return _once(tensor.detach()).clone()


def overwrite(tensor: Tensor, kept: Tensor) -> None:
    """Write a `clone` back into its tensor. Its version stays, so that a graph that holds it can still go backward."""
    with torch.no_grad():
        into = _once(tensor.data) if _is_strided(tensor) else tensor  # whose data is a copy
        into.copy_(kept)


def _once(tensor: Tensor) -> Tensor:
    """Each number once: what is expanded lies in memory once, and cannot be written as often as it is seen."""
    if not _is_strided(tensor) or 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(None, 1) if step == 0 else slice(None) for step in tensor.stride())]


def _is_strided(tensor: Tensor) -> bool:
    """Not sparse, nor of several shapes."""
    return tensor.layout == torch.strided and not tensor.is_nested


def _own(thing: object) -> dict[str, Any]:
    torchs = isinstance(thing, nn.Module | torch.optim.Optimizer)
    return {
        name: value
        for name, value in vars(thing).items()
        if not (torchs and (name in _OF_TORCH or name.startswith("_optimizer_")))
    }


def kept_value(thing: object) -> Any:
    """A copy of a plain thing, as `attributes` has it; OTHER for what is not plain."""
    try:
        return _kept(thing)
    except (_NotPlainError, RecursionError):  # a list that holds itself
        return OTHER


def restored_value(now: Any, kept: Any) -> Any:
    """What `kept_value` kept, in the object that is there now where that fits; what was not plain is as it is now."""
    return now if kept == OTHER else _restored(now, kept)


def _kept(thing: Any) -> Any:
    kind = type(thing)
    if kind in _SIMPLE:
        return thing
    if kind is bytes:
        return "bytes", thing.decode("latin-1")  # a pickle of empty bytes is not read again
    if kind in (Tensor, nn.Buffer) and _is_strided(thing):
        return "tensor", clone(thing), list(thing.shape), str(thing.device)
    if kind in _ROWS.values():
        return kind.__name__, [_kept(each) for each in thing], getattr(thing, "maxlen", None)
    if kind in _DICTS.values():
        return kind.__name__, [(_kept(name), _kept(value)) for name, value in thing.items()]
    if isinstance(thing, np.ndarray | np.generic) and thing.dtype.kind in _NUMBERS and kind is not np.ma.MaskedArray:
        content = torch.from_numpy(np.frombuffer(thing.tobytes(), dtype=np.uint8).copy())
        return "array", str(thing.dtype), list(thing.shape), content, isinstance(thing, np.generic)
    return _kept_generator(thing)


def _kept_generator(thing: Any) -> Any:
    if isinstance(thing, torch.Generator):
        return "torch.Generator", str(thing.device), thing.get_state()
    if isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
        return "random.Random", thing.getstate()
    if isinstance(thing, np.random.Generator):
        return "numpy.random.Generator", _kept(dict(thing.bit_generator.state))
    if isinstance(thing, np.random.RandomState):
        return "numpy.random.RandomState", _kept(thing.get_state(legacy=False))
    raise _NotPlainError


def _restored(now: Any, kept: Any) -> Any:
    """What was kept, in the object that is there now where that fits."""
    if type(kept) in _SIMPLE:
        return kept
    kind, *rest = kept
    if kind == "bytes":
        return rest[0].encode("latin-1")
    if kind == "tensor":
        return _restored_tensor(now, *rest)
    if kind in _ROWS:
        return _restored_row(now, kind, *rest)
    if kind in _DICTS:
        return _restored_dict(now, kind, *rest)
    if kind == "array":
        return _restored_array(now, *rest)
    return _restored_generator(now, kind, *rest)


def _restored_tensor(now: Any, kept: Tensor, shape: Sequence[int], device: str) -> Tensor:
    fits = isinstance(now, Tensor) and (list(now.shape), now.dtype, str(now.device)) == (shape, kept.dtype, device)
    if fits and not now.is_inference() and _once(now).shape == kept.shape:
        overwrite(now, kept)
        return now  # type: ignore[no-any-return]
    return kept.to(device, copy=True).expand(shape)


def _restored_row(now: Any, kind: str, kept: Sequence[Any], maxlen: int | None) -> Any:
    fits = type(now) is _ROWS[kind]
    ordered = fits and kind in ("list", "tuple", "deque")
    olds = [*now, *[None] * len(kept)] if ordered else [None] * len(kept)
    values = [_restored(old, value) for old, value in zip(olds, kept, strict=False)]
    if ordered and len(now) == len(values) and all(map(is_, now, values)):
        return now
    if kind == "deque":
        queue: Any = now if fits and now.maxlen == maxlen else deque(maxlen=maxlen)
        queue.clear()
        queue.extend(values)
        return queue
    if fits and kind == "list":
        now[:] = values
        return now
    if fits and kind == "set":
        now.clear()
        now.update(values)
        return now
    return _ROWS[kind](values)


def _restored_dict(now: Any, kind: str, kept: Sequence[tuple[Any, Any]]) -> Any:
    names = [_restored(None, name) for name, _ in kept]
    into: Any = now if type(now) is _DICTS[kind] else _DICTS[kind]()
    values = [_restored(into.get(name), value) for name, (_, value) in zip(names, kept, strict=True)]
    into.clear()
    for name, value in zip(names, values, strict=True):  # a Counter's update would count them
        into[name] = value
    return into


def _restored_array(now: Any, dtype: str, shape: Sequence[int], content: Tensor, scalar: bool) -> Any:
    values = np.frombuffer(content.numpy().tobytes(), dtype=np.dtype(dtype)).reshape(shape)
    if scalar:
        return values[()]
    if isinstance(now, np.ndarray) and (now.dtype, now.shape) == (values.dtype, values.shape) and now.flags.writeable:
        now[...] = values
        return now
    return values.copy()


def _restored_generator(now: Any, kind: str, *kept: Any) -> Any:
    if kind == "torch.Generator":
        device, state = kept
        fits = isinstance(now, torch.Generator) and str(now.device) == device
        generator = now if fits else torch.Generator(device)
        generator.set_state(state)
        return generator
    if kind == "random.Random":
        drawer = now if isinstance(now, random.Random) else random.Random()
        drawer.setstate(kept[0])
        return drawer
    state = _restored(None, kept[0])
    if kind == "numpy.random.RandomState":
        legacy = now if isinstance(now, np.random.RandomState) else np.random.RandomState()
        legacy.set_state(state)
        return legacy
    fits = isinstance(now, np.random.Generator) and now.bit_generator.state["bit_generator"] == state["bit_generator"]
    modern = now if fits else np.random.Generator(getattr(np.random, state["bit_generator"])())
    modern.bit_generator.state = state
    return modern


def _random_state(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    generator: Any = getattr(torch, device.type)
    state: Tensor = generator.get_rng_state() if device.type == "mps" else generator.get_rng_state(device)
    return state


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
        return
    generator: Any = getattr(torch, device.type)
    if device.type == "mps":  # one device, and no argument for it
        generator.set_rng_state(state)
    else:
        generator.set_rng_state(state, device)
