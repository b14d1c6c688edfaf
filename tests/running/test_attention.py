"""Which kernel trains is seen, whoever calls torch's attention, and recorded."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making import make_run, outcome_of
from running.working import made
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.records import Arm, Choice, Measure
from clipbench.running import attention

TINY = {"width": 8, "layers": 1, "heads": 2, "context": 8, "batch": 2}
CODE_LM = Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", TINY)


def by_torch(x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(x, x, x, is_causal=True)


def by_itself(x: Tensor) -> Tensor:
    return torch.softmax(x @ x.mT, dim=-1) @ x


def by_a_layer(dropout: float) -> Callable[[Tensor], Tensor]:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=dropout, batch_first=True)
    return lambda x: layer(x[:, 0])


@pytest.mark.parametrize(
    ("attend", "inside", "kernels"),
    [
        (by_torch, nullcontext(), {"flash"}),
        (by_torch, sdpa_kernel(SDPBackend.MATH), {"math"}),
        (
            lambda x: by_torch(x) + functional.dropout(functional.scaled_dot_product_attention(x, x, x, None, 0.5)),
            nullcontext(),
            {"flash", "math"},
        ),
        (by_a_layer(0.0), nullcontext(), {"flash"}),
        (by_a_layer(0.1), nullcontext(), {"math"}),
        (by_itself, nullcontext(), set()),
    ],
)
def test_the_kernels_are_seen(
    attend: Callable[[Tensor], Tensor], inside: AbstractContextManager[None], kernels: set[str]
) -> None:
    x = torch.randn(2, 2, 8, 16, requires_grad=True)
    with attention.observed() as seen, inside:
        attend(x).sum().backward()
    assert seen == kernels


def test_every_fused_kernel_is_known_by_the_name_that_torch_gives_it() -> None:
    there = {name for name in dir(torch.ops.aten) if name.startswith("_scaled_dot_product_")}
    forward = {name for name in there if not name.endswith(("_backward", "_for_cpu", "_for_mps"))}
    assert set(attention._FUSED) == forward - {"_scaled_dot_product_attention_math"}


@pytest.mark.slow
def test_a_run_records_the_kernel_that_trained(tmp_path: Path) -> None:
    run = make_run(steps=2, task=CODE_LM, measure=Measure(2, 2))
    second = replace(run, arm=Arm("graph", run.arm.optimizer, create_graph=True))
    found = [outcome_of(made(each, tmp_path)).attention for each in (run, second, make_run(steps=2))]
    assert found == ["flash", "math", ""]
