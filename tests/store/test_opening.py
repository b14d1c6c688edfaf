"""Files of a stranger's folder: ordinary files are read, and whatever else is there is named and left alone."""

import errno
import fcntl
import os
import platform
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from making import make_run

from clipbench import store
from clipbench.errors import StoreError
from clipbench.measurements import Measurement
from clipbench.store import live, opening

RUN = make_run()


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("outside"))


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name may not be long
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def a_hard_link(path: Path) -> None:
    os.link(path.with_name("outside"), path)


ODD: dict[str, Callable[[Path], None]] = {
    "it is a link": a_link,
    "it is a pipe": os.mkfifo,
    "it is a folder": Path.mkdir,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("mine")
    return tmp_path


@pytest.mark.parametrize("said", ODD)
def test_what_is_no_ordinary_file_is_named_and_neither_read_nor_written(folder: Path, said: str) -> None:
    """A pipe is not waited for, either."""
    ODD[said](folder / "odd")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError, match=said):
            opening.opened(folder / "odd", flags)
    assert opening.oddity(folder / "odd") == said
    assert (folder / "outside").read_text() == "mine"


@pytest.mark.parametrize("make", [a_link_to_nothing, a_socket])
def test_a_link_to_nothing_and_a_socket_are_refused(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "odd")
    with pytest.raises(OSError, match=r"it is a (link|socket)"):
        opening.opened(folder / "odd", os.O_RDWR | os.O_CREAT)
    assert not (folder / "nowhere").exists()
    assert opening.oddity(folder / "odd") in ("it is a link", "it is a socket")


def test_a_file_with_a_second_name_is_read_and_not_written(folder: Path) -> None:
    a_hard_link(folder / "odd")
    assert opening.content(folder / "odd") == b"mine"
    with pytest.raises(OSError, match="a hard link"):
        opening.opened(folder / "odd", os.O_WRONLY)


def test_a_device_is_not_read() -> None:
    with pytest.raises(OSError, match="it is a device"):
        opening.content("/dev/zero")


def test_a_file_with_holes_fills_no_memory(folder: Path) -> None:
    os.truncate(folder / "outside", 1 << 32)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="it has 4294967296 bytes"):
            opening.content(folder / "outside")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("most", [0, 1, 4, 5])
def test_the_end_of_a_file_is_read(folder: Path, most: int) -> None:
    assert opening.end_of(folder / "outside", most) == b"mine"[len(b"mine") - min(most, 4) :]


@pytest.mark.parametrize("make", [a_link, a_hard_link, os.mkfifo])
@pytest.mark.parametrize("name", [store.HEARTBEAT, f".{store.HEARTBEAT}"])
def test_a_heartbeat_takes_the_place_of_whatever_is_there(
    folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(folder / name)
    assert store.read_heartbeat(folder) is None
    store.write_heartbeat(folder, progress=0.5, step=3, loss=1.0)
    beat = store.read_heartbeat(folder)
    assert beat is not None
    assert beat["step"] == 3
    assert (folder / "outside").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[" * 5000,
        "1",
        "\udcff",
        "{}",
        '{"progress": "0.5", "step": 3, "loss": 1.0, "stopping": false}',
        '{"progress": 0.5, "step": 3, "loss": null, "stopping": false}',
        '{"progress": 2, "step": 3, "loss": 1.0, "stopping": false}',
        '{"progress": NaN, "step": 3, "loss": 1.0, "stopping": false}',
        '{"progress": 0.5, "step": -3, "loss": 1.0, "stopping": false}',
        '{"progress": 0.5, "step": 3, "loss": 1.0, "stopping": "no"}',
        f'{{"progress": 0.5, "step": 1{"0" * 5000}, "loss": 1.0, "stopping": false}}',
    ],
)
def test_a_heartbeat_that_is_none_is_none(folder: Path, text: str) -> None:
    (folder / store.HEARTBEAT).write_text(text, errors="surrogateescape")
    assert store.read_heartbeat(folder) is None


@pytest.mark.parametrize("make", [a_link, a_hard_link, os.mkfifo])
def test_no_log_is_written_where_there_is_no_ordinary_file(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / store.LOG)
    with pytest.raises(StoreError, match=r"log\.txt: cannot write this file"):
        store.open_log(folder)
    assert (folder / "outside").read_text() == "mine"


def test_the_end_of_a_log_is_read_and_a_link_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "END_OF_LOG", 5)
    (folder / store.LOG).write_bytes(b"0123456\xff")
    assert store.read_log(folder) == "3456�"
    (folder / store.LOG).unlink()
    a_link(folder / store.LOG)
    assert store.read_log(folder) == ""


@pytest.mark.parametrize("make", [a_link, a_hard_link, os.mkfifo])
def test_no_measurement_is_written_where_there_is_no_ordinary_file(folder: Path, make: Callable[[Path], None]) -> None:
    store.describe(RUN, folder)
    make(folder / store.MEASUREMENTS)
    with pytest.raises(StoreError, match=r"measurements\.csv: cannot write this file"):
        store.Writer(folder)
    assert not store.has_recorded(folder, 37)
    assert (folder / "outside").read_text() == "mine"


def test_no_more_is_recorded_than_can_be_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.describe(RUN, folder)
    writer = store.Writer(folder)
    writer(Measurement(0, 0.0, "", "eval_loss", 1.0))
    kept = writer.sync()
    monkeypatch.setattr(opening, "MOST", kept + 5)
    writer(Measurement(1, 0.0, "", "eval_loss", 1.0))
    with pytest.raises(StoreError, match="records no more than"):
        writer.sync()
    writer.close()
    assert len(store.read(folder).measurements) == 1


def test_a_draft_that_is_a_link_is_not_followed(folder: Path) -> None:
    (folder / f".{store.RUN}.{os.getpid()}").symlink_to(folder / "outside")
    store.describe(RUN, folder)
    assert store.read(folder).run == RUN
    assert (folder / "outside").read_text() == "mine"


@pytest.mark.parametrize("make", [a_link, a_hard_link, os.mkfifo, Path.mkdir])
def test_a_lock_that_is_no_ordinary_file_is_refused(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / ".lock")
    with pytest.raises(StoreError, match=r"\.lock: cannot write this file"), store.claimed(folder):
        pass
    assert (folder / "outside").read_text() == "mine"


def test_a_folder_is_held_once_and_says_by_whom(folder: Path) -> None:
    holder = rf"another `clipbench run` is at work here \(process {os.getpid()} on {re.escape(platform.node())}\)"
    with store.claimed(folder), pytest.raises(StoreError, match=holder), store.claimed(folder):
        pass
    with store.claimed(folder):
        pass
    assert (folder / ".lock").read_bytes() == b""


def test_where_a_file_system_keeps_no_locks_runs_are_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre without the option `flock`."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.claimed(folder):
        store.describe(RUN, folder)
        store.Writer(folder).close()
