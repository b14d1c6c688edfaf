"""What SLURM's commands answer, by commands of our own in their place; what the engine makes of it without a job."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NOT_INSTALLED
from making import make_run

from clipbench import store
from clipbench.errors import ClipbenchError, Fault, SpecError, StoreError
from clipbench.running import queue
from clipbench.running.arrays import further
from clipbench.running.engines import Need, chosen

NAME = "clipbench-0123456789ab"
Fake = Callable[..., None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts commands of SLURM on the path, each of which prints a text."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(code: int = 0, **answers: str) -> None:
        for name, answer in answers.items():
            (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
            (tmp_path / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("wanted", "gres", "device"),
    [
        ("auto", "gpu:a100:4", "cuda"),
        ("auto", "(null)", "cpu"),
        ("cuda", "(null)\ngpu:2", "cuda"),
        ("cpu", "gpu:2", "cpu"),
    ],
)
def test_auto_is_a_gpu_where_the_partition_has_some(fake: Fake, wanted: str, gres: str, device: str) -> None:
    fake(sinfo=gres)
    assert chosen("slurm").resolve(wanted) == device


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("cuda", "partition old has no GPUs\n  choose another: --engine-opt partition=NAME"),
        (
            "cuda:1",
            "on SLURM no run can ask for device 'cuda:1'\n  use device: cuda, cpu or auto; SLURM chooses the GPU",
        ),
        ("mps", "on SLURM no run can ask for device 'mps'\n  use device: cuda, cpu or auto; SLURM chooses the GPU"),
    ],
)
def test_a_device_that_slurm_cannot_give_is_refused(fake: Fake, wanted: str, message: str) -> None:
    fake(sinfo="(null)")
    with pytest.raises(ClipbenchError) as refused:
        chosen("slurm", ["partition=old"]).resolve(wanted)
    assert str(refused.value) == message


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClipbenchError, match="there is no SLURM here: `sinfo` is not installed"):
        chosen("slurm").resolve("auto")


def test_a_controller_that_does_not_answer_is_told_so(fake: Fake) -> None:
    fake(code=1, squeue="")
    with pytest.raises(ClipbenchError, match="SLURM does not answer: no reason given"):
        queue.entries()


def test_the_queue_has_jobs_of_clipbench_that_have_not_ended(fake: Fake) -> None:
    lines = [
        f"7_0|R|{NAME}",
        f"7_12|PD|{NAME}",
        f"7_3|CG|{NAME}",
        f"9|R|{NAME.replace('0', 'a')}",
        "10|R|sleep",
        f"11|R|{NAME}; rm -rf",
        "no line at all",
    ]
    fake(squeue="\n".join(lines))
    assert {place: (each.id, each.is_waiting) for place, each in queue.entries().items()} == {
        (NAME, 0): ("7_0", False),
        (NAME, 12): ("7_12", True),
        (NAME.replace("0", "a"), 0): ("9", False),
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("minutes=0", "--engine-opt minutes=0: input should be greater than or equal to 1"),
        ("partitoin=gpu", "the engine slurm has no option 'partitoin'\n  its options are partition"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, message: str) -> None:
    with pytest.raises(ClipbenchError) as refused:
        chosen("slurm", [option])
    assert str(refused.value).startswith(message)


def test_further_options_are_those_of_sbatch_in_full() -> None:
    assert further("--reservation=mine --exclusive --comment='two words'") == {
        "reservation": "mine",
        "exclusive": True,
        "comment": "two words",
    }
    with pytest.raises(ClipbenchError, match="'-p' is no long option of sbatch"):
        further("-p gpu")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ClipbenchError, match="needs submitit, which is not installed") as refused:
        chosen("slurm").build(Need("cpu", 1))
    assert refused.value.remedy == "pip install 'clipbench[slurm]'"


def test_with_a_limit_the_first_runs_are_one_array(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason=f"{NOT_INSTALLED}submitit")
    monkeypatch.chdir(tmp_path)
    fake(squeue="", scontrol="MaxArraySize            = 5", srun="")
    with chosen("slurm").build(Need("cpu", 1), jobs=2) as engine:
        assert (engine.capacity(), engine.about) == (5, "2 at a time on SLURM")
        handle = engine.submit(tmp_path / "run")
        assert (engine.capacity(), engine.begun(handle), engine.poll(handle)) == (4, False, None)
        engine.cancel(handle, kill=True)
        assert engine.poll(handle) == -9
    with pytest.raises(ClipbenchError, match="on SLURM every run has a GPU of its own"):
        chosen("slurm").build(Need("cuda", 1, together=2))


def test_jobs_that_slurm_does_not_take_are_an_error_with_its_words(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason=f"{NOT_INSTALLED}submitit")
    monkeypatch.chdir(tmp_path)
    fake(squeue="", scontrol="MaxArraySize = 5", srun="")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: none' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    run = make_run()
    folder = store.folder_of(run, tmp_path)
    store.describe(run, folder)
    with chosen("slurm").build(Need("cpu", 1)) as engine:
        engine.submit(folder)
        with pytest.raises(ClipbenchError, match="SLURM does not take the jobs: invalid partition specified: none"):
            engine.wait(0.0)
    assert not [*tmp_path.glob(".clipbench-slurm/*")]


@pytest.mark.parametrize("name", ["clipbench-0123", "sleep", f"{NAME}\n", f"{NAME}0", 7])
def test_a_strangers_job_is_none(tmp_path: Path, name: object) -> None:
    (tmp_path / store.JOB).write_text(json.dumps({"name": name, "index": 0}))
    assert store.read_job(tmp_path) is None


def test_a_job_is_remembered_as_it_was_written(tmp_path: Path) -> None:
    store.write_job(tmp_path, NAME, 3)
    assert store.read_job(tmp_path) == {"name": NAME, "index": 3}
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / store.JOB).symlink_to(tmp_path / store.JOB)
    assert store.read_job(tmp_path / "link") is None


@pytest.mark.parametrize(
    "error",
    [
        StoreError("it is damaged", where="run.json", remedy="delete it"),
        SpecError("good.yaml", [Fault("no such task", "good.yaml", 2, 7, "task: none")]),
    ],
)
def test_an_error_of_a_job_is_raised_here_as_it_was_there(error: ClipbenchError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
