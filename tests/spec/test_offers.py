"""Names from installed packages and from the shelf beside a spec, and options whose names are keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench, settled
from spec.installed import OPTIMIZER, package, seen, shelf_beside

from clipbench.questions import Manner
from clipbench.records import Choice
from clipbench.spec import json_schema, offers, question
from clipbench.spec.offers import entries


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the spec; the current folder is another."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield tmp_path
    offers._installed.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, one of which names an optimizer."""
    package(tmp_path / "site", "off_lib", "optimizers.muon = off_lib:build\ntasks.pit = off_lib")
    seen(tmp_path / "site", monkeypatch)
    return tmp_path / "site"


def optimizer(bench: Bench, settings: str) -> Choice:
    return settled(bench.arm(settings))[0].optimizer


def test_all_names_are_listed_with_where_they_come_from(here: Path, shelves: Path, site: Path) -> None:
    del site
    shelf_beside(here)
    listed = {each.name: each for each in entries("optimizers", own=shelves, folder=here)}
    assert {name: each.origin for name, each in listed.items()} == {
        "descent": "",
        "mine": f"{here}/shelf/optimizers/mine.py",
        "muon": "off_lib 1.5",
    }
    assert (listed["mine"].summary, [option.name for option in listed["mine"].options]) == (
        "Descent with a factor.",
        ["lr", "clip"],
    )
    assert [(each.name, each.target) for each in entries("tasks", own=shelves) if each.origin] == [
        ("pit", "off_lib:build")
    ]


@pytest.mark.parametrize("name", ["my-own", "v1.2", "1x", "a b", "a:b"])
def test_a_file_whose_name_no_spec_can_use_is_listed_with_what_to_do(here: Path, bench: Bench, name: str) -> None:
    shelf_beside(here)
    (here / f"shelf/optimizers/{name}.py").write_text(OPTIMIZER)
    broken = {each.name: each.broken for each in entries("optimizers", own=bench.shelves, folder=here) if each.origin}
    assert broken.keys() == {"mine", name}
    assert broken["mine"] == ""
    assert broken[name].startswith("no module of Python has such a name; rename its file: ")
    if ":" not in name:  # which names a package
        [fault] = bench.faults(lambda: bench.arm(f"{{use: '{name}', lr: 1}}"))
        assert f"the optimizer '{name}' cannot be used: no module of Python has such a name" in fault


def test_a_name_that_two_things_have_is_an_error_that_names_both(here: Path, bench: Bench, site: Path) -> None:
    package(site, "off_more", "optimizers.descent = off_more:build")
    shelf_beside(here)
    (here / "shelf/optimizers/muon.py").write_text(OPTIMIZER)
    offers._installed.cache_clear()
    broken = {each.broken for each in entries("optimizers", own=bench.shelves, folder=here) if each.name == "muon"}
    said = (
        f"two things have this name, from off_lib 1.5 and {here}/shelf/optimizers/muon.py; rename one, or write its "
        "module:attribute"
    )
    assert broken == {said}


@pytest.mark.slow
def test_a_spec_cannot_use_such_a_name(bench: Bench, site: Path) -> None:
    package(site, "off_more", "optimizers.descent = off_more:build\noptimizers.muon = off_more:build")
    offers._installed.cache_clear()
    faults = bench.faults(lambda: bench.arm("{use: muon, lr: 1}"))
    packages = "two things have this name, from off_lib 1.5 and off_more 1.5"
    assert faults[0].startswith(f"4:15: optimizers.slow.use: the optimizer 'muon' cannot be used: {packages}; rename")
    own = f"clipbench ({bench.shelves}/optimizers/descent.py)"
    assert f"'descent' cannot be used: two things have this name, from {own} and off_more 1.5" in faults[1]


def test_the_schema_has_every_name_and_the_options_of_files(here: Path, shelves: Path, site: Path) -> None:
    del site
    shelf_beside(here)
    arm = json_schema(shelves=shelves, folder=here)["$defs"]["ArmSettings"]
    assert arm["properties"]["use"]["anyOf"][0] == {"enum": ["descent", "mine", "muon"]}
    rules = {rule["if"]["properties"]["use"]["const"]: rule["then"]["properties"] for rule in arm["allOf"]}
    assert rules.keys() == {"descent", "mine"}
    assert rules["mine"]["clip"] is True  # an arm's own clip
    assert rules["mine"]["options"]["properties"]["clip"]["description"] == "a factor of the rate."
    assert rules["descent"]["options"] == {"type": "object", "properties": {}, "additionalProperties": False}


def shelved(bench: Bench, text: str = MINIMAL) -> dict[str, Choice]:
    """What a spec with the shelf beside it names: its first arm, its task and its probe."""
    text = text.replace("task: valley", "task: dish").replace("{use: descent, lr: 0.1}", "{use: mine, lr: 0.1}")
    spec = bench.load(f"{text}measure: {{every: 5, probes: [span]}}\n")
    assert spec.code == str(bench.path.parent)
    assert question(spec).quantities == {"span": Manner("log", "lower", "greatest")}
    return {"arm": settled(spec)[0].optimizer, "task": spec.tasks[0], "probe": spec.measure.probes[0]}


@pytest.mark.slow
def test_a_file_beside_the_spec_is_known_by_its_name_its_options_and_its_code(here: Path, bench: Bench) -> None:
    shelf_beside(here)
    before = shelved(bench)
    assert (before["arm"].name, before["arm"].use, before["arm"].target) == (
        "mine",
        "mine",
        "shelf.optimizers.mine:build",
    )
    assert before["arm"].options == {"lr": 0.1, "clip": 1.0}
    assert before["task"].options == {"dimension": 4}
    files = [here / name for name in ("shelf/optimizers/mine.py", "shelf/tasks/dish.py", "shelf/probes/span.py")]
    for path in files:
        path.write_text(f"# a comment\n{path.read_text()}")
    assert shelved(bench) == before
    for edited, changes in ((files[1:], {"task", "probe"}), ([here / "own_help.py"], {"arm"}), (files[:1], {"arm"})):
        for path in edited:
            path.write_text(f"{path.read_text()}\nADDED = 1\n")
        after = shelved(bench)
        assert {each for each in before if after[each].source != before[each].source} == changes
        before = after


@pytest.mark.slow
def test_clipbenchs_own_things_ask_for_no_folder(bench: Bench) -> None:
    assert bench.load().code == ""


@pytest.mark.slow
def test_a_file_of_the_spec_that_python_would_not_import_is_an_error(here: Path, bench: Bench) -> None:
    shelf_beside(here)
    shelf_beside(here / "elsewhere")
    faults = bench.faults(lambda: bench.arm("{use: mine, lr: 1}"))
    one, two = f"{here}/elsewhere/shelf/optimizers/mine.py", f"{here}/shelf/optimizers/mine.py"
    assert f"the optimizer 'mine' cannot be used: Python imports {one} in place of {two}" in faults[0]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "said"), [("lr: 1", "its option 'lr' cannot be read"), ("lr: 2", "x")])
def test_a_faulty_file_beside_the_spec_is_a_fault_of_its_name(
    here: Path, bench: Bench, settings: str, said: str
) -> None:
    shelf_beside(here)
    text = OPTIMIZER.replace("lr: float", "lr") if said != "x" else f"raise RuntimeError('x')\n{OPTIMIZER}"
    (here / "shelf/optimizers/mine.py").write_text(text)
    [fault] = bench.faults(lambda: bench.arm(f"{{use: mine, {settings}}}"))
    assert fault.startswith("4:15: optimizers.slow.use: the optimizer 'mine' cannot be used: ")
    assert said in fault


@pytest.mark.slow
def test_a_packages_name_stands_for_what_it_offers(bench: Bench, site: Path) -> None:
    del site
    found = optimizer(bench, "{use: muon, lr: 1}")
    assert (found.name, found.use, found.target, found.options) == ("muon", "muon", "off_lib:build", {"lr": 1.0})
    assert found.source == "off_lib==1.5"


@pytest.mark.slow
def test_a_module_is_found_beside_the_spec_and_first_in_the_current_folder(here: Path, bench: Bench) -> None:
    text = "class Mine:\n    def __init__(self, params, lr): ...\n"
    (here / "off_beside.py").write_text(text)
    beside = optimizer(bench, "{use: 'off_beside:Mine', lr: 1}").source
    assert beside.startswith("off_beside:")
    (here / "elsewhere" / "off_beside.py").write_text(f"{text}    rate = 1\n")
    assert optimizer(bench, "{use: 'off_beside:Mine', lr: 1}").source != beside


CLIPPED = "class Own:\n    def __init__(self, params, lr, clip=1, use='', **more): ...\n"


@pytest.mark.slow
def test_an_option_with_the_name_of_a_key_stands_under_options(here: Path, bench: Bench) -> None:
    (here / "off_own.py").write_text(CLIPPED)
    start = "{use: 'off_own:Own', lr: 1, clip: {norm: 2}, "
    [arm, _] = settled(bench.arm(f"{start}options: {{clip: 0.5, use: a, options: 3}}}}"))
    assert arm.optimizer.options == {"lr": 1, "clip": 0.5, "use": "a", "options": 3}
    assert arm.clip is not None
    arms = settled(bench.arm(f"{start}options: {{clip: [0.5, 1]}}}}"))
    assert [each.name for each in arms] == ["slow[clip=0.5]", "slow[clip=1]", "fast"]
    assert [arm.optimizer.options.get("clip") for arm in arms] == [0.5, 1, None]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            "{use: descent, options: {lr: 1}}",
            "4:34: optimizers.slow.options.lr: 'lr' is no key of the spec, so that it belongs beside `use`",
        ),
        ("{use: descent, lr: 1, options: 3}", "4:40: optimizers.slow.options: expected a mapping, found 3"),
        (
            "{use: descent, lr: 1, options: {clip: 2}}",
            "4:41: optimizers.slow.options.clip: 'descent' has no option 'clip'; known: betas, cap, eps, every, form, "
            "lr, momentum, nesterov",
        ),
    ],
)
def test_what_does_not_belong_under_options_is_a_fault(bench: Bench, settings: str, fault: str) -> None:
    assert bench.faults(lambda: bench.arm(settings)) == [fault]


def test_a_task_has_options_with_the_names_of_its_terms(bench: Bench) -> None:
    path = bench.shelves / "tasks" / "bowl.py"
    path.write_text(path.read_text().replace("width: int = 8", "budget: int"))
    [fault] = bench.faults(lambda: bench.replaced("task: valley", "task: bowl"))
    assert fault == "2:1: task: 'bowl' needs the option 'budget' (int); give it under `options`"
    [task] = bench.replaced("task: valley", "task: {use: bowl, options: {budget: 3}}").tasks
    assert task.options["budget"] == 3
    [task] = bench.replaced("task: valley", "task: {use: bowl, options: {budget: 3}}", "task.options.budget=4").tasks
    assert task.options["budget"] == 4
