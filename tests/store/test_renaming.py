"""Runs under other names: found by their keys, put in place whole or not at all, and never taken on trust."""

import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console import contents
from making import SGD, SHARPNESS, make_run

from clipbench import store
from clipbench.measurements import Measurement
from clipbench.records import Arm, Environment, Measure, Outcome, Run

ENVIRONMENT = Environment("0", "3.11", "2", "cpu", "a CPU", 1, 2, {"tf32": False}, {"cores": 2}, "n", "m")
DONE = Outcome("finished", reason="θ", steps=12, train_seconds=1e-7, step_seconds=math.inf, effective={"lr": (1, 2.0)})
GHOST = Arm("lion", replace(SGD, options={"lr": 0.1}))
RUN = make_run(measure=Measure(4, 5, (SHARPNESS,), ghosts=(GHOST,)))
PLANNED = {("quadratic", "sgd"), ("quadratic", "adam")}


def named(run: Run, *, arm: str | None = None, task: str | None = None, **labels: Any) -> Run:
    found = run if arm is None else replace(run, arm=replace(run.arm, name=arm))
    found = found if task is None else replace(found, task=replace(found.task, name=task))
    return replace(found, **labels)


OLD = named(RUN, arm="old")


def write(run: Run, results: Path, outcome: Outcome | None = DONE, *, rows: int = 2) -> Path:
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    writer = store.Writer(folder)
    for step in range(rows):
        writer(Measurement(step, 0.0, "lion", "slope", 0.1 + 0.2))
    writer.sync()
    writer.close()
    if outcome is not None:
        store.finish(folder, outcome, ENVIRONMENT)
    return folder


def look(results: Path, *runs: Run) -> list[store.Renamed]:
    return store.renamed(runs or [RUN], results, arms=PLANNED)


def settle(results: Path, *runs: Run) -> list[store.Renamed]:
    found = look(results, *runs)
    done = [store.put_in_place(each, results) for each in found]
    assert all(done)
    return found


def test_a_run_of_an_arm_that_the_plan_no_longer_has_is_moved_with_the_plans_names(tmp_path: Path) -> None:
    folder = write(OLD, tmp_path)
    before, described = store.read(folder), (folder / store.RUN).read_bytes()
    rows = (folder / store.MEASUREMENTS).read_bytes()
    assert look(tmp_path) == [store.Renamed(RUN, folder, is_moved=True)]
    assert (folder / store.RUN).read_bytes() == described  # to look changes nothing
    settle(tmp_path)
    record, moved = store.read(store.folder_of(RUN, tmp_path)), store.folder_of(RUN, tmp_path)
    assert record == replace(before, run=RUN, folder=str(moved))
    assert (moved / store.MEASUREMENTS).read_bytes() == rows
    assert json.loads((moved / store.RUN).read_bytes()) | {"run": None} == json.loads(described) | {"run": None}
    assert json.loads(described)["digest"] == store.digest_of((moved / store.RUN).read_bytes(), rows)
    assert [path.name for path in moved.parents[1].iterdir()] == ["sgd"]  # the emptied folder of the arm is gone
    assert store.missing([RUN], tmp_path) == []
    assert look(tmp_path) == []


@pytest.mark.parametrize(
    "other",
    [
        named(RUN, arm="adam"),  # which the plan still has
        named(RUN, spec="another"),
        named(RUN, spec="another", arm="old"),
    ],
)
def test_a_run_of_an_arm_that_is_still_planned_or_of_another_spec_is_copied(tmp_path: Path, other: Run) -> None:
    folder = write(other, tmp_path)
    (folder / store.LOG).write_text("a warning")
    before = contents(folder)
    assert settle(tmp_path) == [store.Renamed(RUN, folder, is_moved=False)]
    copied = store.folder_of(RUN, tmp_path)
    assert store.read(copied) == replace(store.read(folder), run=RUN, folder=str(copied))
    assert contents(folder) == before
    assert {name: text for name, text in contents(copied).items() if name != store.RUN} == {
        name: text for name, text in before.items() if name != store.RUN
    }
    assert look(tmp_path) == []


@pytest.mark.parametrize(
    "other",
    [
        named(OLD, task="four sides"),
        named(OLD, trial_of="old"),
        replace(OLD, arm=replace(OLD.arm, liveness="warn", optimizer=replace(SGD, name="mine"))),
        replace(OLD, task=replace(OLD.task, name="mine")),
        replace(OLD, measure=replace(OLD.measure, probes=(replace(SHARPNESS, name="mine"),))),
        replace(
            OLD,
            measure=replace(
                OLD.measure,
                ghosts=(
                    replace(
                        GHOST, optimizer=replace(SGD, name="mine", options=GHOST.optimizer.options), liveness="off"
                    ),
                ),
            ),
        ),
    ],
)
def test_every_label_becomes_the_plans(tmp_path: Path, other: Run) -> None:
    write(other, tmp_path)
    [found] = settle(tmp_path)
    assert found.is_moved
    assert store.read(store.folder_of(RUN, tmp_path)).run == RUN
    assert [path.name for path in (tmp_path / RUN.spec).iterdir()] == ["quadratic"]


def test_names_of_an_earlier_plan_in_the_planned_folder_become_the_plans(tmp_path: Path) -> None:
    """A move that was cut short, or a folder that was renamed by hand."""
    write(OLD, tmp_path).parent.rename(store.folder_of(RUN, tmp_path).parent)
    folder = store.folder_of(RUN, tmp_path)
    assert settle(tmp_path) == [store.Renamed(RUN, folder, is_moved=True)]
    assert store.read(folder).run == RUN
    assert look(tmp_path) == []


def test_which_gpu_made_a_run_stays_in_its_file(tmp_path: Path) -> None:
    planned = replace(RUN, device="cuda:0")
    write(replace(OLD, device="cuda:1"), tmp_path)
    settle(tmp_path, planned)
    assert store.read(store.folder_of(planned, tmp_path)).run == replace(planned, device="cuda:1")
    assert look(tmp_path, planned) == []


def test_one_run_serves_all_arms_of_its_description(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    both = [RUN, named(RUN, arm="adam")]
    assert [each.is_moved for each in settle(tmp_path, *both)] == [True, False]
    assert [store.read(store.folder_of(run, tmp_path)).run for run in both] == both


def test_an_arm_that_is_gone_comes_before_other_specs(tmp_path: Path) -> None:
    for run in (named(RUN, spec="a"), named(RUN, arm="adam"), OLD):
        write(run, tmp_path)
    [found] = look(tmp_path)
    assert found.folder == store.folder_of(OLD, tmp_path)


@pytest.mark.parametrize("outcome", [None, Outcome("failed")])
def test_a_done_run_replaces_one_that_did_not_end_or_crashed(tmp_path: Path, outcome: Outcome | None) -> None:
    folder = write(RUN, tmp_path, outcome, rows=1)
    (folder / store.CHECKPOINT).write_bytes(b"weights")
    write(OLD, tmp_path)
    settle(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [store.MEASUREMENTS, store.RUN]
    assert len(store.read(folder).measurements) == 2


def test_a_crashed_trial_of_a_renamed_arm_is_moved_for_it_is_spent(tmp_path: Path) -> None:
    trial = named(RUN, arm="sgd[lr=0.1]", trial_of="sgd")
    write(named(trial, arm="old[lr=0.1]", trial_of="old"), tmp_path, Outcome("failed"))
    assert [each.is_moved for each in settle(tmp_path, trial)] == [True]
    assert store.read(store.folder_of(trial, tmp_path)).run == trial
    assert look(tmp_path, trial) == []
    assert look(tmp_path, named(trial, spec="another")) == []  # another spec tries it anew


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / store.RUN
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def _link(path: Path) -> None:
    elsewhere = path.with_name(f"elsewhere of {path.name}")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _twice(folder: Path) -> None:
    path = folder / store.MEASUREMENTS
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    described = (folder / store.RUN).read_bytes()
    _edit(folder, lambda content: content.update(digest=store.digest_of(described, path.read_bytes())))


def _as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


SPOILED: dict[str, Callable[[Path], object]] = {
    "of format 1": lambda folder: _edit(folder, lambda content: content.update(format=1)),
    "of a format to come": lambda folder: _edit(folder, lambda content: content.update(format=3)),
    "crashed": lambda folder: store.finish(folder, Outcome("failed"), None),
    "unfinished": lambda folder: _edit(folder, lambda content: content.update(outcome=None)),
    "another description": lambda folder: _edit(folder, lambda content: content["run"].update(threads=2)),
    "another seed": lambda folder: _edit(folder, lambda content: content["run"].update(seed=5)),
    "another key": lambda folder: _edit(folder, lambda content: content.update(key="0" * 12)),
    "without a digest": lambda folder: _edit(folder, lambda content: content.pop("digest")),
    "with another outcome": lambda folder: _edit(folder, lambda content: content["outcome"].update(steps=99)),
    "with other rows": lambda folder: (folder / store.MEASUREMENTS).write_text(
        "step,seconds,direction,quantity,value\n"
    ),
    "with a row twice": _twice,
    "without rows": lambda folder: (folder / store.MEASUREMENTS).unlink(),
    "no JSON": lambda folder: (folder / store.RUN).write_text("{"),
    "not text": lambda folder: (folder / store.RUN).write_bytes(b"\xff\xfe"),
    "with a linked description": lambda folder: _link(folder / store.RUN),
    "with linked rows": lambda folder: _link(folder / store.MEASUREMENTS),
    "a description that is a pipe": lambda folder: _pipe(folder / store.RUN),
    "rows that are a pipe": lambda folder: _pipe(folder / store.MEASUREMENTS),
    "a file": _as_file,
}


LINKED = {
    "a link to a run": lambda folder: folder,
    "in an arm that is a link": lambda folder: folder.parent,
    "in a task that is a link": lambda folder: folder.parents[1],
    "in a spec that is a link": lambda folder: folder.parents[2],
}


@pytest.mark.parametrize("spoiled", SPOILED)
@pytest.mark.parametrize("spec", ["made", "another"])
def test_what_is_not_the_planned_run_or_not_whole_is_left_alone(tmp_path: Path, spoiled: str, spec: str) -> None:
    folder = write(named(OLD, spec=spec), tmp_path)
    [found] = look(tmp_path)
    SPOILED[spoiled](folder)
    before = sorted(tmp_path.rglob("*"))
    assert look(tmp_path) == []
    assert not store.put_in_place(found, tmp_path)  # it changed after it was found
    assert sorted(tmp_path.rglob("*")) == before


def test_two_descriptions_that_share_a_key_are_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key has 48 bits: a stranger can find a description for it."""
    monkeypatch.setattr(Run, "key", property(lambda _: "0" * 12))
    write(replace(OLD, threads=2), tmp_path)
    assert look(tmp_path) == []
    write(OLD, tmp_path / "equal")
    assert len(look(tmp_path / "equal")) == 1


@pytest.mark.parametrize("linked", LINKED)
def test_no_link_is_followed_to_a_run(tmp_path: Path, linked: str) -> None:
    folder = write(named(RUN, spec="another"), tmp_path / "results")
    assert look(tmp_path / "results")
    path = LINKED[linked](folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert (folder / store.RUN).exists()
    assert look(tmp_path / "results") == []


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = write(named(RUN, spec="another"), tmp_path)
    (tmp_path / "secret").write_text("secret")
    (folder / store.LOG).symlink_to(tmp_path / "secret")
    settle(tmp_path)
    assert not (store.folder_of(RUN, tmp_path) / store.LOG).exists()


def test_what_cannot_be_put_in_place_stays_where_it_is(tmp_path: Path) -> None:
    folder = write(OLD, tmp_path)
    before = contents(folder)
    (folder.parents[1] / "sgd").write_text("no folder")
    [found] = look(tmp_path)
    assert not store.put_in_place(found, tmp_path)
    assert contents(folder) == before


def _killed_at(event: int, act: Callable[[], object]) -> bool:
    """Do it in a fork that kills itself at its so many-th call of the system; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        seen = [0]

        def hook(name: str, _: object) -> None:
            if name == "open" or (name.startswith(("os.", "shutil.")) and name != "os.kill"):
                seen[0] += 1
                if seen[0] > event:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


def _shown(folder: Path) -> dict[str, bytes]:
    """Without drafts, of which a kill may leave one."""
    return {name: text for name, text in contents(folder).items() if not Path(name).name.startswith(".")}


@pytest.mark.slow
@pytest.mark.parametrize(("other", "begun"), [(OLD, False), (OLD, True), (named(RUN, spec="another"), True)])
def test_a_kill_at_any_point_loses_nothing_and_is_put_right(tmp_path: Path, other: Run, begun: bool) -> None:
    """Each time, the run is whole in one folder, under its old or its new name; a copy is there whole or not at all."""
    before, after, results = tmp_path / "before", tmp_path / "after", tmp_path / "results"
    source = store.read(write(other, before))
    if begun:
        write(RUN, before, None, rows=1)
    shutil.copytree(before, after)
    [found] = settle(after)
    ended, event = False, 0
    while not ended:
        shutil.rmtree(results, ignore_errors=True)
        shutil.copytree(before, results)
        ended = _killed_at(event, lambda: settle(results))
        records, errors = store.read_all(results)
        assert not errors
        whole = [record for record in records if record.outcome]
        assert 1 <= len(whole) <= (1 if found.is_moved else 2)
        assert all(replace(record, run=RUN, folder="") == replace(source, run=RUN, folder="") for record in whole)
        assert all(record.run in (other, RUN) for record in whole)
        settle(results)
        assert _shown(results) == _shown(after)
        event += 1
    assert event > 20
