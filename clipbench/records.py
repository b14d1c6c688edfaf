"""The bridge between the two wings: what is to be run and what came of it, as plain frozen data without torch."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from numbers import Real
from typing import Any, Literal, get_args

from clipbench.budget import Budget, LedgerRow
from clipbench.measurements import NOTHING, Measurements

Scalar = bool | int | float | str | None
Value = Scalar | tuple[Scalar, ...]
Options = Mapping[str, Value]

ClipPlace = Literal["gradient", "numerator", "update"]  # whose coordinates a clip looks at; see CoordinateClip
ClipScope = Literal["global", "group", "tensor"]  # which of them share a threshold
ClipScale = Literal["none", "norm"]  # what becomes of the length of what was clipped
ClipRule = Literal["fraction", "threshold", "norm"]  # what a clip is told
CLIP_PLACES: tuple[ClipPlace, ...] = get_args(ClipPlace)
CLIP_SCOPES: tuple[ClipScope, ...] = get_args(ClipScope)
CLIP_SCALES: tuple[ClipScale, ...] = get_args(ClipScale)
CLIP_RULES: tuple[ClipRule, ...] = get_args(ClipRule)

# Raise it when a change outside the code that is hashed (the shelves' files, the networks, the data) alters the numbers
# of an unchanged spec: the loop, the clip, the curvature, or what a field means at its default. Old runs are then made
# again.
METHOD = 1

FORMAT = 2  # of a run's file; a run of an earlier format is read, and answers no plan

_LABEL: Mapping[str, bool] = {"label": True}  # the metadata of a field that decides no number: it is not in the key

OWN = "own"  # the direction an arm itself took, at its own point: θ_after − θ_before

GHOST = "the ghost "  # before an arm's name, where a run says of its ghost what went wrong

# The quantities clipbench itself records; a probe adds names of its own.
TRAIN_LOSS = "train_loss"  # mean mini-batch loss since the last evaluation
EVAL_LOSS = "eval_loss"  # weighted mean over the evaluation batches, eval mode, at the weights of optimizer.eval()
TRAINING_POINT_LOSS = "eval_loss_at_training_point"  # the same where gradients are taken; of optimizers with two states
TRAIN_SLICE_LOSS = "train_slice_loss"  # as EVAL_LOSS, of the batches of training data that a task keeps for it
OF_EVALUATIONS = (EVAL_LOSS, TRAINING_POINT_LOSS, TRAIN_SLICE_LOSS, TRAIN_LOSS)
LEARNING_RATE = "learning_rate"  # as used at that step; NaN where parameter groups have different ones
CLIPPED_FRACTION = "clipped_fraction"  # coordinates that the clip changed, over all: found, not asked for
CLIP_THRESHOLD = (
    "clip_threshold"  # a clip's limit at that step, the largest where there are several; of a norm, the norm
)
DIRECTIONAL_SHARPNESS = "directional_sharpness"  # uᵀHu/‖u‖² on the probe batches, signed
DIRECTIONAL_SHARPNESS_ERROR = "directional_sharpness_error"  # its standard error over the probe batches
SLOPE = "slope"  # gᵀu/‖u‖ on the probe batches, signed
SLOPE_ERROR = "slope_error"
SAME_BATCH_SHARPNESS = "same_batch_sharpness"  # uᵀHu/‖u‖² on the mini-batch that made the step
SAME_BATCH_SLOPE = "same_batch_slope"
COSINE = "cosine"  # −gᵀu/(‖g‖‖u‖) on the probe batches: 1 is straight down, below 0 is up
TAYLOR_BEST_STEP = "taylor_best_step"  # η* = c/s with c = −gᵀu/‖u‖ and s the sharpness; only where both are positive
TAYLOR_BEST_DECREASE = "taylor_best_decrease"  # Δ* = c²/(2s), as well
LINE_BEST_STEP = "line_best_step"  # the length along u/‖u‖ with the least loss found on the probe batches
LINE_BEST_DECREASE = "line_best_decrease"  # how much lower the loss is there
CRITICAL_SHARPNESS = "critical_sharpness"  # λ_c = 2/η_c: η_c·u is the least multiple of u at which the loss has risen
LAMBDA_DIR = "lambda_dir"  # −uᵀHu/gᵀu, in units of one step u; λ_c on a quadratic
RATE_SHARPNESS = "rate_times_sharpness"  # learning rate × sharpness; 2 is gradient descent's limit of stability
BATCH_SHARPNESS = "batch_sharpness"  # E_B[g_BᵀH_Bg_B/‖g_B‖²] over training batches B
GRADIENT_NORM = "gradient_norm"  # ‖g‖₂ of the mini-batch, before any clip
UPDATE_NORM = "update_norm"  # ‖u‖₂
UPDATE_ROUNDING = "update_rounding"  # the rounding of θ_after − θ_before beside ‖u‖; recorded above 1e-4 alone
RECORDED = (
    *(*OF_EVALUATIONS, LEARNING_RATE, CLIPPED_FRACTION, CLIP_THRESHOLD, DIRECTIONAL_SHARPNESS),
    *(DIRECTIONAL_SHARPNESS_ERROR, SLOPE, SLOPE_ERROR, SAME_BATCH_SHARPNESS, SAME_BATCH_SLOPE, COSINE),
    *(TAYLOR_BEST_STEP, TAYLOR_BEST_DECREASE, LINE_BEST_STEP, LINE_BEST_DECREASE, CRITICAL_SHARPNESS, LAMBDA_DIR),
    *(RATE_SHARPNESS, BATCH_SHARPNESS, GRADIENT_NORM, UPDATE_NORM, UPDATE_ROUNDING),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A task, optimizer or probe with its options, fully resolved (defaults filled in).

    `use` is what the spec said; `target` is where the thing lives ("module:attribute"); `source` identifies
    its code, so that a changed optimizer is run again; `name` is how tables call it.
    """

    name: str = field(metadata=_LABEL)
    use: str
    target: str
    options: Options = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """The clip of an arm, by exactly one of three rules; the other two are None.

    - `fraction`: the largest coordinates, down to one threshold for each `scope`; `of` says whose coordinates, `scale`
      whether what was clipped keeps its length, and with `ignore_zeros` the fraction is of those that are not zero.
    - `threshold`: every coordinate of the gradient, down to this size.
    - `norm`: the gradient as a whole, down to this length.

    `groups` names the arm's groups that it clips, as if there were no others; none for all.

    Raises:
        TypeError: an amount that is no number, or an `ignore_zeros` that is no bool.
        ValueError: not exactly one rule, a value outside its bounds, or settings that exclude each other.
    """

    fraction: float | None = None
    of: ClipPlace = "gradient"
    scope: ClipScope = "global"
    threshold: float | None = None
    norm: float | None = None
    scale: ClipScale = "none"
    ignore_zeros: bool = False
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [rule for rule in CLIP_RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            has = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a clip has exactly one of {', '.join(CLIP_RULES)}; {has}")
        object.__setattr__(self, given[0], _amount(given[0], getattr(self, given[0])))
        if not isinstance(self.ignore_zeros, bool):
            raise TypeError(f"ignore_zeros must be True or False, not {self.ignore_zeros!r}")
        for name, known in (("of", CLIP_PLACES), ("scope", CLIP_SCOPES), ("scale", CLIP_SCALES)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}={value!r} is unknown: it is one of {', '.join(map(repr, known))}")
        if self.scale == "norm" and self.of == "numerator":
            raise ValueError(
                "'scale: norm' cannot go with 'of: numerator', whose second moment sets the step's length as well; use "
                "gradient or update"
            )

    @property
    def rule(self) -> ClipRule:
        """Which of the three it is."""
        [rule] = [rule for rule in CLIP_RULES if getattr(self, rule) is not None]
        return rule

    @property
    def amount(self) -> float:
        """The fraction, threshold or norm."""
        return float(getattr(self, self.rule))


def _amount(rule: ClipRule, amount: object) -> float:
    """What a clip is told, as a plain float.

    Raises:
        TypeError: it is no number.
        ValueError: it is outside the rule's bounds.
    """
    label = "the fraction to clip" if rule == "fraction" else f"the {rule} to clip at"
    if isinstance(amount, bool) or not isinstance(amount, Real):
        raise TypeError(f"{label} must be a number, not {amount!r}")
    if rule == "fraction" and not 0.0 <= float(amount) < 1.0:
        raise ValueError(f"{label} is {amount}: it must be at least 0 and below 1")
    if rule != "fraction" and not 0.0 < float(amount) < math.inf:
        raise ValueError(f"{label} is {amount}: it must be above 0 and finite")
    return float(amount)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate over progress p in [0, 1], as a factor of the arm's own rate.

    It rises linearly to 1 over the first `warmup` of the budget, then stays (constant) or falls to `final` (linear:
    straight; cosine: half a cosine; wsd: straight, over the last share `decay` of the budget). Any other `use` is a
    function of the user's, "module:name", from progress to the factor; `source` identifies its code.
    """

    use: str = "constant"
    warmup: float = 0.0
    final: float = 0.0
    decay: float = 0.0
    source: str = ""

    @property
    def code(self) -> tuple[Choice, ...]:
        """The user's function, where it is one."""
        return (Choice(self.use, self.use, self.use, source=self.source),) if ":" in self.use else ()


ScheduleName = Literal["constant", "linear", "cosine", "wsd"]
Liveness = Literal["refuse", "warn", "off"]  # what becomes of an arm that does not do what its spec says
ParameterKind = Literal["matrix", "vector", "embedding"]  # see Group
PARAMETER_KINDS: tuple[ParameterKind, ...] = get_args(ParameterKind)


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters of an arm that have an optimizer of their own: those that fit, of what earlier groups left.

    - `kind`: matrix (two dimensions, no embedding), vector (fewer than two), embedding (the weights of embedding
      modules, tied heads with them); None for any.
    - `names`: glob patterns, of which one must fit the parameter's name; none for any.
    """

    name: str
    optimizer: Choice
    kind: ParameterKind | None = None
    names: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """What stands in a spec before the names of its options, below the arm: `groups.hidden.`."""
        return f"groups.{self.name}."

    @property
    def matcher(self) -> str:
        """What fits, in words; empty where all does."""
        return ", ".join(filter(None, (self.kind, " ".join(self.names))))


_PATHS = ("groups.", "wrap.")  # how the path of a group or a wrapper begins


def _below(path: str, options: Options) -> Options:
    return {name[len(path) :]: value for name, value in options.items() if name.startswith(path)}


@dataclass(frozen=True, slots=True)
class Arm:
    """An optimizer with its options, as compared; its twin is the same arm without its clip.

    An arm with `groups` has several optimizers, which step as one; `optimizer` is their common name then, without
    options. `wrap` goes around the optimizer and its clip, innermost first; no two have the same name. With
    `create_graph` its optimizer can differentiate the gradient. `liveness` says what becomes of an arm that fails its
    check of life; it decides no number.
    """

    name: str
    optimizer: Choice
    clip: ClipSettings | None = None
    schedule: Schedule = Schedule()
    liveness: Liveness = field(default="refuse", metadata=_LABEL)
    groups: tuple[Group, ...] = ()
    wrap: tuple[Choice, ...] = ()
    create_graph: bool = False

    @property
    def optimizers(self) -> dict[str, Choice]:
        """Its optimizers by what stands before the names of their options in a spec; nothing for the only one."""
        return {group.path: group.optimizer for group in self.groups} or {"": self.optimizer}

    @property
    def parts(self) -> dict[str, Choice]:
        """Its optimizers and wrappers, by what stands before the names of their options, such as `wrap.sam.`."""
        return self.optimizers | {f"wrap.{wrapper.name}.": wrapper for wrapper in self.wrap}

    @property
    def code(self) -> tuple[Choice, ...]:
        """Its optimizers and wrappers, and its schedule where that is a function of the user's."""
        return *self.parts.values(), *self.schedule.code

    @property
    def options(self) -> Options:
        """The options of all its parts, as a spec calls them below the arm: `lr`, or `groups.hidden.lr`."""
        by_path = self.parts.items()
        return {f"{path}{name}": value for path, choice in by_path for name, value in choice.options.items()}

    @property
    def learning_rates(self) -> dict[str, float]:
        """The learning rate of each of its optimizers that has one, by the name of the option, as `options` has it."""
        options = self.options
        rates = {f"{path}lr": options.get(f"{path}lr") for path in self.optimizers}
        return {name: float(rate) for name, rate in rates.items() if isinstance(rate, int | float)}

    @property
    def learning_rate(self) -> float | None:
        """The learning rate of all its optimizers; None where one has none, or they have several."""
        rates = list(self.learning_rates.values())
        return rates[0] if len(rates) == len(self.optimizers) and len(set(rates)) == 1 else None

    def with_options(self, options: Options) -> "Arm":
        """The same arm with these options in place of all that `options` has."""
        own = {name: value for name, value in options.items() if not name.startswith(_PATHS)}
        parts = {
            path: replace(choice, options=own if path == "" else _below(path, options))
            for path, choice in self.parts.items()
        }
        groups = tuple(replace(group, optimizer=parts[group.path]) for group in self.groups)
        wrap = tuple(parts[f"wrap.{wrapper.name}."] for wrapper in self.wrap)
        return replace(self, optimizer=parts.get("", self.optimizer), groups=groups, wrap=wrap)

    def twin(self) -> "Arm":
        """The same arm without its clip."""
        return replace(self, clip=None)


CurvaturePrecision = Literal["float32", "tf32"]


@dataclass(frozen=True, slots=True)
class Measure:
    """When to look: evaluation and probes every so many steps, and the probes to run.

    `probe_at` are fractions of the budget, in place of `probe_every` where there are any: the step that completes
    such a fraction is probed. `ghosts` are arms whose steps are tried along this run's path and undone. `precision` is
    that of the products in a curvature: tf32 rounds their factors on an NVIDIA GPU, and nothing elsewhere.
    """

    evaluate_every: int
    probe_every: int
    probes: tuple[Choice, ...] = ()
    probe_at: tuple[float, ...] = ()
    ghosts: tuple[Arm, ...] = ()
    precision: CurvaturePrecision = "float32"


Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a training step is computed; what is evaluated and measured is float32 whatever it says.

    - `micro_batch`: the most examples in a forward pass of training, and of a probe; what is found on a batch's pieces
      is added up, each weighted by its terms. None for whole batches.
    - `precision`: bf16 is torch's autocast around the forward pass, with weights in float32; tf32 rounds the factors
      of products on an NVIDIA GPU.
    - `compile`: the model runs through torch.compile.
    - `recompute`: activations are recomputed in the backward pass, block by block.
    - `processes`: how many processes, each with a device or CPU cores of its own, share the examples of a batch.
    """

    micro_batch: int | None = None
    precision: Precision = "float32"
    compile: bool = False
    recompute: bool = False
    processes: int = 1


AS_WRITTEN = TrainingSettings()


@dataclass(frozen=True)
class Run:
    """One arm on one task with one seed: everything that decides the numbers, and nothing else.

    `trial_of` is the arm that this run helps to tune, empty for a run that is reported: a label, as the names are.
    """

    spec: str = field(metadata=_LABEL)
    task: Choice
    arm: Arm
    budget: Budget
    seed: int
    measure: Measure
    device: str = "cpu"  # cpu, cuda, cuda:N or mps; never auto
    threads: int = 1
    data: str = ""  # SHA-256 of what the task reads from the user's disk; empty where it makes its own
    training: TrainingSettings = AS_WRITTEN
    trial_of: str = field(default="", metadata=_LABEL)

    @cached_property  # each reader of ten thousand runs asks for it, and a hash of a whole description takes its time
    def key(self) -> str:
        """The run's identity: 12 hex digits of the SHA-256 of what decides its numbers.

        Labels, such as the names of the spec, the task and the arm, and which of several equal GPUs did the work do not
        matter: they are left out. What is recorded is let in, so that a new probe is a new run; a ghost's name is the
        name of its direction. A field at its default is left out, so that an option that comes later renames no run.
        """
        described = _described(self)
        del described["arm"]["name"]
        if "device" in described:
            described["device"] = self.device.partition(":")[0]
        described["method"] = METHOD
        text = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.task.name}/{self.arm.name}/seed {self.seed}"


@cache
def _keyed(kind: type) -> Mapping[str, Any]:
    """The fields of a dataclass that are in the key, by name, each with its default; MISSING where it has none."""
    return {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(kind)
        if "label" not in each.metadata
    }


def _described(thing: Any) -> dict[str, Any]:
    """What a dataclass says for the key, the dataclasses in it as well: labels and defaults are left out."""
    kind: type = type(thing)
    values = ((name, getattr(thing, name), default) for name, default in _keyed(kind).items())
    return {name: _plain(value) for name, value, default in values if value != default}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _described(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return dict(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 12 and 12.0 are one budget


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a run was made.

    Runs may agree bit for bit under one `numerics_id`; times may be compared under one `machine_id`. `side_by_side` is
    how many runs the supervisor allowed at once on this machine.
    """

    clipbench: str
    python: str
    torch: str
    device: str
    device_name: str
    threads: int
    side_by_side: int
    numerics: Mapping[str, Scalar]
    machine: Mapping[str, Scalar]
    numerics_id: str
    machine_id: str


# What a record has fingerprints of, by these names: hex SHA-256 over dtypes, shapes and bytes. Under one numerics_id
# they are equal for all arms of a task and seed, or the comparison is not one.
INITIAL_WEIGHTS, FIRST_BATCHES = "initial weights", "first batches"
EVALUATION_BATCHES, PROBE_BATCHES = "evaluation batches", "probe batches"

# Whose remarks a record may have beside those of its probes.
CODE = "code"  # files of the user's that ran and are not in the key: "code unknown: x.py"
DATA = "data"  # files that the task opened and no fingerprint covers: "data unknown: x.csv"
TRAINING = "training"  # how a step is computed
RESUME = "resume"  # what an interruption would cost
LIFE = "life"  # an arm that may not do what its spec says, or went dead or foreign on the way


@dataclass(frozen=True, slots=True)
class Change:
    """The evaluation loss at step 0 and at the end, with the standard error of their difference.

    The error is over the evaluation batches, paired and weighted as the losses are; NaN where there is one batch.
    """

    first: float
    last: float
    error: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, as facts. Diverged: a loss was not finite, at `non_finite_step`; failed: a crash.

    Whether a run that ended above its start counts as diverged is for its reader to say, by `change`. `fingerprints`
    are of the weights and batches that the run began with; `loaded` says what a name from a hub stood for (a
    repository's commit). Runs made before these were recorded have neither.

    `step_seconds` is the median over steps; `first_step_seconds` holds warm-up and is shown apart. `effective`
    is the optimizer's configuration as observed in its parameter groups, not as the spec said it; `groups` has the
    names of the parameters that each group of the arm took. A probe that failed cost its own rows and not the run:
    `failed_probes` says which and why. `remarks` has what a probe says of how it measured, such as its engine, and says
    where ghosts had to be kept in the host's memory.

    `state_bytes` is what the optimizer keeps between steps; `peak_bytes` the most memory the run held: allocated on a
    GPU, resident in the process elsewhere. On a GPU `train_peak_bytes` and `train_reserved_bytes` are what torch has
    allocated and reserved for training steps alone, without probes and ghosts; None where every step had some.
    `started` is when its process began, in seconds since 1970. `step_flops` are the floating-point operations of a step
    on the first batch, as torch counts them: products and convolutions alone. `passes` are the forward and backward
    passes of all steps. Runs made before these were recorded have 0 for `started` and None for the others.
    `attention` names the kernels by which torch's attention is computed in a step (flash, memory-efficient, cudnn,
    math), as seen before step 0; empty for a model that computes attention itself, or has none. `resumed_at` are the
    steps at which the run went on from a checkpoint, in a process of its own each time.
    """

    status: Literal["finished", "diverged", "failed"]
    reason: str = ""
    steps: int = 0
    samples: int = 0
    tokens: int = 0
    epochs: float = 0.0
    train_seconds: float = 0.0
    step_seconds: float = 0.0
    first_step_seconds: float = 0.0
    wall_seconds: float = 0.0
    weights_sha256: str = ""
    ledger: Mapping[LedgerRow, float] = field(default_factory=dict)
    effective: Options = field(default_factory=dict)
    failed_probes: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    state_bytes: int | None = None
    peak_bytes: int | None = None
    train_peak_bytes: int | None = None
    train_reserved_bytes: int | None = None
    started: float = 0.0
    step_flops: int | None = None
    passes: int | None = None
    non_finite_step: int | None = None
    change: Change | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)
    attention: str = ""
    resumed_at: tuple[int, ...] = ()


Status = Literal["finished", "diverged", "failed", "unfinished"]


@dataclass(frozen=True, slots=True)
class Record:
    """A run's folder, read: `outcome` is None while the run is unfinished.

    `key` is the run's identity as it was when the run was made; empty for a record that was not read from a folder.
    `format` is that of its file: a run of an earlier format than FORMAT is never a planned run's result.
    """

    run: Run
    environment: Environment | None = None
    outcome: Outcome | None = None
    measurements: Measurements = NOTHING
    folder: str = ""
    key: str = ""
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """The key the run was made under, which its file says; it takes long to work out for thousands of runs."""
        return self.key or self.run.key

    @property
    def status(self) -> Status:
        """How the run ended; `unfinished` without an outcome."""
        return self.outcome.status if self.outcome else "unfinished"

    @property
    def weights(self) -> str:
        """The hash of the final weights; empty if the run left none."""
        return self.outcome.weights_sha256 if self.outcome else ""
