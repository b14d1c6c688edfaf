"""What is watched while an arm trains: that the model moves, and that nothing of torch's is set otherwise on the way.

A check of life before the first step cannot see an arm that dies later, nor an optimizer or a task that sets the number
of threads for the whole process. Neither ends a run: each is a remark in its record.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from clipbench.running.equipment import trainable

Settings = Mapping[str, object]

_DETERMINISM = {0: "off", 1: "on where there are some", 2: "on"}

_READ: Mapping[str, Callable[[], object]] = {
    "the number of threads": torch.get_num_threads,
    "the use of deterministic algorithms": lambda: _DETERMINISM[torch.get_deterministic_debug_mode()],
    "the default dtype": torch.get_default_dtype,
    "the default device": torch.get_default_device,
    "the precision of matrix products": torch.get_float32_matmul_precision,
}

_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def settings() -> Settings:
    """What torch computes with in this process, by name."""
    return {name: _read(read) for name, read in _READ.items()}


def _read(read: Callable[[], object]) -> object:
    try:
        return read()
    except RuntimeError:  # torch has two ways to set a precision, and raises for the older where the newer was used
        return "set in another way"


class Vigil:
    """Watches a run from its start; what there is to remark is said by `look`, each kind once.

    It reads only: no weight, no setting and no random state changes, and no copy of the weights is kept.

    Args:
        model: which is trained.
        seed: with which torch was seeded for this run.
        since: what torch was to compute with, as `settings` told it; as it is now if left out.
    """

    def __init__(self, model: nn.Module, seed: int, since: Settings | None = None) -> None:
        self._model, self._seed = model, seed
        self._since = settings() if since is None else since
        self._last: tuple[int, list[int]] | None = None
        self._reported: set[str] = set()

    def look(self, step: int) -> tuple[str, ...]:
        """What has happened since the last look, in one sentence each; `step` is how many steps were taken."""
        changes = [*self._still(step), *self._foreign(step), *self._reseeded(step)]
        fresh = [(kind, text) for kind, text in changes if kind not in self._reported]
        self._reported.update(kind for kind, _ in fresh)
        return tuple(text for _, text in fresh)

    def _still(self, step: int) -> Iterator[tuple[str, str]]:
        bits = checksums(trainable(self._model).values())
        if self._last is not None and self._last[0] < step and self._last[1] == bits:
            yield "still", f"the weights are the same at the evaluations of steps {self._last[0]} and {step}"
        self._last = step, bits

    def _foreign(self, step: int) -> Iterator[tuple[str, str]]:
        for name, value in settings().items():
            if value != self._since[name]:
                yield name, f"{name} changed by step {step}: it was {self._since[name]} and is {value}"

    def _reseeded(self, step: int) -> Iterator[tuple[str, str]]:
        for name, generator in _generators(self._model):
            if (seed := generator.initial_seed()) != self._seed:
                yield name, f"{name} was reset by step {step}: its seed is {seed} and the run's is {self._seed}"


def _generators(model: nn.Module) -> Iterator[tuple[str, torch.Generator]]:
    """torch's own generators that training draws from."""
    yield "torch's random state", torch.default_generator
    for device in {parameter.device for parameter in model.parameters()}:
        if device.type == "cuda":
            yield "the random state of the GPU", torch.cuda.default_generators[device.index]


def checksums(tensors: Iterable[Tensor]) -> list[int]:
    """Two sums over the bits of each tensor, of themselves and of their squares: exact, whatever the order of adding.

    In whole numbers that wrap around. A step that moves some weights up and others down keeps the first sum, and hardly
    the second as well; only weights that change places keep both.
    """
    sums: list[Tensor] = []
    for tensor in tensors:
        real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
        bits = real.view(_WHOLE[real.element_size()])
        sums += [bits.sum(dtype=torch.int64), (bits * bits).sum(dtype=torch.int64)]
    return torch.stack(sums).tolist() if sums else []
