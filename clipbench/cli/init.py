"""`clipbench init`: a starter spec, and a CI workflow that runs it and checks it."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.errors import ClipbenchError

SPEC_NAME, WORKFLOW_NAME = "benchmark.yaml", ".github/workflows/benchmark.yml"

SPEC = """\
# Is my optimizer worth it here?
#
# The first paragraph is the question; it is printed above the table. `clipbench list tasks` and `clipbench list
# optimizers` show what you can choose; "package:Class" is a torch.optim.Optimizer of your own.
task: {use: code_lm}
optimizers:
  adam: {use: adam, lr: 0.003}
  sgd: {use: sgd, lr: 0.3, momentum: 0.9, dampening: 0.9}
  sgd+clip: {use: sgd, lr: 1.0, momentum: 0.9, dampening: 0.9, clip: {fraction: 0.1}}
baseline: adam
budget: {steps: 200}
seeds: [0, 1, 2, 3, 4]       # with fewer than five, small differences stay undecided
evaluate: {every: 10}
target: {loss: 2.8}
measure: {every: 50, probes: [sharpness]}
device: cpu
threads: 1                   # a different number changes the last bits
"""

WORKFLOW = """\
# Runs benchmark.yaml at every change and compares it with baseline.json, seed by seed.
#
# The first run makes a baseline: download baseline.json from the run's page (Artifacts), look at it, and commit it.
# After an intended change, delete baseline.json and do the same. The check fails if a metric got worse, or if final
# weights changed although neither the spec nor the machine did; with --fail-on regressed only the former fails.
name: benchmark
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
env:
  CLIPBENCH: clipbench  # what pip installs: a name, git+https://..., or the path of a checkout
jobs:
  benchmark:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install
        run: |
          pip install torch --index-url https://download.pytorch.org/whl/cpu
          pip install "$CLIPBENCH"
      - name: Run
        run: clipbench run benchmark.yaml
      - name: Check
        if: hashFiles('baseline.json') != ''
        run: clipbench check results/benchmark --baseline baseline.json --junit check.xml
      - name: Make a baseline
        if: hashFiles('baseline.json') == ''
        run: clipbench check results/benchmark --save-baseline baseline.json
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: benchmark
          path: |
            results
            check.xml
            baseline.json
          if-no-files-found: ignore
  # Times depend on the machine, so the code before and after the change runs here in turns, one run at a time.
  # PYTHONPATH lets each side import the package at the root of its own checkout.
  time:
    runs-on: ubuntu-latest
    timeout-minutes: 120
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 2
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install
        run: |
          pip install torch --index-url https://download.pytorch.org/whl/cpu
          pip install "$CLIPBENCH"
      - name: Check out both sides
        run: |
          git worktree add --detach old HEAD^
          git worktree add --detach new HEAD
      - name: Run both in turns
        if: hashFiles('old/benchmark.yaml') != ''
        run: |
          for seed in 0 1 2 3 4; do
            for side in old new; do
              (cd $side && PYTHONPATH=$PWD clipbench run benchmark.yaml --seeds $seed --jobs 1 -o ../times/$side)
            done
          done
      - name: Check the time
        if: hashFiles('old/benchmark.yaml') != ''
        run: clipbench check times/new/benchmark --baseline times/old/benchmark --fail-on regressed:time
"""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder to write to: the root of a repository.")
    ] = Path(),
) -> None:
    """Write a starter spec and a CI workflow that checks it. Existing files are kept."""
    for name, text in ((SPEC_NAME, SPEC), (WORKFLOW_NAME, WORKFLOW)):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            if not path.is_file():
                raise _unwritable(error, path) from error
            console.say(f"{path} exists already, and is kept")
        else:
            console.put(str(path))
    console.say(f"next: {console.command('run', folder / SPEC_NAME)}")


def _unwritable(error: OSError, path: Path) -> ClipbenchError:
    """Why a file cannot be written: a folder has its name, a file stands in its path, or the system refuses."""
    above = next(each for each in (path, *path.parents) if each.exists())
    if above == path:
        found, remedy = "this is a folder, but a file of this name is needed", "rename it"
    elif not above.is_dir():
        found, remedy = "this is a file, but a folder is needed here", "rename it"
    else:
        found, remedy = f"cannot write {path.relative_to(above)} here ({error.strerror})", "make it writable"
    return ClipbenchError(found, where=str(above), remedy=f"{remedy}, or name another folder: clipbench init DIR")
