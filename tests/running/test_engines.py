"""The promises of an engine, kept by this machine's and by one that loses, delays and duplicates; how one is chosen."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from promises import EIGHT, PROMISES, facts, here, supervised

from clipbench.errors import ClipbenchError
from clipbench.running.engines import GONE, Engine, Handle, Need, chosen, names
from clipbench.running.engines.local import LocalEngine

CPU = Need("cpu", 1)


class Unreliable(LocalEngine):
    """Loses each third run, which goes on unseen; starts each second run twice; tells of each end a little late."""

    def __init__(self) -> None:
        super().__init__(CPU, slots=[("cpu", ())] * 6)
        self.submitted = 0
        self.lost: set[Handle] = set()
        self.late: dict[Handle, int] = {}
        self.twins: dict[Handle, Handle] = {}

    def capacity(self) -> int:
        for handle in self.lost:  # until they end, they have their slots
            super().poll(handle)
        return super().capacity() // 2  # for a twin

    def submit(self, folder: Path) -> Handle:
        self.submitted += 1
        handle = super().submit(folder)
        if self.submitted % 2 == 0:
            self.twins[handle] = super().submit(folder)
        if self.submitted % 3 == 1:
            self.lost.add(handle)
        return handle

    def poll(self, handle: Handle) -> int | None:
        twin = self.twins.get(handle)
        if (code := super().poll(handle)) is None or (twin and super().poll(twin) is None):
            if handle in self.lost:
                self.late[handle] = self.late.get(handle, 0) + 1
                return GONE if self.late[handle] > 20 else None
            return None
        self.late[handle] = self.late.get(handle, 0) + 1
        return None if self.late[handle] < 3 else code


def local() -> AbstractContextManager[Engine]:
    return LocalEngine(CPU)


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES)
def test_this_machine_keeps(promise: str, tmp_path: Path) -> None:
    PROMISES[promise](local, tmp_path)


@pytest.mark.slow
def test_runs_that_are_lost_or_started_twice_or_told_of_late_end_as_any_other(tmp_path: Path) -> None:
    runs = EIGHT[:6]
    outcomes = supervised(runs, tmp_path / "there", Unreliable)
    here(runs, tmp_path / "here")
    assert not [outcome.reason for outcome in outcomes if outcome.status != "finished"]
    for run in runs:
        assert facts(run, tmp_path / "there") == facts(run, tmp_path / "here")


def test_every_engine_is_found_by_its_file() -> None:
    assert {"local", "ray"} <= set(names())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rya", [], "there is no engine 'rya'\n  choose one of: local, ray"),
        ("local", ["cores=2"], "the engine local has no option 'cores'\n  it has no options"),
        ("ray", ["adress=auto"], "the engine ray has no option 'adress'\n  its options are address"),
        ("ray", ["address"], "--engine-opt 'address' is no option\n  write it as key=value"),
    ],
)
def test_an_engine_or_option_that_is_not_there_is_refused(name: str, options: list[str], message: str) -> None:
    with pytest.raises(ClipbenchError) as refused:
        chosen(name, options)
    assert str(refused.value).startswith(message)
