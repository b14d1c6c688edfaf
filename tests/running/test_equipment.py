"""What a run's description says is what is built."""

from dataclasses import replace

import pytest
import torch
from making import make_run
from torch import nn

from clipbench.clipping.baselines import FixedClip
from clipbench.clipping.hook import CoordinateClip
from clipbench.records import ClipSettings
from clipbench.running.equipment import attach, build_optimizer


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
