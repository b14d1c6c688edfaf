"""Where a run is made: what decides its bits (numerics) and what decides its times (machine)."""

import contextlib
import hashlib
import json
import os
import platform
import random
import resource
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import torch

from clipbench import __version__
from clipbench.records import AS_WRITTEN, Environment, Scalar, TrainingSettings


def settle(threads: int) -> None:
    """Fix what this process computes with: threads, deterministic kernels, and no TF32."""
    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):  # may be set once a process, before parallel work
        torch.set_num_interop_threads(1)
    # Deterministic where torch has such a kernel, a warning in the run's log where it has none.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # This kernel is not deterministic unless torch is told to refuse every such kernel: the others serve as well.
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def seed_generators(seed: int) -> None:
    """Seed every global generator: torch's, Python's and NumPy's, which takes 32 bits."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the legacy one: what code that asks for no generator draws from


@contextlib.contextmanager
def this_process_alone() -> Iterator[None]:
    """A process that the body forks, and that comes out of it by an exception or its end, ends there."""
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            os._exit(1)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given; the CPU works synchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has held: allocated on a GPU, resident elsewhere (torch itself included)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024  # getrusage counts in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def observe(
    device: torch.device, *, threads: int, side_by_side: int, training: TrainingSettings = AS_WRITTEN
) -> Environment:
    """This process's environment on `device`; `side_by_side` is how many runs may be at work at once."""
    numerics = _numerics(device, threads) | _of_training(training)
    machine = _machine(device)
    return Environment(
        clipbench=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        device=str(device),
        device_name=_device_name(device),
        threads=threads,
        side_by_side=side_by_side,
        numerics=numerics,
        machine=machine,
        numerics_id=_identity(numerics),
        machine_id=_identity(machine),
    )


def _numerics(device: torch.device, threads: int) -> dict[str, Scalar]:
    numerics: dict[str, Scalar] = {
        "torch": str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "architecture": platform.machine(),
        "device": device.type,
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": threads,
    }
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        numerics |= {
            "capability": f"{capability[0]}.{capability[1]}",
            "cuda": torch.version.cuda,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        }
    return numerics


def _of_training(training: TrainingSettings) -> dict[str, Scalar]:
    """What of it is not as by default, so that other runs keep the id that they have."""
    apart = asdict(AS_WRITTEN)
    return {name: value for name, value in asdict(training).items() if value != apart[name]}


def _machine(device: torch.device) -> dict[str, Scalar]:
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": ", ".join(torch.cuda.get_device_name(i) for i in range(gpus)),
        "driver": _driver_major() if gpus else None,
        "os": platform.system(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": str(torch.__version__),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_model()


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _driver_major() -> str:
    path = Path("/proc/driver/nvidia/version")
    words = path.read_text().split() if path.exists() else []
    numbers = [word for word in words if word.count(".") >= 1 and word[0].isdigit()]
    return numbers[0].partition(".")[0] if numbers else "unknown"


def _identity(facts: Mapping[str, Scalar]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
