"""The paper's two language models at their published size, without memory; and what would make a GPU's host wait.

Under torch's FakeTensorMode nothing is computed, and reading a number back from the device is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipbench.contracts import Batch, Loss
from clipbench.networks import hub

SEQUENCES = 2
MODELS = {"T5-small": 60.5e6, "GPT-Neo 125M": 125.2e6}  # trained parameters
every_model = pytest.mark.parametrize("name", MODELS)


def paper_model(name: str) -> tuple[nn.Module, Loss, Batch]:
    """The model, its loss, and a batch of sequences as long as the paper's; inside FakeTensorMode."""
    pytest.importorskip("transformers", reason="not installed: transformers")
    if name == "T5-small":
        from clipbench.tasks.seq2seq import loss as of_pairs

        model, _ = hub.build_model(hub.ModelChoice("t5", size="full", own={"decoder_start_token_id": 0}), 0)
        of_both = {side: torch.randint(1, 32000, (SEQUENCES, 128)) for side in ("source", "target")}
        lengths = {f"{side}_length": torch.full((SEQUENCES,), 128) for side in of_both}
        return model, of_pairs, Batch({**of_both, **lengths}, SEQUENCES)
    from clipbench.tasks.causal_lm import loss as of_texts

    model, _ = hub.build_model(
        hub.ModelChoice("gpt_neo", size="full", own={"bos_token_id": None, "eos_token_id": None}), 0
    )
    tokens = torch.randint(50000, (SEQUENCES, 2049))
    return model, of_texts, Batch({"tokens": tokens, "length": torch.full((SEQUENCES,), 2049)}, SEQUENCES)


class Waits:
    """How often the host has waited for a number; each is answered by a one, and a condition by what it is told."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def answered(condition: bool, *, device: str = "cpu") -> Iterator[Waits]:
    """Inside FakeTensorMode, reads of numbers on a device are answered and counted: a tensor's by tolist() are one."""
    waits = Waits()

    class Single(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is not torch.ops.aten._local_scalar_dense.default:
                return func(*args, **(kwargs or {}))
            waits.count += args[0].device.type == device
            dtype = args[0].dtype
            return condition if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1

    def several(tensor: Tensor) -> Any:
        waits.count += tensor.device.type == device
        return np.ones(tensor.shape).tolist()

    with Single(), patch.object(FakeTensor, "tolist", several):  # type: ignore[no-untyped-call]
        yield waits
