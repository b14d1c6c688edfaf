"""What `show` and `plan` say of an arm's groups."""

from dataclasses import replace

from judging.made import ending, question, record, run
from report.shown import drawn

from clipbench.planning.staging import Stage
from clipbench.records import Arm, Choice, Group
from clipbench.report import planned, show

MUON, ADAMW = (
    Choice(use, use, f"clipbench.optimizers.{use}:build", {"lr": lr}) for use, lr in (("muon", 0.02), ("adamw", 0.003))
)
GROUPS = (Group("hidden", MUON, "matrix", ("blocks.*", "mlp.*")), Group("rest", ADAMW))
GROUPED = Arm("mixed", Choice("muon + adamw", "muon + adamw", ""), groups=GROUPS)
RUN = replace(run("mixed"), arm=GROUPED)
TAKEN = {"hidden": ("blocks.0.weight", "blocks.1.weight", "mlp.weight"), "rest": ("embed.weight",)}
MADE = ending(record(RUN, [3.0, 2.0]), groups=TAKEN)


def lines(text: str, first: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.split()[:1] == [first]]


def test_show_has_the_rule_of_each_group_and_the_parameters_that_it_took() -> None:
    text = drawn(show.document(MADE))
    assert lines(text, "optimizer")[0] == ["optimizer", "muon", "+", "adamw"]
    taken, options = lines(text, "hidden")
    assert " ".join(taken) == (
        "hidden muon matrix, blocks.* mlp.* 3 parameters: blocks.0.weight, blocks.1.weight and 1 more"
    )
    assert options == ["hidden", "lr=0.02"]
    assert " ".join(lines(text, "rest")[0]) == "rest adamw the rest 1 parameter: embed.weight"


def test_what_a_run_that_has_not_ended_took_is_not_known() -> None:
    text = drawn(show.document(record(RUN, [3.0], status="unfinished")))
    assert lines(text, "rest")[0] == ["rest", "adamw", "the", "rest", "–"]


def test_a_run_without_groups_has_no_such_table() -> None:
    assert "Groups" not in drawn(show.document(record(run(), [3.0, 2.0])))
    assert "Groups" not in drawn(planned.document(Stage(question("sgd"), (), (run(),), (), ()), missing=()))


def test_a_plan_tells_from_earlier_runs_what_the_same_groups_take() -> None:
    other = replace(GROUPED, name="other", groups=(replace(GROUPS[0], kind=None), GROUPS[1]))
    faster = replace(GROUPED, name="faster").with_options({**GROUPED.options, "groups.hidden.lr": 0.1})
    runs = tuple(replace(RUN, arm=arm) for arm in (GROUPED, faster, other))
    stage = Stage(question("sgd", "mixed", "faster", "other"), (), (run(), *runs), (), ())
    text = drawn(planned.document(stage, missing=(), made=[record(run(), [3.0]), MADE]))
    shown = {line.split()[1]: line for line in text.splitlines() if " hidden " in line}
    assert shown.keys() == {"mixed", "faster", "other"}
    assert "3 parameters" in shown["mixed"]
    assert "3 parameters" in shown["faster"]
    assert shown["other"].rstrip().endswith("–")
