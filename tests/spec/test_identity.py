"""What of the user's own changes the runs of a spec, and what of clipbench does: code and data."""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from spec.bench import Bench

from clipbench.planning.runs import plan
from clipbench.records import Run
from clipbench.spec import catalogue, load

pytestmark = pytest.mark.slow  # a user's modules are loaded in processes of their own

SPEC = """\
# Which?
task: [{use: "own_task:task", depth: [1, 2]}, valley]
optimizers:
  mine: {use: "own_arm:Mine", lr: 1}
  fast: {use: descent, lr: 0.3}
budget: {steps: 100}
seeds: [0]
measure: {probes: [norms, {use: "own_probe:measure"}]}
"""
FILES = {
    "own_task.py": "import own_task_help\ndef task(seed, device, depth=1): ...\n",
    "own_task_help.py": "X = 1\n",
    "own_arm.py": "import own_arm_help\nclass Mine:\n    def __init__(self, params, lr): ...\n",
    "own_arm_help.py": "X = 1\n",
    "own_probe.py": "QUANTITIES = {'a': ('log', 'lower', 'mean')}\ndef measure(snapshot):\n    import own_probe_help\n",
    "own_probe_help.py": "X = 1\n",
}
OWN, VALLEY = ("task[depth=1]", "task[depth=2]"), ("valley",)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    return folder


def runs(bench: Bench, text: str = SPEC) -> dict[tuple[str, str], Run]:
    return {(run.task.name, run.arm.name): run for run in plan(bench.load(text), device="cpu")}


def keys(bench: Bench) -> dict[tuple[str, str], str]:
    return {name: run.key for name, run in runs(bench).items()}


def changed(before: Mapping[tuple[str, str], str], after: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_a_helper_changes_the_runs_that_use_it_and_no_others(bench: Bench, here: Path) -> None:
    first = keys(bench)
    (here / "own_task_help.py").write_text("X = 2\n")
    second = keys(bench)
    assert changed(first, second) == {(task, arm) for task in OWN for arm in ("mine", "fast")}
    (here / "own_arm_help.py").write_text("X = 2\n")
    third = keys(bench)
    assert changed(second, third) == {(task, "mine") for task in (*OWN, *VALLEY)}
    (here / "own_probe_help.py").write_text("X = 2\n")
    assert changed(third, keys(bench)) == set(third)


def test_how_a_probes_numbers_are_read_and_where_the_project_lies_change_no_run(
    bench: Bench, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keys(bench)
    elsewhere = here.with_name("elsewhere")
    shutil.copytree(here, elsewhere)
    monkeypatch.chdir(elsewhere)
    (elsewhere / "own_probe.py").write_text(FILES["own_probe.py"].replace("'log'", "'linear'"))
    assert keys(bench) == first


DATA = """\
from hashlib import sha256
from pathlib import Path

def task(seed, device, path="x.csv", depth=1, sizes=()): ...

def fingerprint(path, **_):
    return sha256(Path(path).read_bytes()).hexdigest()
"""


def with_data(bench: Bench, code: str = DATA, *, task: str = '{use: "own_data:task", path: x.csv}') -> dict[str, Run]:
    Path("own_data.py").write_text(code)
    found = runs(bench, f"{SPEC[: SPEC.index('task:')]}task: {task}\n{SPEC[SPEC.index('optimizers:') :]}")
    return {name: run for (name, arm), run in found.items() if arm == "fast"}


@pytest.mark.parametrize("content", ["1,2\n" * 1500, "0,0\n" * 2000, ""], ids=["cut", "zeroed", "empty"])
def test_data_that_changed_makes_other_runs_where_the_task_tells_its_fingerprint(bench: Bench, content: str) -> None:
    Path("x.csv").write_text("1,2\n" * 2000)
    before, again = with_data(bench)["task"], with_data(bench)["task"]
    assert before.data == sha256(sha256(Path("x.csv").read_bytes()).hexdigest().encode()).hexdigest()
    assert before.key == again.key
    Path("x.csv").write_text(content)
    assert with_data(bench)["task"].key != before.key


def test_each_task_of_a_grid_tells_its_own_data(bench: Bench) -> None:
    said = DATA.replace("return sha256", "return str(_['depth']) or sha256")
    found = with_data(bench, said, task='{use: "own_data:task", path: x.csv, depth: [1, 2]}')
    assert {name: run.data for name, run in found.items()} == {
        f"task[depth={depth}]": sha256(str(depth).encode()).hexdigest() for depth in (1, 2)
    }


def test_a_list_of_the_spec_is_a_tuple_for_the_fingerprint(bench: Bench) -> None:
    code = DATA.replace("return", "return repr(_['sizes']) or")
    [run] = with_data(bench, code, task='{use: "own_data:task", path: x.csv, sizes: [[1, 2]]}').values()
    assert run.data == sha256(b"(1, 2)").hexdigest()


def test_the_fingerprint_stands_beside_the_task_where_the_spec_names_its_package(bench: Bench) -> None:
    Path("x.csv").write_text("1")
    Path("own_names.py").write_text("from own_data import task\n")
    [run] = with_data(bench, task='{use: "own_names:task", path: x.csv}').values()
    assert run.data


def test_a_task_that_tells_nothing_of_its_data_has_no_fingerprint(bench: Bench) -> None:
    [run] = with_data(bench, DATA[: DATA.index("def fingerprint")]).values()
    assert run.data == ""


@pytest.mark.slow  # imports torch
def test_the_data_that_a_task_hands_to_problem_are_its_fingerprint(bench: Bench) -> None:
    code = (
        "import clipbench\n\ndef task(seed, device, path='x.csv'):\n    return clipbench.problem(seed, device, CALL)\n"
    )
    handed = code.replace("CALL", "data=path, model=1, loss=1, train=1, test=1, batch_size=1")
    Path("x.csv").write_text("1,2")
    before, again = with_data(bench, handed)["task"], with_data(bench, handed)["task"]
    assert before.data
    assert before.key == again.key
    Path("x.csv").write_text("2,1")
    assert with_data(bench, handed)["task"].key != before.key
    assert with_data(bench, handed.replace("data=path, ", ""))["task"].data == ""
    beside = handed + "\ndef fingerprint(path): return 'mine'\n"
    assert with_data(bench, beside)["task"].data == sha256(b"mine").hexdigest()
    Path("x.csv").unlink()
    [fault] = bench.faults(lambda: with_data(bench, handed))
    assert "its fingerprint failed: ClipbenchError: there are no data at x.csv" in fault


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return Path(path).read_text()", "its fingerprint failed: FileNotFoundError"),
        ("    return 3", "its fingerprint is of type int, not a text"),
        (
            "    import os; print('no memory'); os._exit(9)",
            "its fingerprint ended Python with exit status 9: no memory",
        ),
        ("    raise SystemExit", "its fingerprint failed: SystemExit"),
    ],
)
def test_a_fingerprint_that_cannot_be_had_is_a_fault_of_the_task(bench: Bench, body: str, said: str) -> None:
    code = DATA[: DATA.index("    return")] + body + "\n"
    [fault] = bench.faults(lambda: with_data(bench, code))  # it only raises
    assert fault.startswith("2:7: task: the task 'task' cannot be used: ")
    assert said in fault


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """clipbench's own shelves, to be edited."""
    root = tmp_path / "clipbench"
    for part in ("tasks", "optimizers", "wrappers", "probes", "networks", "corpora"):
        shutil.copytree(catalogue.OWN / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("momentum.py", "factored.py", "data.py", "budget.py"):
        shutil.copy(catalogue.OWN / part, root)
    return root


OF_TOKENS = ("byte_lstm", "code_tokens", "masked_tokens")
OF_TEXTS = ("causal_lm", "masked_lm", "seq2seq", "text_classification")


def sources(root: Path) -> dict[str, str]:
    return {f"{kind}/{each.name}": each.source for kind in catalogue.KINDS for each in catalogue.shelf(kind, root)}


@pytest.mark.parametrize(
    ("edited", "of"),
    [
        (
            "networks/transformer.py",
            {"tasks/code_lm", "tasks/digits", "tasks/masked_tokens", "tasks/number_translation"},
        ),
        ("networks/cache.py", {f"tasks/{name}" for name in ("number_translation", *OF_TEXTS)}),
        ("networks/hub.py", {f"tasks/{name}" for name in ("images", *OF_TEXTS)}),
        (
            "data.py",
            {
                f"tasks/{name}"
                for name in (
                    *("code_lm", "digits", "number_translation", "autoencoder", "images"),
                    *OF_TOKENS,
                    *OF_TEXTS,
                )
            },
        ),
        ("corpora/windows.py", {f"tasks/{name}" for name in OF_TOKENS}),
        ("factored.py", {"optimizers/adafactor"}),
        ("momentum.py", {"optimizers/signsgd", "optimizers/normalized_sgd"}),
        ("probes/norms.py", {"probes/norms"}),
        ("budget.py", set()),
    ],
)
def test_an_edit_of_clipbench_changes_what_uses_it_and_nothing_else(copied: Path, edited: str, of: set[str]) -> None:
    before = sources(catalogue.OWN)
    path = copied / edited
    path.write_text(f"{path.read_text()}\nADDED = 1  # and a comment\n")
    assert {name for name, source in sources(copied).items() if source != before[name]} == of


def test_comments_change_nothing_nor_does_how_recorded_numbers_are_read(copied: Path) -> None:
    before = sources(catalogue.OWN)
    copied.joinpath("networks", "cache.py").write_text(f"# words\n{(copied / 'networks' / 'cache.py').read_text()}")
    for path in (copied / name for name in ("probes/norms.py", "tasks/quadratic.py", "optimizers/adam.py")):
        path.write_text(f"{path.read_text()}\nQUANTITIES = {{'a': 'lower'}}\n")
    assert {name for name, source in sources(copied).items() if source != before[name]} == {"optimizers/adam"}


def test_what_a_file_of_the_users_own_imports_from_the_shelves_is_known_by_its_code(tmp_path: Path, here: Path) -> None:
    (here / "own_arm.py").write_text(
        "from clipbench.momentum import momentum_averages\nfrom clipbench.tasks import quadratic\n"
        "from clipbench.contracts import Batch\n" + FILES["own_arm.py"]
    )
    path = tmp_path / "s.yaml"
    path.write_text(
        "# Which?\ntask: quadratic\noptimizers:\n  a: {use: 'own_arm:Mine', lr: 1}\nbudget: {steps: 2}\nseeds: [0]\n"
    )
    [arm] = load(path).arms
    source = arm.optimizer.source  # type: ignore[union-attr]  # it is not tuned
    assert [each.partition(":")[0] for each in source.split()] == [
        "clipbench.momentum",
        "clipbench.networks",
        "clipbench.networks.options",
        "clipbench.networks.seeding",
        "clipbench.tasks",
        "clipbench.tasks.quadratic",
        "own_arm",
        "own_arm_help",
    ]
