"""The peak of training apart from that of probes, by a device that only counts."""

import pytest
import torch

from clipbench.running import memory
from clipbench.running.memory import Peaks, after_step, before_step

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


class Device:
    """Its peak since the last reset; what is reserved is a third more."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.peak = 0
        patch.setattr(memory, "_allocated", lambda _: self.peak)
        patch.setattr(memory, "_reserved", lambda _: self.peak * 4 // 3)
        patch.setattr(memory, "_reset", self._reset)

    def _reset(self, _: torch.device) -> None:
        self.peak = 0

    def uses(self, size: int) -> None:
        self.peak = max(self.peak, size)


def test_a_probed_step_and_what_is_between_steps_are_no_peak_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    device, peaks = Device(monkeypatch), Peaks()
    device.uses(50)  # building
    for size, alone in ((30, True), (90, False), (33, True), (12, True)):
        before_step(peaks, GPU)
        device.uses(size)
        after_step(peaks, GPU, alone=alone)
        device.uses(70)  # an evaluation
    assert peaks == Peaks(training=33, training_reserved=44, everything=90)


def test_elsewhere_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    device, peaks = Device(monkeypatch), Peaks()
    before_step(peaks, CPU)
    device.uses(30)
    after_step(peaks, CPU, alone=True)
    assert peaks == Peaks()
