"""Writes specs and reads them against a shelf."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipbench.errors import SpecError
from clipbench.records import Arm
from clipbench.spec import Overrides, Spec, load

MINIMAL = """\
# Is it faster?
task: valley
optimizers:
  slow: {use: descent, lr: 0.1}
  fast: {use: descent, lr: 0.3, momentum: 0.9}
budget: {steps: 100}
seeds: [0, 1]
"""


class Bench:
    """Writes a spec and reads it against the small shelf."""

    def __init__(self, folder: Path, shelves: Path) -> None:
        self.path, self.shelves = folder / "race.yaml", shelves

    def load(self, text: str = MINIMAL, *overrides: str) -> Spec:
        self.path.write_text(text)
        return load(self.path, Overrides(overrides), shelves=self.shelves)

    def replaced(self, old: str, new: str, *overrides: str) -> Spec:
        """The minimal spec with one piece of text replaced."""
        assert MINIMAL.count(old) == 1
        return self.load(MINIMAL.replace(old, new), *overrides)

    def arm(self, settings: str) -> Spec:
        """The minimal spec with `slow` written otherwise."""
        return self.replaced("{use: descent, lr: 0.1}", settings)

    def faults(self, make: Callable[[], object]) -> list[str]:
        """Each fault as line:column: message."""
        with pytest.raises(SpecError) as caught:
            make()
        return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.faults]


def settled(spec: Spec) -> list[Arm]:
    """The arms of a spec that leaves none to be searched for."""
    arms = [arm for arm in spec.arms if isinstance(arm, Arm)]
    assert len(arms) == len(spec.arms)
    return arms


def printed_elsewhere(code: str, *words: object) -> set[str]:
    """What a piece of Python prints in two processes, whose hashes of text are salted differently."""
    return {
        subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            env=os.environ | {"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
