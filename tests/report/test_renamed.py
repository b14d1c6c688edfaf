"""What is said of runs that were there under other names."""

from dataclasses import replace
from pathlib import Path

import pytest
from judging.made import run

from clipbench.records import Run
from clipbench.report.renamed import renamed_lines
from clipbench.store import Renamed, folder_of

RESULTS = Path("results")


def taken(planned: Run, *, is_moved: bool = True, spec: str = "", task: str = "", arm: str = "") -> Renamed:
    """A planned run that is there under the names given."""
    old = replace(planned, spec=spec or planned.spec)
    old = replace(
        old, task=replace(old.task, name=task or old.task.name), arm=replace(old.arm, name=arm or old.arm.name)
    )
    return Renamed(planned, folder_of(old, RESULTS), is_moved)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ([], []),
        ([taken(run("sgd"))], []),  # the planned folder, in which the file alone had other names
        (
            [taken(run("adamw", seed=seed), arm="adam") for seed in range(3)],
            ["3 runs of arm 'adam' moved to 'adamw' (same description)"],
        ),
        (
            [taken(run("adamw"), arm="adam")],
            ["1 run of arm 'adam' moved to 'adamw' (same description)"],
        ),
        (
            [taken(run(f"adamw[lr={lr}]"), arm=f"adam[lr={lr}]") for lr in (1, 2)],
            ["2 runs of arm 'adam' moved to 'adamw' (same description)"],
        ),
        (
            [taken(run("sgd[lr=1]"), arm="sgd[lr=1.0]")],
            ["1 run of arm 'sgd[lr=1.0]' moved to 'sgd[lr=1]' (same description)"],
        ),
        (
            [taken(run("sgd"), task="code")],
            ["1 run of arm 'code/sgd' moved to 'code_lm/sgd' (same description)"],
        ),
        (
            [taken(run("adamw"), arm="adam", is_moved=False)],
            ["1 run of arm 'adam' copied to 'adamw' (same description)"],
        ),
        (
            [
                taken(run("sgd"), spec="slow", is_moved=False),
                taken(run("adam"), spec="slow", arm="a/b", is_moved=False),
                taken(run("lion"), spec="\x1b[31m", is_moved=False),
            ],
            [
                "2 runs copied from spec 'slow' (same description)",
                r"1 run copied from spec '\x1b[31m' (same description)",
            ],
        ),
    ],
)
def test_each_arm_or_spec_has_its_line(found: list[Renamed], lines: list[str]) -> None:
    assert renamed_lines(found) == lines
