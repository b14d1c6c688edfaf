"""A run's rows come from its worker alone, whatever a step forks and however the fork ends."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from console import clipbench, environment, records
from making import make_run, outcome_of

from clipbench import store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.records import Outcome

pytestmark = pytest.mark.slow  # runs fork

SPEC = """\
# Does a fork in a step change the record?
task: {use: quadratic, dimension: 8}
optimizers:
  plain: {use: sgd, lr: 0.005}
  exits: {use: "forking:Exiting", lr: 0.005}
  at_once: {use: "forking:ExitingAtOnce", lr: 0.005}
  pool: {use: "forking:Pool", lr: 0.005}
  raises: {use: "forking:Raising", lr: 0.005}
  trains_on: {use: "forking:TrainingOn", lr: 0.005}
budget: {steps: 6}
seeds: [0]
evaluate: {every: 2}
measure: {every: 3, probes: []}
device: cpu
"""
FORKING = """\
import multiprocessing, os, sys
import torch


class Forking(torch.optim.SGD):
    def step(self):
        super().step()
        child = os.fork()
        if child == 0:
            self.end()
        else:
            os.waitpid(child, 0)


class Exiting(Forking):
    def end(self):
        sys.exit(0)


class ExitingAtOnce(Forking):
    def end(self):
        os._exit(0)


class Raising(Forking):
    def end(self):
        raise RuntimeError("the child gives up")


class TrainingOn(torch.optim.SGD):
    taken = 0

    def step(self):
        super().step()
        self.taken += 1
        if self.taken == 4 and (child := os.fork()):
            os.waitpid(child, 0)


class Pool(torch.optim.SGD):
    def step(self):
        super().step()
        child = multiprocessing.get_context("fork").Process(target=print)
        child.start()
        child.join()
"""


def test_a_fork_in_a_step_adds_no_row_and_ends_no_run(tmp_path: Path) -> None:
    """The child exits as an interpreter does, at once, by an error, from a pool, or trains on as if it were the run."""
    (tmp_path / "forks.yaml").write_text(SPEC)
    (tmp_path / "forking.py").write_text(FORKING)
    done = clipbench(tmp_path, "run", "forks.yaml")
    assert done.returncode == 0, done.stderr
    made = {record.run.arm.name: record for record in records(tmp_path / "results").values()}
    assert {name: outcome_of(record).status for name, record in made.items()} == dict.fromkeys(made, "finished")
    plain = [(row.step, row.quantity, row.value) for row in made["plain"].measurements]
    assert len(made) == 6
    for record in made.values():
        assert [(row.step, row.quantity, row.value) for row in record.measurements] == plain


WORKER_AND_CHILD = """\
    import os, sys, time
    from pathlib import Path
    from clipbench import store
    from clipbench.errors import StoreError
    from clipbench.measurements import Measurement
    from clipbench.records import Outcome

    folder = Path(sys.argv[1])
    writer = store.Writer(folder)
    writer(Measurement(0, 0.0, "", "eval_loss", 1.0))
    child = os.fork()
    if child == 0:
        refused = 0
        for act in (
            lambda: writer(Measurement(1, 0.0, "", "eval_loss", 2.0)),
            writer.sync,
            lambda: store.finish(folder, Outcome("finished"), None),
            lambda: store.write_heartbeat(folder, progress=0.5, step=1, loss=1.0),
        ):
            try:
                act()
            except StoreError:
                refused += 1
        writer.close()
        (folder / "refused").write_text(str(refused))
        time.sleep(60)
        os._exit(0)
    while not (folder / "refused").exists():
        time.sleep(0.01)
    writer.sync()
    print(child, flush=True)
    os._exit(0)  # as a worker that is killed
"""


def test_a_fork_is_refused_all_that_the_worker_may_and_keeps_no_lock(tmp_path: Path) -> None:
    folder = store.folder_of(make_run(), tmp_path)
    store.describe(make_run(), folder)
    said = tmp_path / "said"
    with said.open("w") as out:
        words = [sys.executable, "-c", textwrap.dedent(WORKER_AND_CHILD), str(folder)]
        assert subprocess.run(words, stdout=out, env=environment(), timeout=60, check=False).returncode == 0
    child = int(said.read_text())
    try:
        assert (folder / "refused").read_text() == "4"
        assert tuple(store.read(folder).measurements) == (Measurement(0, 0.0, "", "eval_loss", 1.0),)
        assert store.read_outcome(folder) is None
        os.kill(child, 0)  # it is there still
        store.Writer(folder).close()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("again", [False, True])
def test_a_fork_leaves_the_worker_its_lock(tmp_path: Path, again: bool) -> None:
    """A fork of the fork closes nothing that it opened itself under the same number."""
    store.describe(make_run(), tmp_path)
    writer = store.Writer(tmp_path)
    child = os.fork()
    if child == 0:
        own = os.open(os.devnull, os.O_RDONLY)
        if again and (grandchild := os.fork()):
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        os.fstat(own)  # raises where it was closed
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with pytest.raises(StoreError, match="another process"):
        store.Writer(tmp_path)
    writer.close()


def test_a_fork_before_anything_is_measured_ends_no_run_either(tmp_path: Path) -> None:
    store.describe(make_run(), tmp_path)
    assert store.begin(tmp_path) == make_run()
    child = os.fork()
    if child == 0:
        try:
            store.finish(tmp_path, Outcome("failed"), None)
        except StoreError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.read_outcome(tmp_path) is None
    store.finish(tmp_path, Outcome("failed"), None)
