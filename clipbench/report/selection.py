"""Sentences about selected settings: for the line after a run, the plan and the tables."""

from clipbench.judging.tuning.summary import ArmTuning
from clipbench.judging.tuning.trials import edges
from clipbench.judging.words import count, number
from clipbench.planning.extending import EXTENSIONS
from clipbench.quantities import FINAL_LOSS, SECONDS_TO_TARGET, STEPS_TO_TARGET
from clipbench.questions import Question
from clipbench.records import Options

PLAIN = (FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET)  # of what else settings are selected by, the value is told


def selection_line(tuning: ArmTuning) -> str:
    """`sgd on code_lm: selected lr=0.3 from 4 trials, loss 2.95; lr is the highest value tried: not bracketed`."""
    head = f"{tuning.arm} on {tuning.task}: "
    if tuning.selected is None:
        left = tuning.trials - tuning.ended
        with_what = "" if tuning.selected_by in PLAIN else f" with a value of {tuning.selected_by}"
        why = f"{count(left, 'trial')} not ended"
        if not left:
            why = f"none of {count(tuning.trials, 'trial')} finished{with_what}"
        return f"{head}nothing selected ({why})"
    trials, loss = count(tuning.trials, "trial"), number(tuning.loss.mean, 4)
    by = "" if tuning.selected_by in PLAIN else f"{tuning.selected_by} {number(tuning.value.mean, 4)}, "
    selected = f"{head}selected {settings_text(tuning.selected)} from {trials}, {by}loss {loss}"
    crashed = [f"{count(tuning.crashed, 'trial')} crashed"] if tuning.crashed else []
    beyond = [f"{setting} is the {at} value tried: not bracketed" for setting, at in tuning.edges.items()]
    return "; ".join([selected, *crashed, *beyond])


def beyond_the_edge(question: Question, *, extended: bool) -> str:
    """Advice about selected values at the edge of what was tried; empty if there are none.

    Args:
        question: what was tuned, and how.
        extended: whether --extend-grid was given.
    """
    tuning = question.tuning
    if tuning is None or not any(edges(tuned) for tuned in tuning.arms):
        return ""
    if tuning.search != "grid":
        return "a selected value is not bracketed: widen the search spaces in the spec"
    if max(len(tuned.trials) - tuned.planned for tuned in tuning.arms) >= EXTENSIONS:
        return f"a selected value is not bracketed after {EXTENSIONS} extra trials per arm: widen the grids in the spec"
    if extended:
        return "a selected value is not bracketed, and --extend-grid can add no trial to every arm: widen the grids"
    return f"a selected value is not bracketed: --extend-grid adds up to {EXTENSIONS} trials per arm"


def settings_text(options: Options) -> str:
    """`lr=0.3, clip.fraction=0.1`."""
    return ", ".join(
        f"{name}={number(value, 4) if isinstance(value, float) else value}" for name, value in options.items()
    )
