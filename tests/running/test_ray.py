"""Ray for real: a cluster of two nodes on this machine, with made-up GPUs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import NOT_INSTALLED
from making import make_run, outcome_of
from promises import ENDLESS, LONG, PROMISES, Silent, begun, end, facts, gpu_of_ray, here, step, supervised

from clipbench import store
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, Run
from clipbench.running.engines import GONE, Engine, Need, chosen
from clipbench.running.engines.ray import Options, RayEngine, connected
from clipbench.running.seats import Seat
from clipbench.running.supervisor import Policy, supervise

ray = pytest.importorskip("ray", reason=f"{NOT_INSTALLED}ray")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

ROOT = Path(__file__).parents[2]
CPU = Need("cpu", 1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 2})
    two.add_node(num_cpus=1, num_gpus=2)
    two.wait_for_nodes()
    try:
        yield two
    finally:
        ray.shutdown()
        two.shutdown()  # type: ignore[no-untyped-call]


def engine(cluster: Any, need: Need = CPU) -> AbstractContextManager[Engine]:
    return chosen("ray", [f"address={cluster.address}"]).build(need)


@pytest.mark.parametrize("promise", PROMISES)
def test_ray_keeps(promise: str, cluster: Any, tmp_path: Path) -> None:
    PROMISES[promise](lambda: engine(cluster), tmp_path)


def test_without_a_shared_file_system_files_go_there_and_come_back(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No actor sees a folder of this mark: the runs of two promises are made in folders of the actors' own."""
    monkeypatch.setattr("clipbench.running.engines.ray.mark", lambda _: "seen nowhere else")
    for promise in ("eight_runs_have_the_bits_of_the_local_engine", "a_run_that_is_asked_to_stop_goes_on_where_it_was"):
        PROMISES[promise](lambda: engine(cluster), tmp_path / promise)


def test_the_files_of_a_run_leave_the_machine_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor's class, as an object of this process."""
    monkeypatch.chdir(tmp_path)  # as it does itself
    run = make_run()
    store.describe(run, tmp_path)
    seat = Seat(CPU, 1, str(tmp_path), [])
    assert not seat.begin("/nowhere", "a mark", None)
    assert seat.begin("/nowhere", "a mark", {store.RUN: (tmp_path / store.RUN).read_bytes()})
    own = Path(seat._own)
    assert (own / store.RUN).exists()
    files: dict[str, bytes] = {}
    while (seen := seat.look(1.0)).code is None:
        files.update(seen.files)
    files.update(seen.files)
    assert {store.RUN, store.MEASUREMENTS} <= files.keys()
    assert b'"finished"' in files[store.RUN]
    assert not own.exists()


def test_runs_are_spread_over_the_machines_and_no_two_have_a_gpu_in_common(cluster: Any) -> None:
    with RayEngine(Need("cuda", 0), ray_of(cluster)) as four:
        assert four.capacity() == 4
        seats = [four._new_seat() for _ in range(4)]
        places = ray.get([seat.call.remote(gpu_of_ray, (), {}) for seat in seats])
        for seat in seats:
            ray.kill(seat)
    assert len(set(places)) == 4
    assert len({node for node, _ in places}) == 2
    with RayEngine(Need("cuda", 0, together=2), ray_of(cluster)) as eight:
        assert eight.capacity() == 8
    with RayEngine(Need("cuda", 0), ray_of(cluster), jobs=3) as three:
        assert three.about == f"3 at a time on Ray at {cluster.address}, 2 machines"


def test_what_no_machine_has_is_refused(cluster: Any) -> None:
    with pytest.raises(ClipbenchError, match="no machine of the Ray cluster has what a run needs: 64 CPU"):
        engine(cluster, Need("cpu", 64))
    by_ray = chosen("ray", [f"address={cluster.address}"])
    assert by_ray.resolve("auto") == "cuda"
    with pytest.raises(ClipbenchError, match="Ray chooses the device itself"):
        by_ray.resolve("cuda:1")


SLOW = make_run(steps=16, arm=Arm("slow", Choice("slow", "faulty:Slow", "faulty:Slow", {"lr": 0.1})))


@pytest.mark.parametrize(("run", "at"), [(LONG, 100), (SLOW, 4)])
def test_a_killed_actor_loses_no_more_than_its_step(run: Run, at: int, cluster: Any, tmp_path: Path) -> None:
    """The process of Ray's is killed; its worker leaves a checkpoint, and the run ends with the bits of any other.

    Ray kills what is left in the actor's process group within 200 ms: a step may take longer.
    """
    here([run], tmp_path / "here")
    silent = Silent()
    with RayEngine(CPU, ray_of(cluster)) as of_ray:
        folder = store.folder_of(run, tmp_path)

        def kill() -> None:
            while step(folder) < at:
                time.sleep(0.02)
            [job] = of_ray._at_work.values()
            os.kill(ray.get(job.seat.call.remote(os.getpid, (), {})), signal.SIGKILL)
            _wait_for(lambda: [each for each in [folder / store.CHECKPOINT] if each.exists()])

        killing = threading.Thread(target=kill)
        killing.start()
        [(_, outcome)] = supervise([run], tmp_path, engine=of_ray, watcher=silent)
        killing.join()
    assert outcome.status == "finished"
    assert silent.logged == [
        f"{run} was lost with its machine, and is started again, from its checkpoint if it left one"
    ]
    assert facts(run, tmp_path) == facts(run, tmp_path / "here")


def test_a_machine_that_is_removed_takes_no_run_along(cluster: Any, tmp_path: Path) -> None:
    runs = [replace(LONG, seed=seed) for seed in range(2)]
    here(runs, tmp_path / "here")
    third = cluster.add_node(num_cpus=1, resources={"third": 1})
    silent = Silent()
    with RayEngine(CPU, ray_of(cluster)) as of_ray:
        removing = threading.Thread(target=_remove_when_at_work, args=(cluster, third, of_ray, runs, tmp_path))
        of_ray._resources = {"num_cpus": 1, "num_gpus": 0, "resources": {"third": 0.5}}
        removing.start()
        ended = supervise(runs, tmp_path, engine=of_ray, watcher=silent)
        removing.join()
    assert [outcome.status for _, outcome in ended] == ["finished"] * 2
    assert any("was lost with its machine" in line for line in silent.logged)
    for run in runs:
        assert facts(run, tmp_path) == facts(run, tmp_path / "here")


def _remove_when_at_work(cluster: Any, node: Any, of_ray: RayEngine, runs: list[Run], results: Path) -> None:
    while not any(step(store.folder_of(run, results)) > 100 for run in runs):
        time.sleep(0.02)
    of_ray._resources = {"num_cpus": 1, "num_gpus": 0}
    cluster.remove_node(node)


def test_a_run_that_waits_for_room_ends_when_it_is_cancelled(cluster: Any, tmp_path: Path) -> None:
    """Another command has the whole cluster: there is no worker that could be asked, and Ctrl-C would never end."""
    with engine(cluster) as others, engine(cluster) as ours:
        for seed in (1, 2):
            begun(replace(ENDLESS, seed=seed), tmp_path, others)
        for kill in (False, True):
            folder = store.folder_of(ENDLESS, tmp_path)
            store.describe(ENDLESS, folder)
            handle = ours.submit(folder)
            time.sleep(1.0)
            assert not ours.begun(handle)
            assert ours.poll(handle) is None
            ours.cancel(handle, kill=kill)
            assert end(ours, handle) == GONE
        assert ours.capacity() == 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    (folder := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_of_this_machine_that_is_full_stops_a_run_that_is_made_elsewhere(
    cluster: Any, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a shared file system; its files there are taken away."""
    monkeypatch.setattr("clipbench.running.engines.ray.mark", lambda _: "seen nowhere else")

    def fill() -> None:
        _wait_for(lambda: [each for each in store.run_folders(disk) if step(each) > 5])
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    filling = threading.Thread(target=fill)
    filling.start()
    [outcome] = supervised([ENDLESS], disk, lambda: engine(cluster), Policy(timeout=60))
    filling.join()
    assert "the disk is full; once it can, run the spec again" in outcome.reason
    assert store.read_outcome(store.folder_of(ENDLESS, disk)) is None
    assert not list(Path(tempfile.gettempdir()).glob("clipbench-run-*"))


def test_what_an_actor_could_not_do_is_in_the_log_of_its_run(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here its machine cannot write a file: that is no fault of this machine's disk."""
    monkeypatch.setattr("clipbench.running.engines.ray.mark", lambda _: "seen nowhere else")
    monkeypatch.setattr("clipbench.running.engines.ray.content", lambda _: {"no/such/folder\x1b[2J": b""})
    [outcome] = supervised([ENDLESS], tmp_path, lambda: engine(cluster))
    assert outcome.reason.startswith("the worker ended with exit code 1; its log is")
    folder = store.folder_of(ENDLESS, tmp_path)
    assert "FileNotFoundError" in store.read_log(folder)
    assert not list(Path(tempfile.gettempdir()).glob("clipbench-run-*"))
    assert "\x1b" not in cli("show", str(folder), cluster=cluster, cwd=tmp_path)[1]


def test_a_deaf_worker_is_killed_by_its_time(cluster: Any, tmp_path: Path) -> None:
    deaf = make_run(arm=Arm("deaf", Choice("d", "d", "faulty:Deaf", {"lr": 0.005})))
    [outcome] = supervised([deaf], tmp_path, lambda: engine(cluster), Policy(timeout=5))
    assert outcome.reason == "timed out after 5 s"


def test_a_machine_with_another_clipbench_is_told_in_a_line(cluster: Any) -> None:
    """There a function of ours raises what it never does here."""
    with (
        engine(cluster) as of_ray,
        pytest.raises(ClipbenchError, match=r"\(ZeroDivisionError: .+\n  its mach"),
    ):
        of_ray.call(divmod, 1, 0)


def test_ctrl_c_while_the_arms_wait_to_be_tried_ends_the_command(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    with engine(cluster) as others:
        for seed in (1, 2):
            begun(replace(ENDLESS, seed=seed), tmp_path, others)
        words = ("run", "spec.yaml", "--device", "cpu", "--engine", "ray")
        run = clipbench(*words, cluster=cluster, cwd=tmp_path)
        assert run.stdout is not None
        assert run.stdout.readline() == f"arms are tried 1 at a time on Ray at {cluster.address}, 2 machines\n"
        assert run.stdout.readline() == "trying 2 arms on quadratic\n"
        time.sleep(1.0)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=20)
    assert run.returncode == 130
    assert said.splitlines()[-1] == "resume with: clipbench run spec.yaml --device cpu --engine ray"


def test_without_ray_its_engine_says_how_to_install_it(tmp_path: Path) -> None:
    """A folder where Python finds nothing called ray."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ray'] = None\n")
    code, said = cli("run", "quickstart", "--engine", "ray", cluster=SimpleNamespace(address=""), cwd=tmp_path)
    assert code == 2
    assert said == "error: the engine ray needs a package\n  pip install 'clipbench[ray]'\n"


def ray_of(cluster: Any) -> Any:
    return connected(Options(cluster.address))


def clipbench(*words: str, cluster: Any, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "clipbench", *words]
    environment = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": f"{cwd}:{ROOT}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, cwd=cwd, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def cli(*words: str, cluster: Any, cwd: Path) -> tuple[int, str]:
    """How a command ended, and what it said."""
    run = clipbench(*words, cluster=cluster, cwd=cwd)
    said, _ = run.communicate(timeout=60)
    return run.returncode, said


def test_the_command_of_the_page_runs(cluster: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^\$ clipbench (.+)$", page, re.MULTILINE)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    run = clipbench(*command.split(), "--filter", "sgd", "--device", "cpu", cluster=cluster, cwd=tmp_path)
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert f"2 at a time on Ray at {cluster.address}, 2 machines" in said
    assert "next: clipbench compare" in said


SPEC = """
task: {use: quadratic, dimension: 16}
optimizers: {sgd: {use: sgd, lr: 0.005}, adam: {use: adam, lr: 0.01}}
budget: {steps: 15000}
seeds: [0]
evaluate: {every: 5000}
measure: {every: 5000, probes: []}
"""


def test_a_command_that_is_killed_leaves_checkpoints_and_goes_on(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    words = ("run", "spec.yaml", "-o", "there", "--device", "cpu")
    first = clipbench(*words, "--engine", "ray", cluster=cluster, cwd=tmp_path)
    at_work = _wait_for(lambda: [each for each in store.run_folders(tmp_path / "there") if step(each) > 100])
    first.kill()
    first.communicate()
    _wait_for(lambda: [each for each in at_work if (each / store.CHECKPOINT).exists()])
    second = clipbench(*words, "--engine", "ray", cluster=cluster, cwd=tmp_path)
    said, _ = second.communicate(timeout=200)
    assert second.returncode == 0, said
    plain = clipbench("run", "spec.yaml", "-o", "here", "--device", "cpu", cluster=cluster, cwd=tmp_path)
    assert plain.communicate(timeout=200)
    here, there = (store.read_all(tmp_path / name)[0] for name in ("here", "there"))
    assert [outcome_of(record).weights_sha256 for record in there] == [
        outcome_of(record).weights_sha256 for record in here
    ]


def _wait_for(things: Callable[[], list[Path]]) -> list[Path]:
    deadline = time.monotonic() + 150
    while not (there := things()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return there


def test_an_address_where_nobody_listens_is_a_clear_error(tmp_path: Path) -> None:
    words = ("run", "quickstart", "--engine", "ray", "--engine-opt", "address=127.0.0.1:1")
    run = clipbench(*words, cluster=SimpleNamespace(address=""), cwd=tmp_path)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1:1 (ConnectionRefusedError" in said
    assert "ray start --head" in said
    assert "Traceback" not in said
