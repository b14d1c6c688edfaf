import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.errors import SpecError
from clipbench.questions import Manner
from clipbench.records import Choice
from clipbench.sources.code import file_sha256
from clipbench.spec import externals, load, question
from clipbench.spec.catalogue import Kind
from clipbench.store import read_question, write_question

pytestmark = pytest.mark.slow  # a user's modules are loaded in processes of their own

MINE = '''
"""An optimizer of the user's own."""
print("a module may print what it likes")

class Mine:
    def __init__(self, params, lr: float = 0.1, *, momentum=0, betas=(0.9, 0.99), nesterov=False, mode="a", rate=None):
        pass

class Open:
    def __init__(self, params, **options):
        pass

class Needy:
    def __init__(self, params, lr, size, /, place=0):
        pass

class Strict:
    def __init__(self, params, lr, *, size: int, mode: "bool | str" = False, scales: list[float] = ()):
        pass

class Nothing:
    def __init__(self):
        pass

class Rest:
    def __init__(self, *params, lr):
        pass

CONSTANT = 3

def build(seed, device, *, depth=1):
    pass
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's own modules, which is the current one."""
    folder = tmp_path / "here"
    (folder / "mine" / "deep").mkdir(parents=True)
    (folder / "mine" / "opt.py").write_text(MINE)
    (folder / "mine" / "deep" / "inner.py").write_text("from mine.opt import Mine\n")
    (folder / "crash.py").write_text("raise RuntimeError('not today')\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "lazy.py").write_text("def __getattr__(name):\n    return __import__(f'no_{name}')\n")
    (folder / "quits.py").write_text("import os\nos._exit(0)\n")
    (folder / "dies.py").write_text("import os, sys\nprint('out of memory', file=sys.stderr)\nos._exit(9)\n")
    (folder / "lacks.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.chdir(folder)
    return folder


def optimizer(bench: Bench, settings: str) -> Choice:
    return settled(bench.arm(settings))[0].optimizer


def test_a_class_of_the_users_own_is_found_from_the_current_folder(bench: Bench, here: Path) -> None:
    found = optimizer(bench, '{use: "mine.opt:Mine", lr: 1, betas: [0, 1], mode: b, rate: 3}')
    assert (found.name, found.use, found.target) == ("Mine", "mine.opt:Mine", "mine.opt:Mine")
    # Only what the spec gives is passed on; the class's own defaults stay its own.
    assert repr(found.options) == "{'lr': 1.0, 'betas': (0, 1), 'mode': 'b', 'rate': 3}"
    assert found.source == f"mine.opt:{file_sha256(here / 'mine' / 'opt.py')[:16]}"


def test_its_source_changes_with_its_code_wherever_the_spec_finds_it(bench: Bench, here: Path) -> None:
    settings = '{use: "mine.deep.inner:Mine", lr: 1}'
    before = optimizer(bench, settings).source
    path = here / "mine" / "opt.py"
    path.write_text(path.read_text() + "# a comment\n")
    assert optimizer(bench, settings).source == before
    path.write_text(path.read_text() + "X = 1\n")
    assert optimizer(bench, settings).source != before


def test_lists_are_grids_but_for_an_option_whose_default_is_a_list(bench: Bench) -> None:
    spec = bench.arm('{use: "mine.opt:Mine", lr: [0.1, 0.2], betas: [0.5, 0.6]}')
    assert [arm.name for arm in spec.arms] == ["slow[lr=0.1]", "slow[lr=0.2]", "fast"]
    assert settled(spec)[0].optimizer.options["betas"] == (0.5, 0.6)


def test_a_class_with_kwargs_takes_any_option(bench: Bench) -> None:
    found = optimizer(bench, '{use: "mine.opt:Open", lr: 1, whatever: text, betas: [[0.9, 0.99]]}')
    assert found.options == {"lr": 1.0, "whatever": "text", "betas": (0.9, 0.99)}
    [fault] = bench.faults(lambda: bench.arm('{use: "mine.opt:Open", lr: fast}'))
    assert fault == "4:36: optimizers.slow.lr: expected number, found the text 'fast'"


def test_lists_and_unions_are_taken_as_annotated(bench: Bench) -> None:
    found = optimizer(bench, '{use: "mine.opt:Strict", lr: 1, size: 2, mode: yes, scales: [1, 2]}')
    assert found.options == {"lr": 1.0, "size": 2, "mode": "yes", "scales": (1, 2)}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('{use: "mine.opt:Mine"}', "4:3: optimizers.slow: the arm has no learning rate; give it its own `lr`"),
        (
            '{use: "mine.opt:Mine", lr: 1, momentun: 1}',
            "4:39: optimizers.slow.momentun: 'mine.opt:Mine' has no option 'momentun'; did you mean 'momentum'?",
        ),
        (
            '{use: "mine.opt:Mine", lr: 1, momentum: "0.9"}',
            "4:49: optimizers.slow.momentum: expected number, found the text '0.9' (write it without quotes)",
        ),
        (
            '{use: "mine.opt:Mine", lr: 1, nesterov: no}',
            "4:49: optimizers.slow.nesterov: expected bool, found the text 'no' "
            "(a word in YAML 1.2: write true or false)",
        ),
        ('{use: "mine.opt:Mine", lr: 1, betas: 0.9}', "4:46: optimizers.slow.betas: expected list, found 0.9"),
        ('{use: "mine.opt:Mine", lr: .nan}', "4:36: optimizers.slow.lr: expected number, found not-a-number (.nan)"),
        ('{use: "mine.opt:Mine", lr: null}', "4:36: optimizers.slow.lr: expected number, found nothing (null)"),
        (
            '{use: "mine.opt:Strict", lr: 1}',
            "4:3: optimizers.slow: 'mine.opt:Strict' needs the option 'size' (number)",
        ),
    ],
)
def test_a_wrong_option_of_something_from_elsewhere_is_a_fault(bench: Bench, settings: str, fault: str) -> None:
    assert bench.faults(lambda: bench.arm(settings)) == [fault]


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("mine.opt", "there is no optimizer 'mine.opt'"),
        ("mine.opt:", "is not of the form package:Class"),
        ("mine opt:Mine", "is not of the form package:Class"),
        ("--help:x", "is not of the form package:Class"),
        ("nowhere_at_all.x:Y", "there is no package 'nowhere_at_all' on this machine"),
        ("mine.optt:Mine", "importing 'mine.optt' failed: No module named 'mine.optt'"),
        ("lacks:Mine", "importing 'lacks' failed: No module named 'no_such_package_anywhere'"),
        ("mine.opt:Mien", "'mine.opt' has no 'Mien'; did you mean 'Mine'?"),
        ("mine.opt:CONSTANT", "is of type int, not a class or a function"),
        ("mine.opt:Nothing", "it is not called with named_parameters and options"),
        ("crash:X", "importing 'crash' failed: RuntimeError: not today"),
        ("leaves:X", "importing 'leaves' failed: SystemExit: 3"),
        ("lazy:X", "'X' of 'lazy' failed to load: ModuleNotFoundError: No module named 'no_X'"),
        ("quits:X", "importing it ended Python with exit status 0: it said nothing"),
        ("dies:X", "importing it ended Python with exit status 9: out of memory"),
    ],
)
def test_what_cannot_be_had_from_elsewhere_is_a_fault_of_use(bench: Bench, use: str, said: str) -> None:
    [fault] = bench.faults(lambda: bench.arm(f'{{use: "{use}", lr: 0.1}}'))
    assert fault.startswith("4:15: optimizers.slow.use: ")
    assert said in fault


def test_a_module_that_takes_python_down_is_told_from_its_neighbours(bench: Bench) -> None:
    text = MINIMAL.replace("use: descent, lr: 0.1", 'use: "mine.opt:Mine", lr: 1').replace(
        "use: descent", 'use: "dies:X"'
    )
    [fault] = bench.faults(lambda: bench.load(text))
    assert fault.startswith("5:15: optimizers.fast.use: ")


def test_a_module_that_python_has_loaded_but_cannot_find_again_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "loaded_by_hand", types.ModuleType("loaded_by_hand"))
    [fault] = bench.faults(lambda: bench.arm('{use: "loaded_by_hand:X", lr: 0.1}'))
    assert "importing 'loaded_by_hand' failed: No module named" in fault


def test_an_import_without_end_is_given_up(bench: Bench, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "sleeps.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(externals, "_IMPORT_SECONDS", 0.5)
    [fault] = bench.faults(lambda: bench.arm('{use: "sleeps:X", lr: 0.1}'))
    assert "importing it took longer than 0.5 s" in fault


def test_code_that_is_gone_once_it_was_imported_is_a_fault(bench: Bench, here: Path) -> None:
    (here / "fleeting.py").write_text(MINE + "\nimport os\nos.remove(__file__)\n")
    [fault] = bench.faults(lambda: bench.arm('{use: "fleeting:Mine", lr: 0.1}'))
    assert "its code cannot be read" in fault


def test_all_of_a_specs_things_from_elsewhere_are_asked_in_one_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> object:
        calls.append(command)
        return run(command, **options)  # passed through as it came

    monkeypatch.setattr(subprocess, "run", counted)
    text = MINIMAL.replace("use: descent, lr: 0.1", 'use: "mine.opt:Mine", lr: 1')
    bench.load(text.replace("use: descent, lr: 0.3", 'use: "mine.opt:Rest", lr: 1').replace(", momentum: 0.9", ""))
    assert [command[5:] for command in calls] == [["mine.opt:Mine", "mine.opt:Rest"]]
    calls.clear()
    bench.load()
    assert calls == []


@pytest.mark.parametrize(("kind", "name"), [("tasks", "opt"), ("optimizers", "opt")])
def test_something_called_build_is_named_by_its_module(kind: Kind, name: str) -> None:
    described = externals.describe(["mine.opt:build"])["mine.opt:build"]
    found = externals.external_entry(kind, "mine.opt:build", described)
    assert found.name == name


def test_a_task_of_the_users_own_can_be_used(bench: Bench) -> None:
    [task] = bench.replaced("task: valley", 'task: {use: "mine.opt:build", depth: 2}').tasks
    assert (task.name, task.target, task.options) == ("opt", "mine.opt:build", {"depth": 2})


def test_torchs_own_muon_is_known_by_the_version_of_torch(bench: Bench) -> None:
    found = optimizer(bench, '{use: "torch.optim:Muon", lr: 0.02, nesterov: true, ns_coefficients: [3, -4, 2]}')
    assert found.options == {"lr": 0.02, "nesterov": True, "ns_coefficients": (3, -4, 2)}
    assert found.source.startswith("torch==2.")


def test_a_task_of_the_users_own_says_how_its_metrics_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "optimizers: {sgd: {use: sgd, lr: 0.1}}\nbudget: {steps: 9}\nseeds: [0]\nevaluate: {every: 3}\n"
    said = "QUANTITIES = {'accuracy': ('linear', 'higher', 'last')}\n"
    built = "def build(seed, device):\n    ...\n"
    Path("shelf/tasks").mkdir(parents=True)
    sources = []
    for declared in (said, said.replace("higher", "lower"), ""):
        Path("own_metered.py").write_text(declared + built)
        Path("shelf/tasks/metered.py").write_text(declared + built)
        for use in ("'own_metered:build'", "metered"):
            Path("mine.yaml").write_text(f"task: {use}\n{text}measure: {{probes: []}}\n")
            spec = load("mine.yaml")
            expected = {"accuracy": Manner("linear", "higher" if "higher" in declared else "lower", "last")}
            assert question(spec).quantities == (expected if declared else {})
            sources.append(spec.tasks[0].source)
    assert len(set(sources)) == 2  # of two files: what is read differently is not made again


MEASURE = "def measure(snapshot):\n    yield '', 'angle', 1.0\n"


@pytest.mark.parametrize(
    ("said", "manner"),
    [
        ("", None),
        ("QUANTITIES = {'angle': ('log', 'higher', 'last')}\n", Manner("log", "higher", "last")),
        ("QUANTITIES = {'angle': ('log', 'up', 'last')}\n", "of linear or log; lower or higher or neither"),
        ("QUANTITIES = {'angle': tuple('abc')}\n", "written out as a literal"),
    ],
)
def test_how_a_probe_of_the_users_own_is_read_stands_in_its_file_and_in_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, manner: Manner | str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_angle.py").write_text(f"{said}{MEASURE}")
    text = "task: {use: quadratic}\noptimizers: {sgd: {use: sgd, lr: 0.1}}\nbudget: {steps: 9}\n"
    text += "seeds: [0]\nevaluate: {every: 3}\n"
    Path("mine.yaml").write_text(f"{text}measure: {{every: 3, probes: ['own_angle:measure']}}\n")
    if isinstance(manner, str):
        with pytest.raises(SpecError, match=manner):
            load("mine.yaml")
        return
    spec = load("mine.yaml")
    assert question(spec).quantities == ({} if manner is None else {"angle": manner})
    write_question(question(spec), tmp_path)
    assert ("quantities" in (tmp_path / "mine/question.json").read_text()) is (manner is not None)
    assert read_question(tmp_path / "mine") == question(spec)
