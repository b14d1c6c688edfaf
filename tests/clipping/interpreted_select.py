"""Run by test_gpu_select in a process of its own, with Triton's interpreter: the GPU's kernels on a CPU."""

import sys
from typing import Any

import torch
from oracles import flat
from torch import Tensor

from clipbench.clipping import triton_select
from clipbench.clipping.keys import integer_view, largest_key

SIZES = {"one": [5], "few": [3, 1, 4096, 7], "many": [5000, 3, 4097, 1, 20_000, *[2] * 20]}


def by_sorting(tensors: list[Tensor], k: int) -> int:
    keys = integer_view(flat(tensors)) & largest_key(tensors[0].dtype)
    return int(keys.sort(descending=True).values[k])


def check(tensors: list[Tensor], k: int, **where: Any) -> None:
    views = [integer_view(tensor) for tensor in tensors]
    found = int(triton_select.kth_largest_on_gpu(views, torch.tensor(k) if where.pop("on_device", False) else k))
    assert found == by_sorting(tensors, k), (found, by_sorting(tensors, k), k, where)


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
    kept = triton_select.sample_ranks
    for wrong in ((0, 1), (4400, 4499)):
        triton_select.sample_ranks = lambda k, n, m, wrong=wrong: wrong  # noqa: ARG005
        check([values], 4500, wrong=wrong)
    triton_select.sample_ranks = kept
    triton_select.room_inside = lambda ranks, n, m: 10  # noqa: ARG005
    check([values], 4500, room=10)


def main() -> None:
    triton_select.SMALL = 4000  # so that both ways are gone
    judged: list[bool] = []
    kept = triton_select.judge_bracket

    class Noted:
        def __getitem__(self, grid: Any) -> Any:
            def launch(state: Tensor, *rest: Any, **options: Any) -> None:
                kept[grid](state, *rest, **options)
                judged.append(bool(state[triton_select.HELD.value]))

            return launch

    triton_select.judge_bracket = Noted()
    every_dtype_and_size()
    other_layouts()
    assert judged
    assert all(judged)
    judged.clear()
    a_bracket_that_misses()
    assert judged == [True, False, False, False]  # a constant is all inside, and there is room for as few as these
    sys.stdout.write("every kernel agrees with sorting\n")


if __name__ == "__main__":
    main()
