"""What was selected in words: for the line after a run, the plan and the tables."""

from clipbench.judging.tuning.summary import ArmTuning
from clipbench.judging.tuning.trials import edges
from clipbench.judging.words import count, number
from clipbench.planning.extending import EXTENSIONS
from clipbench.questions import Question
from clipbench.records import Options


def selection_line(tuning: ArmTuning) -> str:
    """`sgd on code_lm: lr=0.3 of 4 trials, loss 2.95; lr is the highest value tried: not bracketed`."""
    head = f"{tuning.arm} on {tuning.task}: "
    if tuning.selected is None:
        left = tuning.trials - tuning.ended
        why = f"{count(left, 'trial')} not ended" if left else f"none of {count(tuning.trials, 'trial')} finished"
        return f"{head}nothing selected ({why})"
    said = (
        f"{head}{settings_text(tuning.selected)} of {count(tuning.trials, 'trial')}, loss {number(tuning.loss.mean, 4)}"
    )
    crashed = [f"{count(tuning.crashed, 'trial')} crashed and spent"] if tuning.crashed else []
    beyond = [f"{setting} is the {at} value tried: not bracketed" for setting, at in tuning.edges.items()]
    return "; ".join([said, *crashed, *beyond])


def beyond_the_edge(question: Question, *, extended: bool) -> str:
    """What can be done about values that are not bracketed; empty where all are.

    Args:
        question: what was tuned, and how.
        extended: the grids were to be extended, so that what is left could not be helped.
    """
    tuning = question.tuning
    if tuning is None or not any(edges(tuned) for tuned in tuning.arms):
        return ""
    if tuning.search != "grid":
        return "not bracketed: wider spaces in the spec would look beyond"
    if max(len(tuned.trials) - tuned.planned for tuned in tuning.arms) >= EXTENSIONS:
        return f"not bracketed after {EXTENSIONS} more trials an arm, the most --extend-grid makes: change the grids"
    if extended:
        return "not bracketed, and there is no further trial that every arm could be given: change the grids"
    return f"not bracketed: --extend-grid looks beyond, by up to {EXTENSIONS} more trials for every arm"


def settings_text(options: Options) -> str:
    """`lr=0.3, clip.fraction=0.1`."""
    return ", ".join(
        f"{name}={number(value, 4) if isinstance(value, float) else value}" for name, value in options.items()
    )
