"""A log keeps its beginning and its end, whoever writes it and however its writer ends."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clipbench import store
from clipbench.running import logs

KEPT, SLACK = 100, 50


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEPT", KEPT)


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(first, last))


def parts(log: bytes) -> tuple[bytes, int, bytes]:
    """The beginning, how many bytes are said to be left out, and the end."""
    begin, _, rest = log.partition(b"\n[")
    number, _, end = rest.partition(b" bytes are left out here]\n")
    return begin, int(number), end


@pytest.mark.parametrize("size", [0, 1, 2 * KEPT, 2 * KEPT + 1, 2 * KEPT + SLACK])
def test_a_log_that_is_not_too_long_is_left_alone(tmp_path: Path, size: int) -> None:
    (tmp_path / store.LOG).write_bytes(b"x" * size)
    for slack in (0, SLACK) if size <= 2 * KEPT + 1 else (SLACK,):
        logs.bound(tmp_path, slack=slack)
    assert (tmp_path / store.LOG).read_bytes() == b"x" * size


@pytest.mark.parametrize("lines", [[30], [30, 60], [30, 31, 300, 5000]])
def test_what_is_left_out_is_counted_however_often_the_log_was_cut(tmp_path: Path, lines: list[int]) -> None:
    log, written = tmp_path / store.LOG, 0
    for upto in lines:
        with log.open("ab") as file:
            file.write(numbered(written, upto))
        written = upto
        logs.bound(tmp_path, slack=0)
    whole = numbered(0, written)
    begin, left_out, end = parts(log.read_bytes())
    assert (begin, end) == (whole[:KEPT], whole[-KEPT:])
    assert len(begin) + left_out + len(end) == len(whole)


def test_what_is_written_while_the_log_is_cut_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / store.LOG
    log.write_bytes(numbered(0, 1000))
    read, more = os.pread, iter([numbered(1000, 1003), numbered(1003, 1004), b""])

    def read_and_write_on(file: int, size: int, at: int) -> bytes:
        found = read(file, size, at)
        if at > KEPT:
            with log.open("ab") as other:
                other.write(next(more))
        return found

    monkeypatch.setattr(os, "pread", read_and_write_on)
    logs.bound(tmp_path, slack=0)
    begin, left_out, end = parts(log.read_bytes())
    assert end.endswith(numbered(999, 1004))
    assert len(begin) + left_out + len(end) == len(numbered(0, 1004))


def a_link(log: Path) -> None:
    log.symlink_to(log.with_name("theirs"))


def a_pipe(log: Path) -> None:
    os.mkfifo(log)


@pytest.mark.parametrize("lay", [a_link, a_pipe, Path.mkdir])
def test_nothing_but_a_file_is_cut(tmp_path: Path, lay: Callable[[Path], None]) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(numbered(0, 1000))
    lay(tmp_path / store.LOG)
    logs.bound(tmp_path, slack=0)
    assert theirs.read_bytes() == numbered(0, 1000)


def test_a_run_without_a_log_has_none_to_cut(tmp_path: Path) -> None:
    logs.bound(tmp_path)
    assert not list(tmp_path.iterdir())
