import hashlib
import tempfile
from pathlib import Path

import pytest
import torch

from clipbench.networks.cache import Weights, cache_folder, cached_weights


class Maker:
    """Makes other weights each time, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Weights:
        self.times += 1
        return {"w": torch.full((3,), float(self.times)), "b": torch.tensor([0.1])}


def test_weights_are_made_once_and_come_back_bit_for_bit(tmp_path: Path) -> None:
    make = Maker()
    first = cached_weights("x", {"seed": 1}, make=make, folder=tmp_path)
    again = cached_weights("x", {"seed": 1}, make=make, folder=tmp_path)
    assert make.times == 1
    assert all(torch.equal(first[name], again[name]) for name in ("w", "b"))


@pytest.mark.parametrize(("name", "key"), [("x", {"seed": 2}), ("x", {"seed": 1, "width": 1}), ("y", {"seed": 1})])
def test_whatever_decides_the_weights_has_a_file_of_its_own(tmp_path: Path, name: str, key: dict[str, int]) -> None:
    make = Maker()
    cached_weights("x", {"seed": 1}, make=make, folder=tmp_path)
    cached_weights(name, key, make=make, folder=tmp_path)
    assert make.times == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_the_order_of_the_key_does_not_matter(tmp_path: Path) -> None:
    make = Maker()
    cached_weights("x", {"a": 1, "b": 2}, make=make, folder=tmp_path)
    cached_weights("x", {"b": 2, "a": 1}, make=make, folder=tmp_path)
    assert make.times == 1


def spoilt(content: bytes, how: str) -> bytes:
    not_weights = b"not a file of torch"
    return {
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "one bit turned": content[:-1] + bytes([content[-1] ^ 1]),
        "something else, whole": hashlib.sha256(not_weights).digest() + not_weights,
    }[how]


@pytest.mark.parametrize("how", ["empty", "cut short", "one bit turned", "something else, whole"])
def test_a_spoilt_file_is_made_again_and_mended(tmp_path: Path, how: str) -> None:
    make = Maker()
    cached_weights("x", {}, make=make, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(spoilt(file.read_bytes(), how))
    remade = cached_weights("x", {}, make=make, folder=tmp_path)
    assert remade["w"].tolist() == [2, 2, 2]
    assert cached_weights("x", {}, make=make, folder=tmp_path)["w"].tolist() == [2, 2, 2]
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_only_means_no_cache(tmp_path: Path) -> None:
    make = Maker()
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    cached_weights("x", {}, make=make, folder=blocked / "cache")
    cached_weights("x", {}, make=make, folder=blocked / "cache")
    assert make.times == 2


def test_a_full_disk_only_means_no_cache_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert cached_weights("x", {}, make=Maker(), folder=tmp_path)["w"].tolist() == [1, 1, 1]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_room_for_a_new_file_only_means_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    assert cached_weights("x", {}, make=Maker(), folder=tmp_path)["w"].tolist() == [1, 1, 1]


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cached_weights("x", {}, make=Maker())["w"].tolist() == [1, 1, 1]


def test_the_cache_is_where_the_platform_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "clipbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("~/.cache").expanduser() / "clipbench"
