"""The files that `clipbench init` writes."""

SCHEMA_NAME = "clipbench-schema.json"

SPEC = f"""\
# yaml-language-server: $schema={SCHEMA_NAME}
# Is my optimizer worth it here?
#
# The first paragraph is the question; it is printed above the table. `clipbench list tasks` and `clipbench list
# optimizers` show what you can choose.
task: {{use: code_lm}}         # yours: {{use: "my_task:build"}}, a function in my_task.py
optimizers:
  # mine: {{use: "my_package:MyOptimizer", lr: 0.003}}    # yours: a torch.optim.Optimizer, with its options
  adam: {{use: adam, lr: 0.003}}
  sgd: {{use: sgd, lr: 0.3, momentum: 0.9, dampening: 0.9}}
  sgd+clip: {{use: sgd, lr: 1.0, momentum: 0.9, dampening: 0.9, clip: {{fraction: 0.1}}}}
baseline: adam
budget: {{steps: 200}}
seeds: [0, 1, 2, 3, 4]       # with fewer than five, small differences stay undecided
evaluate: {{every: 10}}
target: {{loss: 2.8}}
measure: {{every: 50, probes: [sharpness]}}
device: cpu
threads: 1                   # a different number changes the last bits
"""

TASK = '''\
"""A task to start from: replace `data` and the model by yours. In the spec: task: {use: "my_task:build"}."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import clipbench

QUANTITIES = {"accuracy": ("linear", "higher", "last")}  # how it is read: higher is better, at the last evaluation


def data(first, last):
    """Some of the examples with their classes. From disk: make a data set of `torch.load("data.pt")`."""
    x = torch.randn(2048, 16, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.TensorDataset(x[first:last], (x[first:last, 0] * x[first:last, 1] > 0).long())


def accuracy(model, batch):
    """How many of the batch are right, and how many there are."""
    return (model(batch[0]).argmax(dim=1) == batch[1]).sum(), len(batch[1])


def build(seed, device, *, width: int = 64, batch: int = 32):
    """The same seed gives the same weights and batches. Options have a type, and a default unless the spec sets them.

    Args:
        width: of the hidden layer.
        batch: examples in a training batch.
    """
    return clipbench.problem(
        seed,
        device,
        model=lambda: nn.Sequential(nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2)),
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
        train=lambda: data(0, 1536),
        test=lambda: data(1536, 2048),  # held out, also for curvature
        batch_size=batch,
        metrics={"accuracy": accuracy},
        # data="data.pt",  # what the examples are read from: changed data make the runs again
    )
'''

GITIGNORE = f"""\
/results/
/{SCHEMA_NAME}
__pycache__/
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
  CLIPBENCH: ""  # set this to your copy of clipbench, which is not on PyPI: git+https://..., a folder or a wheel
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
          pip install "${CLIPBENCH:?set it in this workflow to the address or path of your copy}"
          if [ -f pyproject.toml ] || [ -f setup.py ]; then pip install --editable .; fi  # your own package
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
  # PYTHONPATH lets each side import the package of its own checkout.
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
          pip install "${CLIPBENCH:?set it in this workflow to the address or path of your copy}"
          if [ -f pyproject.toml ] || [ -f setup.py ]; then pip install --editable .; fi  # your own package
      - name: Check out both sides
        run: |
          if git rev-parse --quiet --verify HEAD^; then  # before the first commit there is nothing to compare with
            git worktree add --detach old HEAD^
            git worktree add --detach new HEAD
          fi
      - name: Run both in turns
        if: hashFiles('old/benchmark.yaml') != ''
        run: |
          for seed in 0 1 2 3 4; do
            for side in old new; do
              (cd $side && PYTHONPATH=$PWD/src:$PWD \\
                clipbench run benchmark.yaml --seeds $seed --jobs 1 -o ../times/$side)
            done
          done
      - name: Check the time
        if: hashFiles('old/benchmark.yaml') != ''
        run: clipbench check times/new/benchmark --baseline times/old/benchmark --fail-on regressed:time
"""


def spec(optimizer: str | None, task: str | None) -> str:
    """The starter spec with an optimizer and a task of the user's, where they are named."""
    text = SPEC
    if optimizer is not None:
        text = text.replace('# mine: {use: "my_package:MyOptimizer"', f'mine: {{use: "{optimizer}"')
    if task is not None:
        text = text.replace(
            '{use: code_lm}         # yours: {use: "my_task:build"}, a function in my_task.py', f'{{use: "{task}"}}'
        )
        text = text.replace("target: {loss: 2.8}", "# target: {loss: 0.5}      # the evaluation loss to reach")
    return text
