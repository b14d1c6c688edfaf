import os
from pathlib import Path

import pytest

from clipbench.files import read_ordinary


def test_an_ordinary_file_is_read_to_its_last_byte_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_ordinary(path, most=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_ordinary(path, most=4)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    with pytest.raises(OSError) as refused:  # noqa: PT011
        read_ordinary(path, most=5)
    assert refused.value.strerror
