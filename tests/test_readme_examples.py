"""The README's examples work as they stand there."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from clipbench.cli.commands import COMMANDS
from clipbench.planning.extending import EXTENSIONS
from clipbench.spec import catalogue, load
from clipbench.spec.claims import load as load_claims

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def example(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_spec_of_the_readme_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package.py").write_text("import torch\nclass MyOptimizer(torch.optim.SGD): ...\n")
    (tmp_path / "example.yaml").write_text(example("yaml", "my_package:"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    spec = load(tmp_path / "example.yaml")
    assert [arm.name for arm in spec.arms] == ["sgd[lr=0.1]", "sgd[lr=0.3]", "momentum", "momentum+clip", "muon-like"]
    assert spec.question == "Is momentum worth it here?"
    assert spec.baseline == "momentum"


def test_the_claims_of_the_readme_are_right(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(example("yaml", "claims:"), encoding="utf-8")
    sharper, faster, foretold = load_claims(tmp_path / "mine.yaml")
    assert sharper.compare is not None
    assert (sharper.compare.at, sharper.beyond) == ("shared", 1.0)
    assert faster.compare is not None
    assert (faster.compare.at, faster.beyond) == ("own", 0.99)
    assert foretold.rank is not None
    assert foretold.beyond == 0.0


def test_the_tuned_spec_of_the_readme_gives_every_arm_its_trials(tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(example("yaml", "tuning:"), encoding="utf-8")
    spec = load(tmp_path / "example.yaml")
    assert [(arm.name, len(arm.settings)) for arm in spec.searched] == [("sgd", 8), ("sgd+clip", 8)]
    assert f"at most {('one', 'two', 'three', 'four')[EXTENSIONS - 1]} times" in README


def test_the_optimizer_of_the_readme_is_enrolled_by_its_one_file(tmp_path: Path) -> None:
    shelf = tmp_path / "optimizers"
    shelf.mkdir()
    code = example("python", "def build(")
    (shelf / "mine.py").write_text(code, encoding="utf-8")
    entry = catalogue.entry("optimizers", "mine", root=tmp_path)
    assert entry.broken == ""
    assert entry.summary.startswith("Sign descent")
    assert [(option.name, option.required) for option in entry.options] == [("lr", True)]
    names: dict[str, Any] = {}
    exec(compile(code, "mine.py", "exec"), names)
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = names["build"](model.named_parameters(), lr=0.5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before - 0.5)
    for rate in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="lr must be a number above 0"):
            names["build"](model.named_parameters(), lr=rate)


def test_the_clip_of_the_readme_runs() -> None:
    code = example("python", "CoordinateClip(optimizer")
    model = torch.nn.Linear(10, 10)
    model(torch.randn(4, 10)).square().sum().backward()
    names: dict[str, Any] = {"torch": torch, "model": model}
    exec(compile(code, "readme.py", "exec"), names)
    assert int(names["clip"].last.clipped) == int(0.1 * 110)


def test_the_training_loop_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = example("python", "StepGeometry(model")
    model = torch.nn.Linear(3, 1)
    names: dict[str, Any] = {
        "model": model,
        "loss": lambda model, batch: model(batch).square().mean(),
        "batch": torch.randn(4, 3),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
    }
    model(names["batch"]).square().mean().backward()
    exec(compile(code, "readme.py", "exec"), names)
    slope, sharpness, cosine, predicted, observed = map(float, capsys.readouterr().out.split())
    assert slope < 0 < sharpness
    assert cosine == pytest.approx(1.0, rel=1e-4)  # a plain gradient step in float32
    assert observed == pytest.approx(predicted, rel=1e-3)  # the loss is quadratic


def test_every_command_of_the_readme_exists() -> None:
    shown = set(re.findall(r"^    clipbench (\w+)", README, re.MULTILINE))
    assert shown == COMMANDS.keys()
