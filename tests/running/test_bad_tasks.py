"""What a task, a GPU or its memory does to a run: the row is the run's own, and says what was wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run, outcome_of
from running.working import made

from clipbench import store
from clipbench.errors import DONE
from clipbench.records import Choice, Record, Run, TrainingSettings
from clipbench.running.evaluation import evaluate
from clipbench.running.memory import OutOfMemoryError, stepping_on
from clipbench.running.worker import work

CPU = torch.device("cpu")


def described(name: str, training: TrainingSettings | None = None, **options: Any) -> Run:
    task = Choice(name, name, f"faulty:{name}", options)
    return make_run(task=task, training=training or TrainingSettings())


def failed(run: Run, results: Path) -> Record:
    record = made(run, results)
    assert outcome_of(record).status == "failed"
    return record


NOT_ONE_NUMBER = "the task's loss 'unaveraged.<locals>.loss_of_each' returned a tensor of shape (16,), not a 0-d tensor"
RAN_OUT = "OutOfMemoryError: memory ran out in a training step on"
TOLD = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (described("unaveraged"), NOT_ONE_NUMBER),
        (described("mislabelled"), "IndexError: Target 2 is out of bounds"),
        (described("unplugged"), "AcceleratorError: CUDA error: device is lost"),
        (
            described("too_large", most=15),
            f"{RAN_OUT} 16 examples at a time: set training.micro_batch to 8 or less; {TOLD}",
        ),
        (
            described("too_large", TrainingSettings(micro_batch=4), most=3),
            f"{RAN_OUT} 4 examples at a time: set training.micro_batch to 2 or less; {TOLD}",
        ),
        (
            described("too_large", TrainingSettings(micro_batch=1), most=0),
            f"{RAN_OUT} 1 example at a time: set training.recompute, or let the task make shorter examples; {TOLD}",
        ),
        (
            described("too_large", most=16, evaluated=15),
            "memory ran out in an evaluation of 16 examples at a time: let the task make smaller batches; " + TOLD,
        ),
    ],
    ids=lambda value: "" if isinstance(value, Run) else value[:30],
)
def test_a_failure_is_told_in_the_runs_own_row(run: Run, reason: str, tmp_path: Path) -> None:
    assert reason in outcome_of(failed(run, tmp_path)).reason


def test_what_the_row_says_would_fit_does_fit(tmp_path: Path) -> None:
    record = made(described("too_large", TrainingSettings(micro_batch=8), most=8), tmp_path)
    assert outcome_of(record).status == "finished"


def test_a_device_that_fails_later_leaves_the_steps_before_it_in_the_row(tmp_path: Path) -> None:
    record = failed(described("unplugged"), tmp_path)
    assert outcome_of(record).steps == 6
    assert record.measurements.series("", "eval_loss")


def test_a_gpu_that_is_gone_before_a_run_begins_is_the_runs_own_row(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    run = make_run()
    folder = store.folder_of(run, tmp_path)
    store.describe(run, folder)
    assert work(folder, device="cuda:0", named="cuda:3", side_by_side=1, stop=lambda: False) == DONE
    outcome = outcome_of(store.read(folder))
    assert outcome.status == "failed"
    assert outcome.reason.startswith("the device cuda:3 is not there, or not any more: ")


def test_a_loss_of_one_number_in_a_list_serves_as_it_did() -> None:
    from faulty import noisy

    problem = noisy(0, CPU)
    as_list = type(problem)(**{**vars(problem), "loss": lambda model, batch: problem.loss(model, batch)[None]})
    assert evaluate(as_list).loss == evaluate(problem).loss


def test_where_blocks_are_recomputed_already_shorter_examples_are_left() -> None:
    said = "0 examples at a time: let the task make shorter examples or a smaller"
    with pytest.raises(OutOfMemoryError, match=said), stepping_on([], TrainingSettings(recompute=True)):
        raise torch.OutOfMemoryError("no memory")


def test_another_error_passes_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"^no memory of that$"), stepping_on([], TrainingSettings()):
        raise RuntimeError("no memory of that")
