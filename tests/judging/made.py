"""Records made by hand, for the tests of judging and report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from clipbench import quantities
from clipbench.budget import Budget
from clipbench.judging.compare import Asked, compare
from clipbench.judging.comparison import Comparison
from clipbench.measurements import Measurement, Measurements
from clipbench.questions import Question, Space, Trial, Tuned, Tuning
from clipbench.records import (
    CLIPPED_FRACTION,
    DIRECTIONAL_SHARPNESS,
    EVAL_LOSS,
    OWN,
    Arm,
    Choice,
    ClipSettings,
    Environment,
    Measure,
    Outcome,
    Record,
    Run,
    Schedule,
)

CONSTANT = Schedule()

HERE = Environment(
    clipbench="0.1.0",
    python="3.11.9",
    torch="2.13.0",
    device="cpu",
    device_name="Xeon at 2.2 GHz",
    threads=1,
    side_by_side=1,
    numerics={"torch": "2.13.0", "threads": 1},
    machine={"cpu": "Xeon at 2.2 GHz", "cores": 2},
    numerics_id="n1",
    machine_id="m1",
)


def run(
    arm: str = "sgd",
    *,
    seed: int = 0,
    use: str | None = None,
    lr: float = 0.1,
    clip: float | None = None,
    task: str = "code_lm",
    schedule: Schedule = CONSTANT,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Run:
    use = use or arm.partition("+")[0]
    optimizer = Choice(use, use, f"clipbench.optimizers.{use}:build", {"lr": lr, **(options or {})})
    made = Run(
        spec="quickstart",
        task=Choice(task, task, f"clipbench.tasks.{task}:build"),
        arm=Arm(arm, optimizer, None if clip is None else ClipSettings(clip), schedule),
        budget=Budget(200, "steps"),
        seed=seed,
        measure=Measure(evaluate_every=50, probe_every=50),
    )
    return replace(made, **changes)


def record(
    of: Run,
    losses: Sequence[float] | Mapping[int, float],
    *,
    sharpness: Sequence[float] = (),
    clipped: Sequence[float] = (),
    step_seconds: float = 0.01,
    status: Literal["finished", "diverged", "failed", "unfinished"] = "finished",
    reason: str = "",
    environment: Environment | None = HERE,
) -> Record:
    """A run with its evaluation losses (a plain sequence is taken at steps 0, 50, 100, …)."""
    curve = losses if isinstance(losses, Mapping) else {50 * i: loss for i, loss in enumerate(losses)}
    measured = [Measurement(step, step * step_seconds, "", EVAL_LOSS, loss) for step, loss in curve.items()]
    for direction, quantity, values in (
        (OWN, DIRECTIONAL_SHARPNESS, sharpness),
        ("", CLIPPED_FRACTION, clipped),
    ):
        measured += [Measurement(50 * i, 0.0, direction, quantity, value) for i, value in enumerate(values)]
    outcome = None
    if status != "unfinished":
        outcome = Outcome(
            status,
            reason,
            steps=200,
            samples=1600,
            train_seconds=200 * step_seconds,
            step_seconds=step_seconds,
            first_step_seconds=2 * step_seconds,
            wall_seconds=3.0,
            weights_sha256=f"{of.arm} {of.task} {of.seed} {curve}",
            ledger={"data": 0.5, "train": 2.0, "other": 0.5},
            effective={"lr": 0.1},
        )
    return Record(of, environment, outcome, Measurements.of(measured), f"results/quickstart/{of}")


def with_rows(of: Record, rows: Iterable[Measurement]) -> Record:
    """The record with further measurements."""
    return replace(of, measurements=Measurements.of((*of.measurements, *rows)))


def with_metric(of: Record, values: Sequence[float], name: str = "accuracy") -> Record:
    """The record with a metric of its task, at steps 0, 50, 100, … as its evaluations."""
    rows = (Measurement(50 * place, 0.5 * place, "", name, value) for place, value in enumerate(values))
    return with_rows(of, rows)


def ending(of: Record, **changes: Any) -> Record:
    """The record, ended otherwise."""
    assert of.outcome is not None
    return replace(of, outcome=replace(of.outcome, **changes))


def copied(records: Sequence[Record], seeds: Mapping[int, int]) -> list[Record]:
    """The records, and copies of some under other seeds: the same numbers and the same weights.

    `seeds` has the seed that is copied, by the seed of the copy.
    """
    return [
        *records,
        *(
            replace(each, run=replace(each.run, seed=copy))
            for copy, seed in seeds.items()
            for each in records
            if each.run.seed == seed
        ),
    ]


def question(*arms: str, baseline: str = "sgd", target: float | None = None) -> Question:
    text = "Does coordinate-wise clipping lower directional sharpness, and does that buy speed?"
    return Question("quickstart", text, arms or ("sgd", "sgd+clip"), baseline, target)


def compared(
    records: Sequence[Record], asks: Question, metric: str = quantities.FINAL_LOSS, **changes: Any
) -> Comparison:
    """The records compared in this metric, and with what else is asked."""
    return compare(records, asks, Asked(metric=quantities.asked(metric, records), **changes))


def quickstart() -> list[Record]:
    """Three seeds of sgd, its clipped twin and adam, with numbers that can be worked out by hand.

    Final losses: sgd 3.0, 3.2, 3.1; sgd+clip 2.9, 3.0, 3.0; adam 2.5, 2.6, and diverged on seed 2.
    """
    sgd = [(3.0, [4.0, 1.0, -1.0]), (3.2, [2.0, 2.0, 0.0]), (3.1, [1.0, 4.0, 2.0])]
    clip = [(2.9, [0.4, 0.1]), (3.0, [0.2, 0.2]), (3.0, [0.1, 0.4])]
    records = []
    for seed in range(3):
        loss, sharpness = sgd[seed]
        records.append(record(run("sgd", seed=seed), [5.5, 4.0, 3.5, loss], sharpness=sharpness))
        loss, sharpness = clip[seed]
        records.append(
            record(
                run("sgd+clip", seed=seed, lr=1.0, clip=0.1),
                [5.5, 3.4, 3.2, loss],
                sharpness=sharpness,
                clipped=[0.1, 0.1],
                step_seconds=0.012,
            )
        )
    for seed, loss in enumerate((2.5, 2.6)):
        records.append(record(run("adam", seed=seed, lr=0.003), [5.5, 3.0, 2.8, loss]))
    diverged = record(
        run("adam", seed=2, lr=0.003), [5.5, 2.0, 9.0], status="diverged", reason="the loss is nan at step 120"
    )
    return [*records, diverged]


def trial(arm: str = "sgd", *, lr: float, seed: int = 1000, **changes: Any) -> Run:
    """One run of a trial, as a plan makes it."""
    return run(f"{arm}[lr={lr:g}]", use=arm, lr=lr, seed=seed, trial_of=arm, **changes)


def tuning(
    rates: Mapping[str, Sequence[float]],
    *,
    seeds: tuple[int, ...] = (1000,),
    selected: Mapping[str, float] | None = None,
    **changes: Any,
) -> Tuning:
    """A grid of rates for each arm on code_lm, and which of them were selected."""
    arms = []
    for arm, grid in rates.items():
        trials = tuple(Trial({"lr": lr}, tuple(trial(arm, lr=lr, seed=seed).key for seed in seeds)) for lr in grid)
        chosen = {"lr": selected[arm]} if selected and arm in selected else None
        arms.append(Tuned("code_lm", arm, (Space("lr", tuple(grid)),), trials, len(grid), chosen))
    return replace(Tuning(seeds, "grid", "eval_loss", tuple(arms)), **changes)


def trials(arm: str, losses: Mapping[float, float], *, seed: int = 1000) -> list[Record]:
    """A finished run for each rate, with its final loss; a loss that is not finite has diverged."""
    return [
        record(trial(arm, lr=lr, seed=seed), [5.0, loss], status="finished" if loss < 5.0 else "diverged")
        for lr, loss in losses.items()
    ]
