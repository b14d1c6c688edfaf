"""Run by test_gpu_select in a process of its own, with Triton's interpreter: the GPU's kernels on a CPU."""

import sys
from typing import Any
from unittest.mock import patch

import torch
from oracles import flat
from torch import Tensor

from clipbench.clipping import triton_select
from clipbench.clipping.keys import integer_view, largest_key
from clipbench.clipping.triton_sheet import COUNTS

SIZES = {"one": [5], "few": [3, 1, 4096, 7], "many": [5000, 3, 4097, 1, 20_000, *[2] * 20]}


def by_sorting(tensors: list[Tensor], k: int) -> int:
    keys = integer_view(flat(tensors)) & largest_key(tensors[0].dtype)
    return int(keys.sort(descending=True).values[k])


def check(tensors: list[Tensor], k: int, **where: Any) -> None:
    index = torch.tensor(k) if where.pop("on_device", False) else k
    key, larger = triton_select.kth_largest_and_larger(tensors, index)
    assert int(key) == by_sorting(tensors, k), (int(key), by_sorting(tensors, k), k, where)
    threshold = key.to(integer_view(tensors[0]).dtype).view(tensors[0].dtype)
    assert int(larger) == int((flat(tensors).abs() > threshold).sum()), (int(larger), k, where)
    views = [integer_view(tensor) for tensor in tensors]
    assert int(triton_select.kth_largest_on_gpu(views, index)) == int(key)


def every_dtype_and_size() -> None:
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for name, sizes in SIZES.items():
            tensors = [(torch.randn(s, generator=generator, dtype=torch.float64) ** 3).to(dtype) for s in sizes]
            tensors[0][:2] = torch.tensor([float("nan"), -float("inf")], dtype=dtype)[: sizes[0]]
            for fraction in (1e-9, 0.1, 0.5, 0.999):
                check(tensors, int(sum(sizes) * fraction), dtype=dtype, sizes=name)


def other_layouts() -> None:
    values = torch.randn(3001, generator=torch.Generator().manual_seed(1))
    unaligned, with_gaps, transposed = values[1:2001], values[::3], values[:3000].view(60, 50).t()
    check([unaligned, with_gaps, transposed], 700)
    check([unaligned, with_gaps, transposed], 700, on_device=True)


def a_bracket_that_misses() -> None:
    values = torch.randn(9000, generator=torch.Generator().manual_seed(2))
    check([torch.full((9000,), -3.0)], 4500)
    for wrong in ((0, 1), (4400, 4499)):
        with patch.object(triton_select, "sample_ranks", return_value=wrong):
            check([values], 4500, wrong=wrong)
    with patch.object(triton_select, "room_inside", return_value=10):
        check([values], 4500, room=10)


class Recorded:
    """A kernel that notes its launches, and of the last whether the bracket had held."""

    def __init__(self, name: str, launches: list[str], held: list[bool]) -> None:
        self.name, self.launches, self.held = name, launches, held
        self.kernel = getattr(triton_select, name)

    def __getitem__(self, grid: Any) -> Any:
        def launch(sheet: Tensor, *rest: Any, **options: Any) -> None:
            self.launches.append(self.name)
            self.kernel[grid](sheet, *rest, **options)
            if self.name == "count_and_collect":
                place = int(sheet[COUNTS.value + 256 * options["width"]] - sheet[0])
                self.held.append(0 <= place < int(sheet[1]) <= rest[-1])

        return launch


def main() -> None:
    triton_select.SMALL = 4000  # so that both ways are gone
    launches: list[str] = []
    held: list[bool] = []
    for name in ("take_sample", "count_and_collect", "count_digit", "conclude"):
        setattr(triton_select, name, Recorded(name, launches, held))
    every_dtype_and_size()
    assert held
    assert all(held)
    launches.clear()
    triton_select.kth_largest_on_gpu([torch.randn(5000), torch.randn(7)], 500)
    assert launches == ["take_sample", "count_and_collect", *4 * ["count_digit"], "conclude"], launches
    other_layouts()
    held.clear()
    a_bracket_that_misses()
    assert held == [True, True, *6 * [False]], held  # a constant is all inside, and there is room for as few as these
    sys.stdout.write("every kernel agrees with sorting\n")


if __name__ == "__main__":
    main()
