"""Arms with groups in a spec: read, refused, tuned, set from outside, and in nobody else's key."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.planning.runs import plan
from clipbench.records import Arm, ClipSettings, Group, Schedule
from clipbench.spec import json_schema
from clipbench.spec.searching import Searched

HIDDEN = "hidden: {kind: matrix, names: 'blocks.*', use: descent, lr: 0.02}"
REST = "rest: {use: descent, lr: 0.003, momentum: 0.9}"


def grouped(*groups: str, beside: str = "") -> str:
    return f"{{groups: {{{', '.join(groups)}}}{beside}}}"


def mixed(bench: Bench, *groups: str, beside: str = "") -> Arm:
    return settled(bench.arm(grouped(*groups, beside=beside)))[0]


def test_an_arm_has_an_optimizer_for_each_group(bench: Bench) -> None:
    arm = mixed(bench, HIDDEN, REST, beside=", clip: {fraction: 0.1}, schedule: cosine, liveness: warn")
    assert (arm.name, arm.optimizer.use, arm.optimizer.options) == ("slow", "descent + descent", {})
    assert (arm.clip, arm.schedule, arm.liveness) == (ClipSettings(0.1), Schedule("cosine"), "warn")
    hidden, rest = arm.groups
    assert (hidden.name, hidden.kind, hidden.names) == ("hidden", "matrix", ("blocks.*",))
    assert (rest.name, rest.kind, rest.names) == ("rest", None, ())
    assert [group.optimizer.options["lr"] for group in arm.groups] == [0.02, 0.003]
    assert rest.optimizer.options["eps"] == 1e-8  # a default, filled in
    assert hidden.optimizer.target == "bench.optimizers.descent:build"
    assert len(hidden.optimizer.source) == 64


def test_a_clip_may_be_of_some_groups(bench: Bench) -> None:
    arm = mixed(bench, HIDDEN, REST, beside=", clip: {fraction: 0.1, groups: [hidden]}")
    assert arm.clip == ClipSettings(0.1, groups=("hidden",))


def test_names_are_a_pattern_or_several(bench: Bench) -> None:
    several = mixed(bench, "a: {names: [x.*, '*.bias'], use: descent, lr: 1}", REST)
    assert several.groups[0].names == ("x.*", "*.bias")


def test_the_options_of_an_arm_go_by_the_paths_of_its_groups(bench: Bench) -> None:
    arm = mixed(bench, HIDDEN, REST)
    assert (arm.options["groups.hidden.lr"], arm.options["groups.rest.momentum"]) == (0.02, 0.9)
    assert arm.with_options(arm.options) == arm
    changed = arm.with_options({**arm.options, "groups.rest.lr": 1.0})
    assert changed.groups[0] == arm.groups[0]
    assert changed.groups[1].optimizer.options["lr"] == 1.0


def test_an_option_whose_name_is_a_key_of_a_group_stands_under_options(bench: Bench) -> None:
    path = bench.shelves / "optimizers" / "odd.py"
    path.write_text(
        '"""Odd."""\n\ndef build(named_parameters, *, lr: float, kind: str = "a", clip: int = 0):\n    """Make."""\n'
    )
    arm = mixed(bench, "all: {use: odd, lr: 1, options: {kind: b, clip: 2}}")
    assert arm.groups[0].optimizer.options == {"lr": 1.0, "kind": "b", "clip": 2}
    assert arm.groups[0].kind is None


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        (
            grouped(HIDDEN, REST, beside=", lr: 0.1"),
            [
                "4:9: optimizers.slow: 'lr' cannot stand beside `groups`: each group has its own `use` and options; of "
                "the whole arm are wrap, clip, schedule, create_graph, liveness"
            ],
        ),
        (
            grouped(HIDDEN, REST, beside=", use: descent"),
            [
                "4:9: optimizers.slow: 'use' cannot stand beside `groups`: each group has its own `use` and options; "
                "of the whole arm are wrap, clip, schedule, create_graph, liveness"
            ],
        ),
        (
            grouped(HIDDEN, REST, beside=", clip: {fraction: 0.1, groups: [hiden]}"),
            ["4:9: optimizers.slow: its clip names a group 'hiden'; the arm has hidden, rest"],
        ),
        (
            "{use: descent, lr: 1, clip: {fraction: 0.1, groups: [rest]}}",
            ["4:9: optimizers.slow: its clip names groups, and the arm has none; it clips all parameters"],
        ),
        (
            grouped(REST, HIDDEN),
            ["4:9: optimizers.slow: the group 'rest' takes all that is left, so it must be the last"],
        ),
        ("{groups: {}}", ["4:18: optimizers.slow.groups: at least one is needed, found a mapping"]),
        ("{groups: [1]}", ["4:18: optimizers.slow.groups: expected a mapping, found the list [1]"]),
        ("{groups: {a: 3}}", ["4:22: optimizers.slow.groups.a: expected a mapping, found 3"]),
        (
            "{groups: {a: {use: descent}}}",
            ["4:19: optimizers.slow.groups.a: the group has no learning rate; give it its own `lr`"],
        ),
        (
            "{groups: {a: {use: descend, lr: 1}}}",
            ["4:28: optimizers.slow.groups.a.use: there is no optimizer 'descend'; did you mean 'descent'?"],
        ),
        (
            "{groups: {a: {use: descent, lr: 1, kinds: matrix}}}",
            ["4:44: optimizers.slow.groups.a.kinds: 'descent' has no option 'kinds'; did you mean 'kind'?"],
        ),
        (
            "{group: {a: {use: descent, lr: 1}}}",
            ["4:3: optimizers.slow: the key 'use' is missing; by 'group', did you mean 'groups'?"],
        ),
        (
            "{groups: {a: {use: descent, lr: 1, kind: tensor}}}",
            ["4:50: optimizers.slow.groups.a.kind: expected 'matrix', 'vector' or 'embedding'"],
        ),
        (
            "{groups: {a: {use: descent, lr: 1, names: [x, x]}}}",
            ["4:51: optimizers.slow.groups.a.names: x is here twice"],
        ),
        (
            "{groups: {a: {use: descent, lr: 1, clip: {norm: 1}}}}",
            ["4:22: optimizers.slow.groups.a: a group has no 'clip' of its own: it is of the whole arm"],
        ),
        (
            "{groups: {a.b: {use: descent, lr: 1}}}",
            ["4:19: optimizers.slow.groups.a.b: a group's name has letters, digits, _ and - alone"],
        ),
    ],
)
def test_a_fault_is_said_at_its_place(bench: Bench, settings: str, faults: Sequence[str]) -> None:
    found = bench.faults(lambda: bench.arm(settings))
    assert len(found) == len(faults), found
    for line, expected in zip(found, faults, strict=True):
        assert line.startswith(expected), line


def test_a_grid_and_tuning_reach_into_a_group(bench: Bench) -> None:
    arms = settled(bench.arm(grouped(HIDDEN.replace("0.02", "[0.1, 0.2]"), REST.replace("0.9", "[0.5, 0.9]"))))
    assert [arm.name for arm in arms[:4]] == [
        f"slow[groups.hidden.lr={lr},groups.rest.momentum={momentum}]" for lr in (0.1, 0.2) for momentum in (0.5, 0.9)
    ]
    assert [arm.options["groups.hidden.lr"] for arm in arms[:4]] == [0.1, 0.1, 0.2, 0.2]
    text = MINIMAL.replace("{use: descent, lr: 0.1}", grouped(HIDDEN.replace("0.02", "{log: [0.001, 0.1]}"), REST))
    text = text.replace("lr: 0.3, momentum", "lr: {log: [0.1, 1]}, momentum")
    tuned = bench.load(text + "tuning: {seeds: [7], search: halton, trials: 3}\n").arms[0]
    assert isinstance(tuned, Searched)
    assert [space.setting for space in tuned.spaces] == ["groups.hidden.lr"]
    rates = [settings["groups.hidden.lr"] for settings in tuned.settings]
    assert [tuned.trial(settings).groups[0].optimizer.options["lr"] for settings in tuned.settings] == rates
    assert len(set(map(str, rates))) == 3


def test_a_space_without_tuning_is_at_fault_where_it_stands(bench: Bench) -> None:
    [fault] = bench.faults(lambda: bench.arm("{groups: {a: {use: descent, lr: {log: [0.1, 1]}}}}"))
    assert fault.startswith("4:41: optimizers.slow.groups.a.lr: a space of values is drawn from")


def test_a_value_in_a_group_is_set_from_outside(bench: Bench) -> None:
    text = MINIMAL.replace("{use: descent, lr: 0.1}", grouped(HIDDEN, REST))
    overrides = ("optimizers.slow.groups.hidden.lr=0.5", "optimizers.slow.groups.rest.kind=vector")
    arm = settled(bench.load(text, *overrides, "optimizers.slow.groups.hidden.momentum=0.1"))[0]
    assert (arm.options["groups.hidden.lr"], arm.options["groups.hidden.momentum"]) == (0.5, 0.1)
    assert arm.groups[1].kind == "vector"


def test_what_a_group_takes_and_its_options_are_in_the_key_and_an_arm_without_groups_keeps_its_key(
    bench: Bench,
) -> None:
    spec = bench.arm(grouped(HIDDEN, REST))
    run = next(run for run in plan(spec, device="cpu") if run.arm.groups)
    hidden, rest = run.arm.groups
    others: list[tuple[Group, ...]] = [
        (replace(hidden, kind=None), rest),
        (replace(hidden, names=("*",)), rest),
        (replace(hidden, optimizer=replace(hidden.optimizer, source="edited")), rest),
        (rest, hidden),
        (rest,),
        (),
    ]
    keys = {replace(run, arm=replace(run.arm, groups=groups)).key for groups in others}
    changed = replace(run, arm=run.arm.with_options({**run.arm.options, "groups.rest.lr": 9.0}))
    assert len({run.key, changed.key, *keys}) == len(others) + 2
    label = replace(hidden, optimizer=replace(hidden.optimizer, name="another"))
    assert replace(run, arm=replace(run.arm, groups=(label, rest), name="x")).key == run.key


def test_the_schema_has_the_options_of_each_optimizer_in_a_group(bench: Bench) -> None:
    schema = json_schema(shelves=bench.shelves)
    arms = schema["properties"]["optimizers"]["additionalProperties"]
    assert {"$ref": "#/$defs/GroupedArmSettings"} in (arms.get("anyOf") or arms["oneOf"])
    [rule] = schema["$defs"]["GroupSettings"]["allOf"]
    properties = rule["then"]["properties"]
    assert {"use", "kind", "names", "options", "lr", "momentum"} <= set(properties)
    assert "clip" not in properties
