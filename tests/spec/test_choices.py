from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            "{use: descnt, lr: 0.1}",
            "4:15: optimizers.slow.use: there is no optimizer 'descnt'; did you mean 'descent'?",
        ),
        ("{use: zzz, lr: 0.1}", "4:15: optimizers.slow.use: there is no optimizer 'zzz'; known: descent"),
        ("{use: descent}", "4:3: optimizers.slow: the arm has no learning rate; give it its own `lr`"),
        (
            "{use: descent, lr: 0.1, momentun: 0.9}",
            "4:33: optimizers.slow.momentun: 'descent' has no option 'momentun'; did you mean 'momentum'?",
        ),
        (
            "{use: descent, lr: '0.1'}",
            "4:28: optimizers.slow.lr: expected float, found the text '0.1' (write it without quotes)",
        ),
        ("{use: descent, lr: true}", "4:28: optimizers.slow.lr: expected float, found true"),
        ("{use: descent, lr: null}", "4:28: optimizers.slow.lr: expected float, found nothing (null)"),
        ("{use: descent, lr: .nan}", "4:28: optimizers.slow.lr: expected float, found not-a-number (.nan)"),
        ("{use: descent, lr: .inf}", "4:28: optimizers.slow.lr: expected float, found infinity"),
        ("{use: descent, lr: {a: 1}}", "4:29: optimizers.slow.lr.a: there is no such key; known: log, range"),
        (
            "{use: descent, lr: 1, nesterov: no}",
            "4:41: optimizers.slow.nesterov: expected bool, found the text 'no' "
            "(a word in YAML 1.2: write true or false)",
        ),
        ("{use: descent, lr: 1, every: 0.5}", "4:38: optimizers.slow.every: expected int, found 0.5"),
        (
            "{use: descent, lr: 1, form: fncy}",
            "4:37: optimizers.slow.form: expected 'plain' | 'fancy', found the text 'fncy'",
        ),
        ("{use: descent, lr: []}", "4:28: optimizers.slow.lr: the list is empty: a grid needs at least one value"),
        ("{use: descent, lr: [0.1, 0.3, 0.1]}", "4:39: optimizers.slow.lr.2: 0.1 is in the grid twice"),
        ("{use: descent, lr: [1, 1.0]}", "4:32: optimizers.slow.lr.1: 1.0 is in the grid twice"),
        ("{use: descent, lr: [0.1, true]}", "4:34: optimizers.slow.lr.1: expected float, found true"),
        ("{use: descent, lr: [[0.1]]}", "4:29: optimizers.slow.lr.0: expected float, found the list [0.1]"),
        (
            "{use: descent, lr: 1, betas: 0.9}",
            "4:38: optimizers.slow.betas: expected tuple[float, float], found 0.9",
        ),
        (
            "{use: descent, lr: 1, betas: [0.9]}",
            "4:38: optimizers.slow.betas: expected tuple[float, float], found the list [0.9]",
        ),
        (
            "{use: descent, lr: 1, betas: [[0.9, 0.9], [0.9]]}",
            "4:51: optimizers.slow.betas.1: expected tuple[float, float], found the list [0.9]",
        ),
    ],
)
def test_a_wrong_name_or_option_of_an_arm_is_a_fault_at_its_place(bench: Bench, settings: str, fault: str) -> None:
    assert bench.faults(lambda: bench.arm(settings)) == [fault]


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("vally", "2:7: task: there is no task 'vally'; did you mean 'valley'?"),
        ("[bowl, vally]", "2:14: task.1: there is no task 'vally'; did you mean 'valley'?"),
        ("{use: bowl, widht: 3}", "2:19: task.widht: 'bowl' has no option 'widht'; did you mean 'width'?"),
        ("[{use: bowl, width: 0.5}]", "2:27: task.0.width: expected int, found 0.5"),
        ("[bowl, {use: bowl, width: x}]", "2:33: task.1.width: expected int, found the text 'x'"),
        ("[valley, valley]", "2:16: task.1: the task 'valley' is here twice"),
    ],
)
def test_a_wrong_task_is_a_fault_at_its_place(bench: Bench, task: str, fault: str) -> None:
    assert bench.faults(lambda: bench.replaced("task: valley", f"task: {task}")) == [fault]


@pytest.mark.parametrize(
    ("probes", "fault"),
    [
        ("[sharpnes]", "8:20: measure.probes.0: there is no probe 'sharpnes'; did you mean 'sharpness'?"),
        (
            "[norms, norms]",
            "8:27: measure.probes.1: the probe 'norms' is here twice; its measurements could not be told apart",
        ),
        (
            "[{use: norms, samples: [1, 2]}]",
            "8:42: measure.probes.0.samples: expected int, found the list [1, 2]; a probe's options are no grid",
        ),
    ],
)
def test_a_wrong_probe_is_a_fault_at_its_place(bench: Bench, probes: str, fault: str) -> None:
    text = f"{MINIMAL}measure: {{probes: {probes}}}\n"
    assert bench.faults(lambda: bench.load(text)) == [fault]


def test_a_required_option_that_is_missing_is_named(bench: Bench, shelves: Path) -> None:
    (shelves / "tasks" / "hill.py").write_text("def build(seed, device, *, height: float): ...\n")
    [fault] = bench.faults(lambda: bench.replaced("task: valley", "task: hill"))
    assert fault == "2:1: task: 'hill' needs the option 'height' (float)"


def test_a_broken_file_is_a_fault_only_for_the_spec_that_names_it(bench: Bench, shelves: Path) -> None:
    (shelves / "optimizers" / "odd.py").write_text("def build(:\n")
    assert len(bench.load().arms) == 2
    [fault] = bench.faults(lambda: bench.arm("{use: odd, lr: 0.1}"))
    assert fault.startswith("4:15: optimizers.slow.use: the optimizer 'odd' cannot be used: ")
    assert "odd.py:1: not valid Python" in fault


def test_all_faults_are_told_at_once_in_the_order_of_the_file(bench: Bench) -> None:
    text = """\
task: vally
optimizers:
  a: {use: descnt, lr: 0.1}
  b: {use: descent}
  b: {use: descent, lr: 1}
  c: {use: descent, lr: no, clip: {fraction: 2}}
baseline: d
budget: {steps: 0}
seeds: []
tuning: 1
"""
    faults = bench.faults(lambda: bench.load(text))
    places = ["1:7", "3:12", "4:3", "5:3", "6:25", "6:46", "7:11", "8:17", "9:8", "10:9"]
    assert [":".join(fault.split(":")[:2]) for fault in faults] == places
