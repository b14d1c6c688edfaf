"""The report of a run: its end, loss curve, times, configuration and environment."""

import math
from collections.abc import Mapping, Sequence

from clipbench.judging.words import listing, number
from clipbench.measurements import Measurement, Measurements
from clipbench.quantities import is_metric
from clipbench.records import (
    AS_WRITTEN,
    CODE,
    DATA,
    EVAL_LOSS,
    LEARNING_RATE,
    LIFE,
    RESUME,
    TRAIN_SLICE_LOSS,
    TRAINING,
    TRAINING_POINT_LOSS,
    Change,
    ClipSettings,
    Environment,
    Outcome,
    Record,
    Schedule,
)
from clipbench.report import groups
from clipbench.report.numbers import seconds
from clipbench.report.table import Column, Document, DocumentPart, Paragraph, Table, facts, text_column
from clipbench.report.training import described

_BARS = "▁▂▃▄▅▆▇█"
_NOT_FINITE = "x"
_WIDTH = 60
_LOG_LINES = 20
_SHORT = 12  # digits of a hash
_OF_THE_RUN = (CODE, DATA, TRAINING, RESUME, LIFE)


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """A curve in one line of text: the least value is the lowest bar, the greatest the highest.

    A value that is not finite is shown as x. Of more than `width` values as many are shown, evenly spaced, with
    the first and the last among them.
    """
    if len(values) > width:
        last = len(values) - 1
        values = [values[round(i * last / (width - 1))] for i in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return _NOT_FINITE
        # halves first: the difference of two huge numbers may overflow
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]

    return "".join(map(bar, values))


def document(record: Record, *, log: str = "") -> Document:
    """The whole report of a run.

    Args:
        record: the run.
        log: what its process wrote; the last lines are shown.
    """
    outcome = record.outcome
    parts: list[DocumentPart] = [
        facts(_described(record), title=str(record.run)),
        *_groups(record),
        facts(_outcome(record), title="Outcome", indent=2),
        Paragraph(_curve(record.measurements.series("", EVAL_LOSS)), title="Evaluation loss", indent=2),
    ]
    if curve := record.measurements.series("", TRAINING_POINT_LOSS):
        parts.append(Paragraph(_curve(curve), title="Evaluation loss where gradients are taken", indent=2))
    parts += _metrics(record.measurements)
    if outcome:
        parts += [
            _ledger(outcome),
            *_facts("Remarks on the run", _remarks(outcome)),
            *_facts("Initial weights, batches and downloads", _began(outcome)),
            *_facts("Remarks of the probes", _probes(outcome)),
            facts(_texts(outcome.effective), title="Configuration as observed in the optimizer", indent=2),
        ]
    if record.environment:
        parts.append(facts(_environment(record.environment), title="Environment", indent=2))
    if log.strip():
        tail = "\n".join(log.rstrip().splitlines()[-_LOG_LINES:])
        parts.append(Paragraph(tail, title="End of the log", indent=2, preformatted=True))
    return Document(parts)


def _metrics(measured: Measurements) -> list[DocumentPart]:
    """The curves of the slice of training data and of the task's metrics."""
    there = [name for direction, name in measured.places if not direction and is_metric(name, measured.layout)]
    titles = {name: name for name in there if name not in (EVAL_LOSS, TRAINING_POINT_LOSS, LEARNING_RATE)}
    titles |= {name: "Loss of the slice of training data" for name in titles if name == TRAIN_SLICE_LOSS}
    curves = {title: measured.series("", name) for name, title in titles.items()}
    return [Paragraph(_curve(curve), title=title, indent=2) for title, curve in curves.items()]


def _described(record: Record) -> dict[str, str]:
    run, arm = record.run, record.run.arm
    return {
        "key": record.identity,
        "folder": record.folder or "not stored",
        "task": f"{run.task.use} {_options(run.task.options)}".strip(),
        "optimizer": f"{arm.optimizer.use} {_options(arm.optimizer.options)}".strip(),
        **(
            {"around it": ", ".join(f"{each.use} {_options(each.options)}".strip() for each in arm.wrap)}
            if arm.wrap
            else {}
        ),
        "clip": _clip(arm.clip) if arm.clip else "none",
        "schedule": _schedule(arm.schedule),
        "budget": str(run.budget),
        **({"training": described(run.training)} if run.training != AS_WRITTEN else {}),
        **(
            {"curvature": f"{run.measure.precision} on a GPU that has it, else float32"}
            if run.measure.precision != "float32"
            else {}
        ),
    }


def _schedule(schedule: Schedule) -> str:
    if schedule.code:
        return schedule.use
    decay = f", decay {schedule.decay:g}" if schedule.decay else ""
    return f"{schedule.use}, warm-up {schedule.warmup:g}{decay}, final {schedule.final:g}"


def _groups(record: Record) -> list[DocumentPart]:
    """The groups of the arm, where it has some; what each took is known once the run has ended."""
    arm = record.run.arm
    taken = record.outcome.groups if record.outcome else {}
    options = {group.name: _options(group.optimizer.options) for group in arm.groups}
    if not arm.groups:
        return []
    of_groups = groups.rows(record.run.task.name, arm, taken)
    return [groups.table(of_groups, of_a_run=True), *_facts("Options of the groups", options)]


def _remarks(outcome: Outcome) -> dict[str, str]:
    """Remarks by subject, without repeating the subject: "code unknown: x.py" becomes "unknown: x.py" under "code"."""
    return {
        whose: "; ".join(text.removeprefix(f"{whose} ") for text in outcome.remarks[whose])
        for whose in _OF_THE_RUN
        if outcome.remarks.get(whose)
    }


def _began(outcome: Outcome) -> dict[str, str]:
    """Short fingerprints, and the commits of what was loaded from a hub."""
    return {name: value[:_SHORT] for name, value in outcome.fingerprints.items()} | dict(outcome.loaded)


def _probes(outcome: Outcome) -> dict[str, str]:
    failed = {probe: f"failed {reason}" for probe, reason in outcome.failed_probes.items()}
    remarks = {probe: "; ".join(texts) for probe, texts in outcome.remarks.items() if probe not in _OF_THE_RUN}
    return {probe: "; ".join(filter(None, (remarks.get(probe), failed.get(probe)))) for probe in {**remarks, **failed}}


def _clip(clip: ClipSettings) -> str:
    of_groups = f", of the groups {', '.join(clip.groups)} alone" if clip.groups else ""
    return _rule(clip) + of_groups


def _rule(clip: ClipSettings) -> str:
    if clip.rule == "threshold":
        return f"each coordinate of the gradient at {number(clip.amount)}"
    if clip.rule == "norm":
        return f"the gradient at a norm of {number(clip.amount)}"
    scope = "" if clip.scope == "global" else f", each {clip.scope} by itself"
    what = "the non-zero coordinates of the" if clip.ignore_zeros else "the"
    length = ", its length kept" if clip.scale == "norm" else ""
    return f"{number(clip.amount * 100)} % of {what} {clip.of}{scope}{length}"


def _outcome(record: Record) -> dict[str, str]:
    ended = record.outcome
    if ended is None:
        return {"status": record.status}
    facts = {"status": ended.status, "reason": ended.reason, "steps": str(ended.steps), "samples": str(ended.samples)}
    if ended.tokens:
        facts["tokens"] = str(ended.tokens)
    if ended.non_finite_step is not None:
        facts["not finite at"] = f"step {ended.non_finite_step}"
    if ended.change is not None:
        facts["change of the loss"] = _change(ended.change)
    facts |= {
        "training time": seconds(ended.train_seconds) if ended.train_seconds else "",
        "time per step": _step_time(ended) if ended.step_seconds else "",
        "wall time": seconds(ended.wall_seconds) if ended.wall_seconds else "",
        "final weights": ended.weights_sha256,
    }
    if ended.state_bytes is not None:
        facts["optimizer state"] = f"{ended.state_bytes:,} bytes"
    if ended.step_flops is not None:
        facts["FLOPs per step"] = f"{ended.step_flops:,} (products alone)"
    if ended.resumed_at:
        counted = "steps" if len(ended.resumed_at) > 1 else "step"
        facts["resumed"] = f"from a checkpoint, at {counted} {listing(ended.resumed_at)}"
    if ended.attention:
        facts["attention"] = f"by torch's kernel {ended.attention}"
    if ended.peak_bytes is not None:
        facts["peak memory"] = f"{ended.peak_bytes / 2**20:.1f} MiB"
    if ended.train_peak_bytes is not None and ended.train_reserved_bytes is not None:
        both = f"{ended.train_peak_bytes / 2**20:.1f} MiB ({ended.train_reserved_bytes / 2**20:.1f} MiB reserved)"
        facts["peak memory of training"] = both
    return {name: text for name, text in facts.items() if text}


def _step_time(ended: Outcome) -> str:
    return f"{ended.step_seconds * 1000:.4g} ms (median; first step {seconds(ended.first_step_seconds)})"


def _change(change: Change) -> str:
    """From the first evaluation to the last, with the standard error where there is one."""
    error = "one evaluation batch, no error" if math.isnan(change.error) else f"± {number(change.error, 2)}"
    return f"{change.last - change.first:+.4g} ({error})"


def _curve(curve: Sequence[Measurement]) -> str:
    if not curve:
        return "no evaluation was recorded"
    first, last = curve[0], curve[-1]
    ends = f"{number(first.value, 4)} at step {first.step} to {number(last.value, 4)} at step {last.step}"
    return f"{sparkline([each.value for each in curve])}  {ends}, {len(curve)} evaluations"


def _ledger(outcome: Outcome) -> Table[tuple[str, float]]:
    total = sum(outcome.ledger.values())
    return Table(
        name="ledger",
        title="Where the time went",
        columns=(
            text_column("row", "what the time was spent on", lambda row: row[0]),
            Column("seconds", "the time in seconds", lambda row: row[1], "seconds", lambda row: (f"{row[1]:.3f}",)),
            Column(
                "share",
                "share of the wall time",
                shown=lambda row: (f"{row[1] / total:.1%}" if total else "",),
                heading="share",
            ),
        ),
        rows=[*outcome.ledger.items(), ("all", total)],
        indent=2,
    )


def _environment(place: Environment) -> dict[str, str]:
    facts = {
        "device": f"{place.device_name} ({place.device})",
        "threads": str(place.threads),
        "parallel runs": f"up to {place.side_by_side} on this machine",
        "software": f"clipbench {place.clipbench}, Python {place.python}, torch {place.torch}",
        "numerics id": place.numerics_id,
        "machine id": place.machine_id,
    }
    return facts | {name: text for name, text in _texts(place.machine).items() if text not in ("", "None")}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _facts(title: str, values: Mapping[str, str]) -> list[DocumentPart]:
    """Facts under a title; nothing if there are none."""
    return [facts(values, title=title, indent=2)] if values else []
