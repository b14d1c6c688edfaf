"""What a run's description says is what is built."""

from dataclasses import replace

import pytest
import torch
from making import make_run
from torch import nn

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.records import ClipSettings
from clipbench.running.equipment import attach, build_optimizer, state_bytes


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (ClipSettings(0.1), {"fraction": 0.1, "of": "gradient", "scope": "global"}),
        (ClipSettings(0.5, "update", "tensor"), {"fraction": 0.5, "of": "update", "scope": "tensor"}),
        (ClipSettings(0.1, scale="norm"), {"scale": "norm", "ignore_zeros": False}),
        (ClipSettings(0.1, ignore_zeros=True), {"scale": "none", "ignore_zeros": True}),
        (ClipSettings(threshold=0.01), {"threshold": 0.01, "norm": None}),
        (ClipSettings(norm=2.0), {"threshold": None, "norm": 2.0}),
    ],
)
def test_a_clip_is_attached_as_it_is_described(settings: ClipSettings, expected: dict[str, object]) -> None:
    clip = attach(settings, torch.optim.SGD([nn.Parameter(torch.zeros(3))], lr=0.1))
    assert isinstance(clip, CoordinateClip if settings.rule == "fraction" else FixedClip)
    assert expected.items() <= clip.state_dict().items()


def test_an_arm_without_a_clip_gets_none() -> None:
    arm = make_run().arm
    assert build_optimizer(arm, nn.Linear(2, 2))[1] is None
    assert build_optimizer(replace(arm, clip=ClipSettings(norm=1.0)), nn.Linear(2, 2))[1] is not None


def test_an_optimizers_state_is_counted_to_the_byte() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    assert state_bytes(optimizer) == 0
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert state_bytes(optimizer) == 2 * 4 * (6 + 2) + 2 * 4  # two averages of 8 weights, and a step count a tensor


def test_state_that_lies_deep_is_found_and_shared_state_counted_once() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    shared = torch.zeros(5, dtype=torch.float64)
    optimizer.state[parameter] = {"factors": [shared, (torch.zeros(3),)], "again": {"left": shared}, "step": 7}
    assert state_bytes(optimizer) == 5 * 8 + 3 * 4
