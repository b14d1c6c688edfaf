"""The ghosts of a run: other arms that see its gradients at every step, and whose own steps are undone."""

import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import psutil
import torch
from torch import Tensor, nn

from clipbench.errors import ClipbenchError, in_one_line
from clipbench.geometry.finely import COARSEST, can_be_stepped_in_float64, rounding
from clipbench.geometry.ghosts import HeldPoint, Update
from clipbench.records import Arm
from clipbench.running.equipment import AttachedClip, build_optimizer, state_bytes, trainable
from clipbench.running.evaluation import device_of
from clipbench.running.grouping import by_group, innermost
from clipbench.running.schedule import ScheduledRates

_NEAR = 10.0  # an update whose rounding was this near the coarsest may be beyond it at the next step
HOST = torch.device("cpu")
FreeBytes = Callable[[torch.device], int]
PROBED = 6  # sizes of the model that a probe needs: θ_after, the run's own update, four directions at a time


def free_bytes(device: torch.device) -> int:
    """What may still be had on a device; what torch keeps for itself without using it counts as free."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return int(psutil.virtual_memory().available)


def bytes_to_come(device: torch.device) -> int:
    """What the next forward and backward pass will need again of a GPU: it was free when the ghosts were asked."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    return 0


@dataclass
class _Ghost:
    optimizer: torch.optim.Optimizer
    clip: AttachedClip | None
    rates: ScheduledRates
    rounding: float | None = None  # of the latest update that was read
    away: dict[tuple[Tensor, str], torch.device] = field(default_factory=dict)  # where offloaded state belongs

    def fetch(self) -> None:
        """Bring offloaded state back to where its optimizer wants it."""
        for (parameter, name), device in self.away.items():
            self.optimizer.state[parameter][name] = self.optimizer.state[parameter][name].to(device)
        self.away = {}

    def send_home(self) -> None:
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.device != HOST:
                    self.away[parameter, name] = value.device
                    state[name] = value.to(HOST)


class Ghosts:
    """Optimizers with states of their own over a model that they never move.

    At each step every ghost gets the run's true gradient, steps by its arm's clip and schedule, and is undone. A
    ghost that raises is left out from then on, with the reason in `failed`; the run and the others go on.

    On a GPU whose memory the ghosts' states and updates would fill, beside the coming forward pass and a probe, as many
    as do not fit are kept in the host's memory: `offloaded` has their names. That is slower, and the same bits.

    Args:
        arms: each ghost's arm; its name is the name of its direction.
        model: what the run trains.
        free: how many bytes a device has left, asked while the ghosts take their first step.
        to_come: how many of them the next training step will need.

    Raises:
        ClipbenchError: at the first step, where the ghosts do not fit in memory: it says how many do.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        model: nn.Module,
        *,
        free: FreeBytes = free_bytes,
        to_come: FreeBytes = bytes_to_come,
    ) -> None:
        self._device, self._free, self._to_come = device_of(model), free, to_come
        self._parameters = trainable(model)
        self._point = HeldPoint(self._parameters)
        self._ghosts: dict[str, _Ghost] = {}
        for arm in arms:
            optimizer, clip = build_optimizer(arm, model)
            self._ghosts[arm.name] = _Ghost(optimizer, clip, ScheduledRates(optimizer, arm.schedule))
        self._measured_room = False
        self.offloaded: set[str] = set()
        self.failed: dict[str, str] = {}
        self.rounded: dict[str, float] = {}  # of updates small beside the weights' spacing; 0 if read in float64
        self.keeping = False  # whether the updates of the latest step are read and stay in `latest`
        self.latest: dict[str, Update] = {}

    def set_rates(self, progress: float) -> None:
        """Set every ghost's learning rates to what its schedule says at this fraction of the budget."""
        for ghost in self._ghosts.values():
            ghost.rates.set(progress)

    @property
    def learning_rates(self) -> dict[str, float]:
        """Each ghost's learning rate now, NaN where its optimizer has none."""
        return {name: ghost.rates.current() for name, ghost in self._ghosts.items()}

    @property
    def clips(self) -> dict[str, AttachedClip]:
        """The clips of the ghosts that have one."""
        return {name: ghost.clip for name, ghost in self._ghosts.items() if ghost.clip is not None}

    @property
    def point(self) -> HeldPoint:
        """Where all of them stepped from last."""
        return self._point

    def step(self, *, read: bool) -> dict[str, Update]:
        """Let every ghost step from here, with the gradients as they are; their updates by name if they are read."""
        self._point.hold()
        self.rounded = {}
        read = read or self.keeping
        updates: dict[str, Update] = {}
        for name, ghost in list(self._ghosts.items()):
            try:
                ghost.fetch()
                if read:
                    updates[name] = self._read(name, ghost)
                else:
                    self._point.passed(ghost.optimizer)
            except Exception as error:  # an optimizer is anybody's code: whatever it raises, the run goes on
                traceback.print_exc()
                self.failed[name] = in_one_line(error)
                del self._ghosts[name]
                continue
            if name in self.offloaded:
                ghost.send_home()
            if not self._measured_room:
                self._find_room(name)
        self._measured_room = True
        self.latest = updates if self.keeping else {}
        return updates

    def _read(self, name: str, ghost: _Ghost) -> Update:
        """A ghost's update; in float64 where it is small beside the spacing of the weights."""
        home = HOST if name in self.offloaded else None
        near = ghost.rounding is None or ghost.rounding > COARSEST / _NEAR
        fine = self._finely(ghost, home) if near else None
        update = self._point.tried(ghost.optimizer, home=home)
        weights = self._point.weights
        ghost.rounding = rounding({each: weights[each].to(u.device) for each, u in update.items()}, update)
        if ghost.rounding > COARSEST:
            self.rounded[name] = ghost.rounding if fine is None else 0.0
        return fine if fine is not None and ghost.rounding > COARSEST else update

    def _finely(self, ghost: _Ghost, home: torch.device | None) -> Update | None:
        """A ghost's update computed in float64; None where that cannot be, or cannot be undone."""
        members = list(by_group(ghost.optimizer).values())
        if innermost(ghost.optimizer) is not ghost.optimizer or not all(map(can_be_stepped_in_float64, members)):
            return None
        # Weights in another dtype are cut off from the graph of a gradient that is to be differentiated again.
        if any(p.grad is not None and p.grad.requires_grad for p in self._parameters.values()):
            return None
        try:
            return self._point.tried_in_float64(ghost.optimizer, members, home=home)
        except Exception:  # an optimizer is anybody's code, and may be written for float32 alone
            traceback.print_exc()
            return None

    def _find_room(self, latest: str) -> None:
        """After a ghost's first step: do those that have not stepped yet, and everybody's updates, still fit?

        Those to come are taken to be as large as the largest until now; each also has an update of the model's size.
        """
        if self.offloaded:
            return  # it was decided who stays
        names = list(self._ghosts)
        stepped = names[: names.index(latest) + 1]
        sizes = [state_bytes(self._ghosts[name].optimizer) for name in stepped]
        update = sum(parameter.nbytes for parameter in self._parameters.values())
        on_device = self._device != HOST
        reserved = self._to_come(self._device) + PROBED * update if on_device else 0
        room = self._free(self._device) - reserved
        if (len(names) - len(stepped)) * max(sizes) + len(names) * update <= room:
            return
        per_ghost = max(sizes) + update
        fit = max(0, int((room + sum(sizes)) // per_ghost))
        if on_device and (len(names) - fit) * per_ghost <= self._free(HOST):
            self.offloaded = set(names[fit:])
            for name in self.offloaded & set(stepped):
                self._ghosts[name].send_home()
            return
        raise ClipbenchError(
            f"{fit} of {len(names)} ghosts fit in memory: each takes about {per_ghost / 2**20:.1f} MiB for its state "
            f"and its update, and {max(0, room) / 2**20:.1f} MiB are free",
            where="measure.ghosts",
            remedy="name fewer under `of`",
        )

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers of those that step, by name."""
        return {name: ghost.optimizer for name, ghost in self._ghosts.items()}

    def keep_only(self, names: Collection[str]) -> None:
        """Leave out all others, which had failed before a checkpoint was taken."""
        self._ghosts = {name: ghost for name, ghost in self._ghosts.items() if name in names}
