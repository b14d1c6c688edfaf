"""Devices found without torch: what auto means, and what is said of a device that is not there."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipbench.errors import ClipbenchError
from clipbench.running import devices


class Driver:
    """A stand-in for libcuda with so many devices; `broken` fails to initialise, as without a kernel module."""

    def __init__(self, count: int, *, broken: bool = False) -> None:
        self.count, self.broken = count, broken

    def cuInit(self, flags: int) -> int:  # noqa: ARG002, N802
        return 100 if self.broken else 0

    def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        pointer._obj.value = self.count
        return 0


def put(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, *, cuda_build: bool = True) -> None:
    def load(name: str) -> Driver:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError
        return driver

    monkeypatch.setattr(devices, "ctypes", SimpleNamespace(CDLL=load, c_int=ctypes.c_int, byref=ctypes.byref))
    monkeypatch.setattr(devices, "_torch_has_cuda", lambda: cuda_build)


@pytest.mark.parametrize(
    ("driver", "cuda_build", "expected"),
    [
        (Driver(2), True, [0, 1]),
        (Driver(2), False, []),
        (Driver(0), True, []),
        (Driver(2, broken=True), True, []),
        (None, True, []),
    ],
)
def test_gpus_are_those_of_the_driver_that_torch_can_use(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, cuda_build: bool, expected: list[int]
) -> None:
    put(monkeypatch, driver, cuda_build=cuda_build)
    assert devices.gpu_ids() == expected
    assert devices.resolve("auto") == ("cuda" if expected else "cpu")


def test_auto_is_the_apple_gpu_on_apple_silicon(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, None)
    monkeypatch.setattr(devices, "platform", SimpleNamespace(system=lambda: "Darwin", machine=lambda: "arm64"))
    assert devices.resolve("auto") == devices.resolve("mps") == "mps"


@pytest.mark.parametrize(
    ("wanted", "driver", "cuda_build", "message"),
    [
        ("cuda", None, True, "no usable NVIDIA GPU found"),
        ("cuda", Driver(1), False, "built without CUDA"),
        ("cuda:3", Driver(2), True, r"'cuda:3' is not there\n  this machine has cuda:0, cuda:1"),
        ("mps", None, True, "needs macOS"),
    ],
)
def test_a_device_that_is_not_there_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, wanted: str, driver: Driver | None, cuda_build: bool, message: str
) -> None:
    put(monkeypatch, driver, cuda_build=cuda_build)
    with pytest.raises(ClipbenchError, match=message):
        devices.resolve(wanted)


def test_a_device_that_is_there_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, Driver(2))
    assert [devices.resolve(wanted) for wanted in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]


def test_the_build_of_torch_is_read_right_without_importing_it() -> None:
    assert devices._torch_has_cuda() == (torch.version.cuda is not None)
    code = "import sys; from clipbench.running import devices; devices.resolve('auto'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_machine_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ClipbenchError, match="pip install torch"):
        devices.resolve("auto")


@pytest.mark.parametrize(
    ("cpus", "siblings", "quota", "threads", "expected"),
    [
        ([0, 1, 2, 3], {}, 4, 1, [(0,), (1,), (2,), (3,)]),
        ([0, 1, 2, 3], {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 4, 1, [(0,), (1,)]),
        ([0, 1, 2, 3], {}, 2, 1, [(0,), (1,)]),
        ([0, 1, 2, 3, 4], {}, 5, 2, [(0, 1), (2, 3)]),
        ([5, 7], {}, 2, 4, [(5, 7)]),
    ],
)
def test_sets_of_cpus_are_disjoint_whole_cores_within_the_quota(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cpus: list[int],
    siblings: dict[int, str],
    quota: int,
    threads: int,
    expected: list[tuple[int, ...]],
) -> None:
    for cpu, text in siblings.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    monkeypatch.setattr(devices, "CPUS", tmp_path)
    monkeypatch.setattr(devices, "_allowed_cpus", lambda: cpus)
    monkeypatch.setattr(devices, "_quota", lambda _: quota)
    assert devices.cpu_sets(threads) == expected


@pytest.mark.parametrize(("text", "expected"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)])
def test_a_containers_quota_is_counted_in_whole_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: int
) -> None:
    monkeypatch.setattr(devices, "CPU_QUOTA", tmp_path / "cpu.max")
    assert devices._quota(8) == 8
    (tmp_path / "cpu.max").write_text(text)
    assert devices._quota(8) == expected


def test_only_cpus_this_process_may_run_on_are_used() -> None:
    assert set(devices._allowed_cpus()) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("device", "visible", "seen", "then"),
    [
        ("cuda:1", None, "cuda:0", "1"),
        ("cuda", None, "cuda:0", "0"),
        ("cuda:1", "4,7", "cuda:0", "7"),
        ("cuda:0", "MIG-a1, MIG-b2", "cuda:0", "MIG-a1"),
        ("cuda:2,cuda:3", None, "cuda:0", "2,3"),
        ("cuda:0,cuda:2", "4,7,9", "cuda:0", "4,9"),
        ("cpu", "4,7", "cpu", "4,7"),
        ("mps", None, "mps", None),
    ],
)
def test_a_process_sees_the_gpu_of_its_run_alone(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, seen: str, then: str | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")  # first: what the process sets is taken back by it
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices.see_only(device) == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == then
