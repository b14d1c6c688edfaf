"""The speed benchmark of the clip runs, says what it measured, and notices what would make its numbers wrong."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytestmark = pytest.mark.slow  # steps are timed

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """The scripts of the folder by name; their names are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SPEED))
    before = set(sys.modules)
    yield import_module
    for name in {"clip", "steps", "timing"} - before:
        sys.modules.pop(name, None)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_quick_run_prints_every_figure_and_judges_none() -> None:
    command = [sys.executable, str(SPEED / "clip.py"), "--quick", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for figure in (
        "threshold, 0.0393 M, p = 0.1",
        "threshold, 0.00862 M, p = 0.5",
        "extra peak memory of a threshold",
        "whole step, Adam clipped 50 % (numerator)",
        "whole step, SGD with momentum clipped 10 %",
        "share of a code_lm training step",
    ):
        assert figure in done.stdout
    assert "≥ 75" in done.stdout
    assert "met" not in done.stdout.lower().replace("method", "")
    assert "Sizes this small say nothing of speed." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rounds", "0"), "--rounds must be at least 1"),
        (("--gpus",), "unrecognized arguments: --gpus"),
        *([] if torch.cuda.is_available() else [(("--gpu",), "there is no CUDA device here")]),
    ],
)
def test_wrong_arguments_are_refused(
    scripts: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        scripts("clip").main(arguments)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_the_part_for_a_gpu_gives_each_call_the_next_buffer(scripts: Callable[[str], ModuleType]) -> None:
    clip, timing = scripts("clip"), scripts("timing")
    buffers = [timing.heavy_tailed(timing.TINY.shapes, seed=seed) for seed in range(3)]
    figures = clip.against_a_copy(buffers, rounds=2, timer=timing.cpu_seconds)
    assert [figure.target for figure in figures] == [60.0, 5.0, 60.0, 5.0]
    assert all(figure.found > 0 and figure.seconds > 0 for figure in figures)


def test_a_threshold_that_is_wrong_stops_the_benchmark(
    scripts: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, timing = scripts("steps"), scripts("timing")
    tensors = timing.heavy_tailed(timing.TINY.shapes)
    steps.check_exact(tensors)
    monkeypatch.setattr(steps, "coordinate_threshold", lambda tensors, _: tensors[0].abs().max())
    with pytest.raises(SystemExit, match=r"the threshold at 0\.1 is .*, and the sort's "):
        steps.check_exact(tensors)


class Idle(torch.optim.SGD):
    def step(self) -> None:  # type: ignore[override]
        """Do nothing (pitfall 13)."""


def test_a_timed_step_that_moves_nothing_stops_the_benchmark(scripts: Callable[[str], ModuleType]) -> None:
    steps = scripts("steps")

    def idle(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        return Idle(weights, lr=0.1)

    with pytest.raises(SystemExit, match="moved nothing"):
        steps.Stepper([torch.ones(3)], idle).timed(scripts("timing").cpu_seconds)


def test_each_timed_step_sees_the_raw_gradient(scripts: Callable[[str], ModuleType]) -> None:
    steps, timing = scripts("steps"), scripts("timing")
    stepper = steps.Stepper([torch.tensor([1.0, 2.0, 3.0, 4.0])], steps.sgd).clipped(0.5, of="gradient")
    seen: list[Tensor] = []
    stepper.optimizer.register_step_post_hook(lambda *_: seen.append(stepper.weights[0].grad.clone()))
    for _ in range(2):
        stepper.timed(timing.cpu_seconds)
    assert [gradient.tolist() for gradient in seen] == [[1.0, 2.0, 2.0, 2.0]] * 2
    assert stepper.raw[0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_figure_is_judged_by_the_side_of_its_target(scripts: Callable[[str], ModuleType]) -> None:
    timing = scripts("timing")
    faster = timing.Figure("x", 0.001, 80.0, "×", 75.0, at_least=True)
    slower = timing.Figure("x", None, 1.3, "×", 1.2)
    assert faster.row(judged=True) == ("x", "1 ms", "80 ×", "≥ 75", "met")
    assert slower.row(judged=True) == ("x", "", "1.3 ×", "≤ 1.2", "NOT MET")
    assert slower.row(judged=False)[-1] == ""


def test_methods_take_turns_and_the_first_round_does_not_count(scripts: Callable[[str], ModuleType]) -> None:
    times, turns = {"a": iter([99.0, 1.0, 2.0, 9.0]), "b": iter([99.0, 4.0, 4.0, 5.0])}, []

    def method(name: str) -> Callable[[], float]:
        def timed() -> float:
            turns.append(name)
            return next(times[name])

        return timed

    found = scripts("timing").medians({"a": method("a"), "b": method("b")}, rounds=3)
    assert found == {"a": 2.0, "b": 4.0}
    assert turns == ["a", "b"] * 4


def test_the_large_sizes_are_what_they_are_called(scripts: Callable[[str], ModuleType]) -> None:
    timing = scripts("timing")

    def count(sizes: Any) -> int:
        return sum(math.prod(shape) for shape in sizes.shapes)

    assert count(timing.GPT2) == 124_439_808  # GPT-2 small
    assert count(timing.TEN) == pytest.approx(10e6, rel=0.02)
    assert count(timing.SIXTY) == pytest.approx(60e6, rel=0.02)
