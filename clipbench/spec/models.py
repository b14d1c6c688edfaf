"""A spec as it is written: which keys there are and what may stand under each.

Options of tasks, optimizers and probes are left open here; the catalogue knows them.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, Strict, Tag, model_validator

from clipbench.budget import UNITS, Budget
from clipbench.harmless import shortened
from clipbench.quantities import FINAL_LOSS, RESERVED
from clipbench.questions import DIVERGED, Search, Side, Target
from clipbench.records import EVAL_LOSS, OF_EVALUATIONS, CurvaturePrecision, Precision, TrainingSettings
from clipbench.spec.arms import ArmEntry, ArmName, ScheduleField
from clipbench.spec.limits import LARGEST, LARGEST_SEED, MOST_PROCESSES, MOST_SEEDS, MOST_SETTINGS, MOST_THREADS
from clipbench.spec.shapes import BY_SHAPE, CLOSED, MAPPING_OR_VALUE, WITH_OPTIONS, distinct, each_once, one_of

StepCount = Annotated[int, Field(ge=1, le=LARGEST)]
BudgetFraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
SeedList = Annotated[
    tuple[Seed, ...], Strict(False), Field(min_length=1, max_length=MOST_SEEDS), AfterValidator(distinct)
]


class Use(BaseModel):
    """A probe by name, or "package:attribute" for one from elsewhere, with its options beside it.

    `options` has the options whose names are keys of the entry.
    """

    model_config = WITH_OPTIONS
    use: str
    options: dict[str, Any] = {}


NameOrUse = Annotated[
    Annotated[str, Tag("as a value")] | Annotated[Use, Tag("as a mapping")],
    MAPPING_OR_VALUE,
]


class BudgetSettings(BaseModel):
    """How much every run may use, in exactly one unit.

    `epochs` are passes through the training examples, where the task says how many there are; `seconds` are seconds of
    training time.
    """

    model_config = CLOSED
    steps: int | None = Field(default=None, gt=0, le=LARGEST)
    samples: int | None = Field(default=None, gt=0, le=LARGEST)
    tokens: int | None = Field(default=None, gt=0, le=LARGEST)
    epochs: float | None = Field(default=None, gt=0, le=LARGEST)
    seconds: float | None = Field(default=None, gt=0, le=LARGEST)

    @model_validator(mode="after")
    def _exactly_one(self) -> "BudgetSettings":
        one_of(self, UNITS, what="a budget is in")
        return self

    def as_budget(self) -> Budget:
        """The budget as it is counted."""
        unit = one_of(self, UNITS, what="a budget is in")
        return Budget(float(getattr(self, unit)), unit)


class EvaluateSettings(BaseModel):
    """When to evaluate on held-out batches: every so many steps, and from which rise of the loss a run has diverged.

    A run that ends above its start has diverged where the rise is more than the share `diverged` of the first loss's
    size, and more than three standard errors. It says how runs are read, and makes none again.
    """

    model_config = CLOSED
    every: StepCount = 20
    diverged: float = Field(default=DIVERGED, gt=0)


class TaskEvaluation(BaseModel):
    """When to evaluate the runs of one task: every so many steps."""

    model_config = CLOSED
    every: StepCount


class TargetSettings(BaseModel):
    """What arms race to; reached where so many `consecutive` evaluations meet it.

    An evaluation `loss` is met at or below it. A `quantity` that evaluations record, such as a metric of the task, is
    met where it is `at_least` or `at_most` so much.
    """

    model_config = CLOSED
    loss: float | None = None
    quantity: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    consecutive: StepCount = 1

    @model_validator(mode="after")
    def _loss_or_quantity(self) -> "TargetSettings":
        one_of(self, ("loss", "quantity"), what="a target has")
        if self.quantity is None:
            if self.at_least is not None or self.at_most is not None:
                raise ValueError("a loss is reached from above; `at_least` and `at_most` are of a `quantity`")
            return self
        if not self.quantity.strip():
            raise ValueError("`quantity` is empty; name a metric of the task")
        if self.quantity in (EVAL_LOSS, FINAL_LOSS):
            raise ValueError("write the evaluation loss to reach as `target: {loss: 2.8}`")
        if "@" in self.quantity:
            plain = shortened(self.quantity.partition("@")[0], 60)
            raise ValueError(f"a target is read at evaluations, which have no direction: write `quantity: {plain}`")
        one_of(self, ("at_least", "at_most"), what=f"a target of {shortened(self.quantity, 60)!r} has")
        if self.quantity in RESERVED and self.quantity not in OF_EVALUATIONS:
            raise ValueError(f"no evaluation records {self.quantity}; name a metric of the task, or a loss")
        return self

    def as_target(self) -> Target:
        """The target as its readers have it."""
        return Target(self.loss, self.consecutive, self.quantity or "", self.at_least, self.at_most)


class TaskSettings(BaseModel):
    """A task as `use` has it. What it says of `budget`, `target` and `evaluate` holds for its runs alone.

    `options` has the options whose names are keys of the entry.
    """

    model_config = WITH_OPTIONS
    use: str
    budget: BudgetSettings | None = None
    target: TargetSettings | None = None
    evaluate: TaskEvaluation | None = None
    options: dict[str, Any] = {}


NameOrTask = Annotated[
    Annotated[str, Tag("as a value")] | Annotated[TaskSettings, Tag("as a mapping")],
    MAPPING_OR_VALUE,
]


def _default_probes() -> list[str | Use]:
    return ["sharpness"]


ArmNames = Annotated[
    Annotated[Literal["all"], Tag("as a value")]
    | Annotated[list[str], Field(min_length=1), AfterValidator(each_once), Tag("as a list")],
    BY_SHAPE,
]


class GhostSettings(BaseModel):
    """Arms whose steps are tried, and undone, at every point of other arms' paths: `along` whose, and `of` whom.

    `only`: the arms that are not among `along` make no runs of their own.
    """

    model_config = CLOSED
    along: ArmNames
    of: ArmNames = "all"
    only: bool = False


class MeasureSettings(BaseModel):
    """Which probes to run, and when: `every` so many steps, or `at` fractions of the budget, 1 being its last step.

    `precision: tf32` computes curvature by products in TF32, on NVIDIA GPUs; elsewhere it is float32.
    """

    model_config = CLOSED
    every: StepCount = 50
    at: Annotated[list[BudgetFraction], Field(min_length=1), AfterValidator(each_once)] | None = None
    probes: list[NameOrUse] = Field(default_factory=_default_probes)
    ghosts: GhostSettings | None = None
    precision: CurvaturePrecision = "float32"

    @model_validator(mode="after")
    def _every_or_at(self) -> "MeasureSettings":
        if self.at is not None and "every" in self.model_fields_set:
            raise ValueError("probes run `every` so many steps or `at` fractions of the budget, not both")
        if self.ghosts is not None and not self.probes:
            raise ValueError("`ghosts` are only seen by probes, and there are none; name some, or take the ghosts out")
        return self


class SelectSettings(BaseModel):
    """What trials are selected by: a `quantity` that they record, and which side of it is `better`."""

    model_config = CLOSED
    quantity: str
    better: Side | None = None


def _no_half(precision: Any) -> Any:
    if precision in ("fp16", "float16", "half"):
        raise ValueError("fp16 needs a loss scaler, which changes what an optimizer sees; use bf16")
    return precision


class TrainingSection(BaseModel):
    """How a training step is computed. Evaluation and probes are in float32 whatever it says.

    `micro_batch`: the most examples in a forward pass; a larger batch is accumulated from pieces, each weighted by its
    terms. `precision`: bf16 is autocast around the forward pass, with weights in float32; tf32 is for NVIDIA GPUs.
    `compile`: through torch.compile. `recompute`: activations are recomputed in the backward pass, block by block.
    `processes`: how many processes share the examples of a batch, each on a GPU or on CPU cores of its own.
    """

    model_config = CLOSED
    micro_batch: StepCount | None = None
    precision: Annotated[Precision, BeforeValidator(_no_half)] = "float32"
    compile: bool = False
    recompute: bool = False
    processes: int = Field(default=1, ge=1, le=MOST_PROCESSES)

    def as_settings(self) -> TrainingSettings:
        """The section as a run has it."""
        return TrainingSettings(self.micro_batch, self.precision, self.compile, self.recompute, self.processes)


class TuningSettings(BaseModel):
    """How arms are tuned before they are compared: what a list or a space leaves open is tried on seeds of its own.

    `trials` is how many settings each arm is given; with a grid, how many its lists make. `select` is the quantity of
    which the best trial has the least, or the most where higher is better.
    """

    model_config = CLOSED
    seeds: SeedList
    search: Search = "grid"
    trials: int | None = Field(default=None, ge=1, le=MOST_SETTINGS)
    select: Annotated[
        Annotated[str, Tag("as a value")] | Annotated[SelectSettings, Tag("as a mapping")], MAPPING_OR_VALUE
    ] = EVAL_LOSS

    @model_validator(mode="after")
    def _drawn_as_often_as_said(self) -> "TuningSettings":
        if self.search != "grid" and self.trials is None:
            raise ValueError(f"a {self.search} search needs `trials`, the number of settings to draw for each arm")
        return self


class SpecFile(BaseModel):
    """A benchmark: optimizers compared on tasks, from the same weights, on the same batches, under one budget."""

    model_config = CLOSED
    task: Annotated[
        Annotated[str, Tag("as a value")]
        | Annotated[TaskSettings, Tag("as a mapping")]
        | Annotated[list[NameOrTask], Field(min_length=1), Tag("as a list")],
        BY_SHAPE,
    ]
    optimizers: dict[ArmName, ArmEntry] = Field(min_length=1)
    baseline: str | None = Field(default=None, description="the arm that others are compared with; the first")
    budget: BudgetSettings
    schedule: ScheduleField = "constant"
    seeds: SeedList
    training: TrainingSection = TrainingSection()
    tuning: TuningSettings | None = None
    evaluate: EvaluateSettings = EvaluateSettings()
    target: TargetSettings | None = None
    effect: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="the relative difference in final loss that there are seeds enough to show",
    )
    measure: MeasureSettings = Field(default_factory=MeasureSettings)
    quick: dict[str, Any] = Field(
        default_factory=dict,
        description="what --quick sets, by path, such as `task.size: tiny`; without a budget in it, a tenth is run",
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
