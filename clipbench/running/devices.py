"""Which devices this machine has, found without torch: the supervisor plans for them before any worker starts."""

import ast
import ctypes
import importlib.util
import os
import platform
import re
import tempfile
from pathlib import Path

import psutil

from clipbench import files
from clipbench.errors import ClipbenchError

CPUS = Path("/sys/devices/system/cpu")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def resolve(wanted: str) -> str:
    """The device runs will use: `auto` is the GPU where there is one that the installed torch can use, else the CPU.

    Raises ClipbenchError where a device is asked for by name and is not there.
    """
    if not re.fullmatch("auto|cpu|mps|cuda(:[0-9]+)?", wanted):
        raise ClipbenchError(f"there is no device '{wanted}'", remedy="it is one of auto, cpu, mps, cuda and cuda:N")
    if wanted == "auto":
        return "cuda" if gpu_ids() else "mps" if has_mps() else "cpu"
    kind, _, index = wanted.partition(":")
    if kind == "cuda" and not gpu_ids():
        reason = "the installed torch is built without CUDA" if not _torch_has_cuda() else "no usable NVIDIA GPU found"
        raise ClipbenchError(f"device '{wanted}' is not there: {reason}", remedy="use device: cpu or device: auto")
    if kind == "cuda" and index and int(index) not in gpu_ids():
        there = ", ".join(f"cuda:{gpu}" for gpu in gpu_ids())
        raise ClipbenchError(f"device '{wanted}' is not there", remedy=f"this machine has {there}")
    if kind == "mps" and not has_mps():
        raise ClipbenchError("device 'mps' is not there", remedy="it needs macOS on Apple silicon; use device: cpu")
    return wanted


def refuse_too_few(device: str, processes: int) -> None:
    """Raises ClipbenchError where a resolved device cannot be had so many times, once for each process of a run."""
    if processes == 1 or device == "cpu":
        return
    kind, _, index = device.partition(":")
    where, remedy = "training.processes", "use processes: 1"
    if kind == "mps":
        raise ClipbenchError(f"{processes} processes need a device each, and mps is one", where=where, remedy=remedy)
    if index:
        message = f"{processes} processes need a GPU each, and device '{device}' is one"
        raise ClipbenchError(message, where=where, remedy="use device: cuda")
    if len(gpu_ids()) < processes:
        there = f"{len(gpu_ids())} {'is' if len(gpu_ids()) == 1 else 'are'} here"
        raise ClipbenchError(f"{processes} processes need a GPU each, and {there}", where=where, remedy=remedy)


def see_only(device: str) -> str:
    """Let this process see no GPU but this one, which CUDA then calls cuda:0: the name to use from here on.

    Of several, "cuda:2,cuda:3", it sees all, and its own is the first; each process of a run then takes one of them.

    It must come before CUDA starts. Code that says "cuda" means the run's own GPU then, and no other; a slice of a GPU
    (MIG) goes by the name that CUDA_VISIBLE_DEVICES had for it.
    """
    if not device.startswith("cuda"):
        return device
    indices = [each.partition(":")[2] or "0" for each in device.split(",")]
    visible = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[int(index)] if visible else index for index in indices)
    return "cuda:0"


def gpu_ids() -> list[int]:
    """The CUDA devices that the driver shows (CUDA_VISIBLE_DEVICES applied), empty if torch cannot use them."""
    if not _torch_has_cuda():
        return []
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return list(range(count.value))


def has_mps() -> bool:
    """Whether this is a Mac whose GPU torch can use."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _torch_has_cuda() -> bool:
    """Whether torch is a CUDA build, from its version file: importing torch would take seconds."""
    version = torch_package().with_name("version.py")
    for node in ast.parse(version.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "cuda" for target in targets):
                return isinstance(node.value, ast.Constant) and node.value.value is not None
    return False


def torch_package() -> Path:
    """The file of torch's package; ClipbenchError where torch is not installed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ClipbenchError(
            "torch is not installed", remedy="pip install torch: runs need it, reading results does not"
        )
    return Path(spec.origin)


def cpu_sets(threads: int) -> list[tuple[int, ...]]:
    """Disjoint sets of CPUs, `threads` physical cores each: a timed run has its cores for itself.

    One logical CPU per core is used, out of those this process may run on, and no more cores than a container's CPU
    quota allows. At least one set, even if a run asks for more threads than there are.
    """
    allowed = _allowed_cpus()
    cores = _one_cpu_a_core(allowed)[: _quota(len(allowed))]
    sets = [tuple(cores[i : i + threads]) for i in range(0, len(cores) - threads + 1, threads)]
    return sets or [tuple(allowed)]


def reserved_cpus(threads: int) -> tuple[int, ...]:
    """The first of the `cpu_sets` that no other process has reserved, kept until this process ends; else empty."""
    import fcntl  # here: Windows lacks it, and reads runs without making any

    for cpus in cpu_sets(threads):
        locks: list[int] = []
        try:
            for cpu in cpus:
                locks.append(files.opened(_lock_of(cpu), os.O_RDWR | os.O_CREAT | files.NO_LINK))
                fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for lock in locks:
                os.close(lock)
        else:
            return cpus
    return ()


def _lock_of(cpu: int) -> Path:
    return Path(tempfile.gettempdir(), f"clipbench-{os.getuid()}-cpu-{cpu}.lock")


def _allowed_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count(logical=False) or 1))


def _one_cpu_a_core(cpus: list[int]) -> list[int]:
    seen: set[str] = set()
    kept = []
    for cpu in cpus:
        path = CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        core = path.read_text().strip() if path.exists() else str(cpu)
        if core not in seen:
            seen.add(core)
            kept.append(cpu)
    return kept


def _quota(cpus: int) -> int:
    """How many whole CPUs a control group's quota allows (cgroup v2 `cpu.max`: quota and period in µs)."""
    if not CPU_QUOTA.exists():
        return cpus
    quota, period = CPU_QUOTA.read_text().split()
    return cpus if quota == "max" else max(1, int(quota) // int(period))
