"""As many directions at once as fit: counted and kept to."""

import platform
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from unittest.mock import Mock

import pytest
import torch
from reference.networks import network
from reference.problems import random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import CurvatureEngine, Curvatures, TooFewBytesError, directional_curvature
from clipbench.geometry.jets.chunks import Limits, in_chunks
from clipbench.geometry.memory import MemoryTally, is_out_of_memory

ENGINES: tuple[CurvatureEngine, ...] = ("jets", "adjoint")


def test_a_tally_counts_tensors_while_they_live_and_a_view_not_twice() -> None:
    given = torch.ones(1000)
    with MemoryTally() as tally:
        first = given + 1
        second = first.view(10, 100).t()
        assert tally.held == 4000
        third = second * 2
        del first, second
        assert (tally.held, tally.peak) == (4000, 8000)
        third.mul_(2)
        given.view(-1)
        del third
    assert (tally.held, tally.peak) == (0, 8000)


def carried(
    model: nn.Module, batches: Sequence[Batch], loss: object, **options: object
) -> tuple[Curvatures, list[int]]:
    """What is measured along nine directions, and how many of them each pass carried."""
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(9)}
    sizes: list[int] = []
    note = Mock(side_effect=sizes.append)  # out of reach: what a loss keeps itself is put back

    def watched(m: nn.Module, batch: Batch) -> Tensor:
        found: Tensor = loss(m, batch)  # type: ignore[operator]
        x1 = getattr(found, "x1", None)
        note(0 if x1 is None else len(x1))
        return found

    return directional_curvature(model, watched, batches, directions, **options), sizes  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_within_a_limit_the_first_goes_alone_then_as_many_as_fit_and_the_limit_is_kept(engine: CurvatureEngine) -> None:
    model, loss, batches = network("causal transformer")
    options = {"engine": engine, "check": False}
    exact, _ = carried(model, batches, loss, chunk=9, **options)
    with MemoryTally() as alone:
        carried(model, batches, loss, chunk=1, **options)
    with MemoryTally() as together:
        carried(model, batches, loss, chunk=9, **options)
    limit = (alone.peak + together.peak) // 2
    with MemoryTally() as kept:
        found, sizes = carried(model, batches, loss, memory=limit, **options)
    passes = [size for size in sizes if size]
    assert passes[0] == 1
    assert 1 < max(passes) < 9
    # The directions themselves, and the gradient's graph of the adjoint form, are beside what is limited.
    assert alone.peak < kept.peak < together.peak
    for name in exact.along:
        assert found[name].curvature == pytest.approx(exact[name].curvature, rel=1e-4, abs=1e-6)  # float32


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chunk_is_the_most_also_where_memory_would_allow_more(engine: CurvatureEngine) -> None:
    model, loss, batches = network("mlp")
    _, sizes = carried(model, batches[:1], loss, engine=engine, memory=2**30, chunk=4, check=False)
    assert [size for size in sizes if size] == [1, 4, 4]
    _, sizes = carried(model, batches[:1], loss, engine=engine, memory=2**30, check=False)
    assert [size for size in sizes if size] == [1, 8]


def test_a_limit_of_nothing_is_refused() -> None:
    model, loss, batches = network("mlp")
    with pytest.raises(ClipbenchError, match="a memory of 0 bytes"):
        carried(model, batches, loss, memory=0)


def test_too_many_directions_say_how_many_they_were() -> None:
    def measured(ks: range) -> list[list[tuple[float, float]]]:
        if len(ks) > 3:
            raise torch.OutOfMemoryError("CUDA")
        return [[(0.0, 0.0)] * len(ks)]

    with pytest.raises(TooFewBytesError, match="8 directions at once do not fit into memory") as refused:
        in_chunks(measured, 10, limits=Limits(8))
    assert refused.value.directions == 8
    assert len(in_chunks(measured, 10, limits=Limits(3))[0]) == 10


def test_what_lacks_memory_otherwise_is_not_taken_for_it() -> None:
    def broken(_: range) -> list[list[tuple[float, float]]]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_chunks(broken, 3, limits=Limits(2))


def test_a_tensor_too_large_for_a_cpu_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**55)
    assert is_out_of_memory(failed.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.parametrize(
    "words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_libraries_on_a_gpu_run_out_of_memory_in_words_of_their_own(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))


def test_growing_passes_never_exceed_a_limit_that_the_directions_share_in_part() -> None:
    sizes: list[int] = []

    def measured(ks: range) -> list[list[tuple[float, float]]]:
        kept = torch.ones(100 + 50 * len(ks))  # shared, and for each
        sizes.append(len(ks))
        return [[(float(len(kept)), 0.0)] * len(ks)]

    in_chunks(measured, 40, limits=Limits(None, 4 * 700))
    assert sizes[0] == 1
    assert all(before <= after for before, after in pairwise(sizes[:-1]))
    assert max(sizes) * 50 + 100 <= 700
    assert max(sizes) >= 11  # of 12 that are possible


PLACES = """
import torch
from clipbench.geometry.memory import keep_what_is_freed

def in_the_heap():
    [heap] = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    first, end = (int(place, 16) for place in heap.split("-"))
    return first <= tensor.data_ptr() < end

tensor = torch.empty(30 * 2**20, dtype=torch.uint8)
before = in_the_heap()
del tensor
keep_what_is_freed()
tensor = torch.empty(30 * 2**20, dtype=torch.uint8)
print(before, in_the_heap())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory that is kept is glibc's")
def test_large_tensors_come_from_memory_that_the_process_keeps() -> None:
    """By itself glibc asks the system for each large one, and gives it back: it lies outside of the heap."""
    done = subprocess.run([sys.executable, "-c", PLACES], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]
