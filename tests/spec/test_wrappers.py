"""What goes around an arm's optimizer, in a spec: read, refused, tuned, set from outside, and in nobody else's key."""

from dataclasses import replace
from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.planning.runs import plan
from clipbench.records import Arm
from clipbench.spec import json_schema
from clipbench.spec.searching import Searched

AROUND = '''\
"""Around."""

def build(optimizer, named_parameters, *, k: int = 5, way: str = "up", use: str = "x"):
    """Make.

    Args:
        k: how often.
    """
'''
OWN = "import torch\n\nclass Slow:\n    def __init__(self, optimizer, k=5, **more): ...\n\ndef lone(optimizer): ...\n"


@pytest.fixture
def wrappers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = bench.shelves / "wrappers"
    folder.mkdir()
    (folder / "around.py").write_text(AROUND)
    (bench.path.parent / "mywrappers.py").write_text(OWN)
    monkeypatch.chdir(bench.path.parent)
    return bench


def wrapped(bench: Bench, wrap: str, beside: str = "") -> Arm:
    return settled(bench.arm(f"{{use: descent, lr: 0.1, wrap: {wrap}{beside}}}"))[0]


def test_an_arm_has_its_wrappers_innermost_first(wrappers: Bench) -> None:
    arm = wrapped(wrappers, '[around, {use: "mywrappers:Slow", k: 3, odd: [1]}]', ", clip: {fraction: 0.1}")
    first, second = arm.wrap
    assert (first.name, first.target) == ("around", "bench.wrappers.around:build")
    assert first.options == {"k": 5, "way": "up", "use": "x"}
    assert len(first.source) == 64
    assert (second.name, second.target, second.options) == ("Slow", "mywrappers:Slow", {"k": 3, "odd": 1})
    assert "mywrappers" in second.source
    assert arm.clip is not None
    assert arm.twin().wrap == arm.wrap
    assert not arm.create_graph


def test_its_options_go_by_its_name(wrappers: Bench) -> None:
    arm = wrapped(wrappers, "[{use: around, k: 3, options: {use: y}}]")
    assert {name: arm.options[name] for name in ("lr", "wrap.around.k", "wrap.around.use")} == {
        "lr": 0.1,
        "wrap.around.k": 3,
        "wrap.around.use": "y",
    }
    assert arm.with_options(arm.options) == arm
    changed = arm.with_options({**arm.options, "wrap.around.k": 9, "lr": 1.0})
    assert (changed.wrap[0].options["k"], changed.optimizer.options["lr"]) == (9, 1.0)
    assert arm.learning_rate == 0.1


def test_the_optimizers_of_an_arm_with_groups_are_wrapped_as_one(wrappers: Bench) -> None:
    groups = "{groups: {rest: {use: descent, lr: 1}}, wrap: [around], create_graph: true}"
    [arm, _] = settled(wrappers.arm(groups))
    assert [wrapper.name for wrapper in arm.wrap] == ["around"]
    assert arm.create_graph
    assert (arm.options["groups.rest.lr"], arm.options["wrap.around.k"]) == (1.0, 5)
    assert arm.with_options(arm.options) == arm


def test_a_list_is_a_grid_and_a_space_is_tuned(wrappers: Bench) -> None:
    grid = settled(wrappers.arm("{use: descent, lr: 0.1, wrap: [{use: around, k: [2, 3]}]}"))
    assert [arm.name for arm in grid[:2]] == ["slow[wrap.around.k=2]", "slow[wrap.around.k=3]"]
    assert [arm.wrap[0].options["k"] for arm in grid[:2]] == [2, 3]
    tuned = MINIMAL.replace("lr: 0.1}", "lr: 0.1, wrap: [{use: around, k: {range: [1, 9]}}]}")
    tuned = tuned.replace("momentum: 0.9}", "momentum: {range: [0.1, 0.9]}}")
    searched = wrappers.load(tuned + "tuning: {search: halton, trials: 3, seeds: [7]}\n").arms[0]
    assert isinstance(searched, Searched)
    assert [space.setting for space in searched.spaces] == ["wrap.around.k"]


def test_an_option_is_set_from_outside(wrappers: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1}", "lr: 0.1, wrap: [around]}")
    arm = settled(wrappers.load(text, "optimizers.slow.wrap.0.k=2"))[0]
    assert arm.wrap[0].options["k"] == 2


@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        ("around", "4:39: optimizers.slow.wrap: expected a list, found the text 'around'"),
        ("[]", "4:39: optimizers.slow.wrap: at least one is needed"),
        ("[3]", "4:40: optimizers.slow.wrap.0: expected text, found 3"),
        ("[arround]", "4:40: optimizers.slow.wrap.0: there is no wrapper 'arround'; did you mean 'around'?"),
        ("[{use: around, q: 1}]", "4:54: optimizers.slow.wrap.0.q: 'around' has no option 'q'"),
        ("[{use: around, k: 1.5}]", "4:57: optimizers.slow.wrap.0.k: expected int, found 1.5"),
        ("[around, {use: around, k: 2}]", "around is here twice; an arm's wrappers are told apart by their names"),
        ('["mywrappers:lone"]', "'mywrappers:lone' cannot be used: it is not called with optimizer, named_parameters"),
        ('["mywrappers:Fast"]', "'mywrappers' has no 'Fast'"),
    ],
)
def test_a_fault_is_said_at_its_place(wrappers: Bench, wrap: str, found: str) -> None:
    faults = wrappers.faults(lambda: wrapped(wrappers, wrap))
    assert any(found in fault for fault in faults), faults


def test_a_group_has_no_wrapper_of_its_own(wrappers: Bench) -> None:
    text = "{groups: {rest: {use: descent, lr: 1, wrap: [around]}}}"
    [fault] = wrappers.faults(lambda: wrappers.arm(text))
    assert "a group has no 'wrap' of its own: it is of the whole arm, beside `groups`" in fault


def test_a_wrapper_is_in_the_key_by_its_code_and_its_options_and_not_by_its_name(wrappers: Bench) -> None:
    [run, *_] = plan(wrappers.arm("{use: descent, lr: 0.1, wrap: [around]}"), device="cpu")
    [bare, *_] = plan(wrappers.load(), device="cpu")
    [wrapper] = run.arm.wrap
    keys = [
        replace(run, arm=replace(run.arm, wrap=wrap)).key
        for wrap in (
            (),
            (replace(wrapper, source="edited"),),
            (replace(wrapper, options={"k": 1}),),
            (wrapper, wrapper),
        )
    ]
    assert len({run.key, *keys}) == 5
    assert keys[0] == bare.key
    assert replace(run, arm=replace(run.arm, wrap=(replace(wrapper, name="x"),))).key == run.key
    assert replace(bare, arm=replace(bare.arm, create_graph=True)).key != bare.key


def test_the_schema_has_the_wrappers_with_their_options(wrappers: Bench) -> None:
    schema = json_schema(shelves=wrappers.shelves)
    [rule] = schema["$defs"]["WrapperSettings"]["allOf"]
    assert {"use", "options", "k", "way"} <= set(rule["then"]["properties"])
    for arm in ("ArmSettings", "GroupedArmSettings"):
        assert {"$ref": "#/$defs/WrapperSettings"} in schema["$defs"][arm]["properties"]["wrap"]["items"]["anyOf"]


def test_a_shelf_beside_the_spec_has_wrappers(bench: Bench) -> None:
    folder = bench.path.parent / "shelf" / "wrappers"
    folder.mkdir(parents=True)
    Path(folder, "mine.py").write_text(AROUND)
    assert wrapped(bench, "[mine]").wrap[0].use == "mine"


def test_the_name_of_a_wrapper_is_no_optimizer(wrappers: Bench) -> None:
    assert wrappers.faults(lambda: wrappers.arm("{use: around, lr: 0.1}")) == [
        "4:15: optimizers.slow.use: there is no optimizer 'around'; it goes around an optimizer: write "
        "`wrap: [around]` beside the `use` of one"
    ]
