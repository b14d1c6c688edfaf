import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipbench.corpora.tokenised import Sequences, tokenised

TEXTS = [[1, 2, 3], [], [2**31 - 1]]


class Maker:
    """Makes TEXTS, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Iterator[list[int]]:
        self.times += 1
        yield from TEXTS


def as_lists(sequences: Sequences) -> list[list[int]]:
    return [sequences[place].tolist() for place in range(len(sequences))]


def test_what_was_made_is_mapped_from_the_disk_the_next_time(tmp_path: Path) -> None:
    make = Maker()
    first, second = (tokenised({"data": "a"}, make, tmp_path) for _ in range(2))
    assert as_lists(first) == as_lists(second) == TEXTS
    assert isinstance(second.numbers, np.memmap)
    assert make.times == 1


def test_another_key_is_made_apart(tmp_path: Path) -> None:
    make = Maker()
    for key in ({"data": "a"}, {"data": "b"}, {"data": "a", "tokenizer": "b"}):
        tokenised(key, make, tmp_path)
    assert make.times == 3


@pytest.mark.parametrize("name", ["numbers.int32", "ends.int64", "digest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_file_that_is_not_whole_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    make = Maker()
    tokenised({}, make, tmp_path)
    [file] = (tmp_path / "tokenised").glob(f"*/{name}")
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[:-4] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    assert as_lists(tokenised({}, make, tmp_path)) == TEXTS
    assert make.times == 2
    tokenised({}, make, tmp_path)
    assert make.times == 2


SLOWLY = """
import sys, time
from pathlib import Path
from clipbench.corpora.tokenised import tokenised
def make():
    yield [1]
    Path(sys.argv[1], "begun").touch()
    time.sleep(60)
tokenised({}, make, Path(sys.argv[1]))
"""


@pytest.mark.slow  # imports torch in a process of its own
def test_a_process_that_is_killed_while_it_makes_them_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOWLY, str(tmp_path)]) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert as_lists(tokenised({}, Maker(), tmp_path)) == TEXTS


def test_of_two_at_once_one_makes_them(tmp_path: Path) -> None:
    make = Maker()

    def slowly() -> Iterator[list[int]]:
        time.sleep(0.2)
        return make()

    with ThreadPoolExecutor(2) as pool:
        for sequences in pool.map(lambda _: tokenised({}, slowly, tmp_path), range(2)):
            assert as_lists(sequences) == TEXTS
    assert make.times == 1


def test_a_folder_that_cannot_be_written_to_means_that_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert as_lists(tokenised({}, Maker(), tmp_path / "file")) == TEXTS
