from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec.bench import MINIMAL, Bench

from clipbench.budget import UNITS
from clipbench.errors import SpecError
from clipbench.spec.models import BudgetSettings


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("task: valley", "task: 3", "2:7: task: expected text, found 3"),
        ("task: valley", "task: []", "2:7: task: at least one is needed, found the list []"),
        ("task: valley", "task: {depth: 1.0}", "2:1: task: the key 'use' is missing"),
        ("task: valley", "task: [{use: valley}, {depth: 1.0}]", "2:23: task.1: the key 'use' is missing"),
        ("task: valley", "task: [valley, 3]", "2:16: task.1: expected text, found 3"),
        ("task: valley\n", "", "2:1: the key 'task' is missing"),
        ("task: valley", "task: valley\ntaks: x", "3:1: taks: there is no such key; did you mean 'task'?"),
        (
            "task: valley",
            "task: valley\nmicro_batch: 2",
            "3:1: micro_batch: there is no such key; it stands under `training`",
        ),
        ("task: valley", "task: {uses: valley}", "2:1: task: the key 'use' is missing; by 'uses', did you mean 'use'?"),
        ("{steps: 100}", "{steps: 0}", "6:17: budget.steps: must be above 0, found 0"),
        ("{steps: 100}", "{steps: -5}", "6:17: budget.steps: must be above 0, found -5"),
        ("{steps: 100}", "{steps: 1.5}", "6:17: budget.steps: expected a whole number, found 1.5"),
        ("{steps: 100}", "{steps: 1e3}", "6:17: budget.steps: expected a whole number, found 1000.0"),
        ("{steps: 100}", "{steps: true}", "6:17: budget.steps: expected a whole number, found true"),
        ("{steps: 100}", "{steps: [1, 2]}", "6:17: budget.steps: expected a whole number, found the list [1, 2]"),
        ("{steps: 100}", "{seconds: 0.0}", "6:19: budget.seconds: must be above 0, found 0.0"),
        (
            "{steps: 100}",
            "{seconds: .nan}",
            "6:19: budget.seconds: expected a finite number, found not-a-number (.nan)",
        ),
        ("{steps: 100}", "{seconds: .inf}", "6:19: budget.seconds: expected a finite number, found infinity"),
        ("{steps: 100}", "{step: 3}", "6:10: budget.step: there is no such key; did you mean 'steps'?"),
        ("{steps: 100}", "100", "6:9: budget: expected a mapping, found 100; write {steps: 100}"),
        (
            "{steps: 100}",
            "{steps: 1, tokens: 1}",
            "6:9: budget: a budget is in exactly one of steps, samples, tokens, epochs, seconds; this one has steps "
            "and tokens",
        ),
        (
            "{steps: 100}",
            "{}",
            "6:9: budget: a budget is in exactly one of steps, samples, tokens, epochs, seconds; this one has none",
        ),
        ("[0, 1]", "[]", "7:8: seeds: at least one is needed, found the list []"),
        ("[0, 1]", "[0, -1]", "7:12: seeds.1: must be at least 0, found -1"),
        ("[0, 1]", "[0, 1.0]", "7:12: seeds.1: expected a whole number, found 1.0"),
        ("[0, 1]", "[4, 4]", "7:8: seeds: 4 is here twice; two runs that differ in nothing are one run"),
        ("[0, 1]", "3", "7:8: seeds: expected a list, found 3"),
        (
            "[0, 1]",
            "[99999999999999999999]",
            "7:9: seeds.0: must be at most 9223372036854775807, found 99999999999999999999",
        ),
    ],
)
def test_a_wrong_key_or_value_is_a_fault_at_its_place(bench: Bench, old: str, new: str, fault: str) -> None:
    assert bench.faults(lambda: bench.replaced(old, new)) == [fault]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("threads: 0", "8:10: threads: must be at least 1, found 0"),
        ("threads: [1, 2]", "8:10: threads: expected a whole number, found the list [1, 2]"),
        ("device: gpu", "8:9: device: expected auto, cpu, mps, cuda or cuda:N, found the text 'gpu'"),
        ("evaluate: {every: 0}", "8:19: evaluate.every: must be at least 1, found 0"),
        ("evaluate: {diverged: 0}", "8:22: evaluate.diverged: must be above 0, found 0"),
        ("evaluate: {diverged: -0.1}", "8:22: evaluate.diverged: must be above 0, found -0.1"),
        ("evaluate: {diverged: .nan}", "8:22: evaluate.diverged: expected a finite number, found not-a-number (.nan)"),
        ("evaluate: {diverged: much}", "8:22: evaluate.diverged: expected a number, found the text 'much'"),
        ("measure: {probes: x}", "8:19: measure.probes: expected a list, found the text 'x' (write [x])"),
        (
            "measure: {precision: bf16}",
            "8:22: measure.precision: expected 'float32' or 'tf32', found the text 'bf16'",
        ),
        ("measure: {precison: tf32}", "8:11: measure.precison: there is no such key; did you mean 'precision'?"),
        (
            "precision: tf32",
            "8:1: precision: there is no such key; it stands under `training` or `measure`",
        ),
        ("measure: {evry: 1}", "8:11: measure.evry: there is no such key; did you mean 'every'?"),
        ("target: {loss: low}", "8:16: target.loss: expected a number, found the text 'low'"),
        ("target: {}", "8:9: target: a target has exactly one of loss, quantity; this one has none"),
        (
            "target: {loss: 1, quantity: accuracy}",
            "8:9: target: a target has exactly one of loss, quantity; this one has loss and quantity",
        ),
        (
            "target: {loss: 1, at_most: 2}",
            "8:9: target: a loss is reached from above; `at_least` and `at_most` are of a `quantity`",
        ),
        (
            "target: {quantity: accuracy}",
            "8:9: target: a target of 'accuracy' has exactly one of at_least, at_most; this one has none",
        ),
        (
            "target: {quantity: err, at_least: 1, at_most: 2}",
            "8:9: target: a target of 'err' has exactly one of at_least, at_most; this one has at_least and at_most",
        ),
        (
            "target: {quantity: accuracy, at_least: .inf}",
            "8:40: target.at_least: expected a finite number, found infinity",
        ),
        (
            "target: {quantity: eval_loss, at_most: 2}",
            "8:9: target: write the evaluation loss to reach as `target: {loss: 2.8}`",
        ),
        (
            "target: {quantity: peak_bytes, at_most: 2}",
            "8:9: target: no evaluation records peak_bytes; name a metric of the task, or a loss",
        ),
        (
            "target: {quantity: accuracy@adam, at_least: 0.9}",
            "8:9: target: a target is read at evaluations, which have no direction: write `quantity: accuracy`",
        ),
        (
            "target: {accuracy: 0.9}",
            "8:10: target.accuracy: there is no such key; a target of a metric is written "
            "{quantity: accuracy, at_least: 0.9}, or at_most",
        ),
        ("target: {los: 0.9}", "8:10: target.los: there is no such key; did you mean 'loss'?"),
        ("target: {quantity: '', at_most: 2}", "8:9: target: `quantity` is empty; name a metric of the task"),
        ("target: {quantity: a, at_lest: 2}", "8:23: target.at_lest: there is no such key; did you mean 'at_least'?"),
        ("target: {loss: 1, consecutive: 0}", "8:32: target.consecutive: must be at least 1, found 0"),
        ("schedule: {use: linear, warmup: 1.0}", "8:33: schedule.warmup: must be below 1, found 1.0"),
        ("schedule: {use: linear, final: 1.5}", "8:32: schedule.final: must be at most 1, found 1.5"),
        ("schedule: cosin", "8:11: schedule: expected 'constant', 'linear', 'cosine' or 'wsd', found the text 'cosin'"),
        ("schedule: {use: linear, decay: 0.1}", "8:11: schedule: a linear schedule has no `decay`; use wsd"),
        (
            "schedule: {use: wsd, warmup: 0.5, decay: 0.6}",
            "8:11: schedule: `warmup` and `decay` are more than the budget together: 0.5 and 0.6",
        ),
        (
            "schedule: {use: 'math:sqrt', warmup: 0.1}",
            "8:11: schedule: a function of your own gives the whole factor, so it has no 'warmup' beside it",
        ),
        ("baseline: 3", "8:11: baseline: expected text, found 3"),
        ("effect: 0.0", "8:9: effect: must be above 0, found 0.0"),
        ("effect: 5", "8:9: effect: must be at most 1, found 5"),
        ("effect: small", "8:9: effect: expected a number, found the text 'small'"),
    ],
)
def test_a_wrong_section_is_a_fault_at_its_place(bench: Bench, section: str, fault: str) -> None:
    assert bench.faults(lambda: bench.replaced("seeds: [0, 1]", f"seeds: [0]\n{section}")) == [fault]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("descent", "4:9: optimizers.slow: expected a mapping, found the text 'descent'"),
        ("{lr: 0.1}", "4:3: optimizers.slow: the key 'use' is missing"),
        (
            "{use: descent, lr: 0.1, liveness: maybe}",
            "4:43: optimizers.slow.liveness: expected 'refuse', 'warn' or 'off', found the text 'maybe'",
        ),
        (
            "{use: descent, lr: 0.1, liveness: [warn, off]}",
            "4:43: optimizers.slow.liveness: expected 'refuse', 'warn' or 'off', found the list [warn, off]",
        ),
        ("{use: 3, lr: 0.1}", "4:15: optimizers.slow.use: expected text, found 3"),
        (
            "{use: descent, lr: 0.1, schedule: {use: constant, final: 0.1}}",
            "4:43: optimizers.slow.schedule: a constant schedule does not fall, so it has no `final`; use linear "
            "or cosine",
        ),
    ],
)
def test_a_wrong_arm_is_a_fault_at_its_place(bench: Bench, settings: str, fault: str) -> None:
    assert bench.faults(lambda: bench.arm(settings)) == [fault]


@pytest.mark.parametrize(
    ("clip", "column", "fault"),
    [
        ("0.1", 39, ": expected a mapping, found 0.1; write {fraction: 0.1}"),
        ("{}", 39, ": a clip has exactly one of fraction, threshold, norm; this one has none"),
        ("{of: update}", 39, ": a clip has exactly one of fraction, threshold, norm; this one has none"),
        (
            "{norm: 1, fraction: [0.1, 0.2]}",
            39,
            ": a clip has exactly one of fraction, threshold, norm; this one has fraction and norm",
        ),
        (
            "{norm: 1, of: gradient}",
            39,
            ": 'of' can only stand beside a fraction: a clip by norm is of the whole gradient",
        ),
        (
            "{threshold: 1, scope: tensor, of: update}",
            39,
            ": 'of' and 'scope' can only stand beside a fraction: a clip by threshold is of the whole gradient",
        ),
        (
            "{norm: 1, scale: norm, ignore_zeros: true}",
            39,
            ": 'scale' and 'ignore_zeros' can only stand beside a fraction: a clip by norm is of the whole gradient",
        ),
        (
            "{fraction: 0.1, of: numerator, scale: norm}",
            39,
            ": 'scale: norm' cannot go with 'of: numerator', whose second moment sets the step's length as well; "
            "use gradient or update",
        ),
        ("{fraction: 0.1, scale: length}", 62, ".scale: expected 'none' or 'norm', found the text 'length'"),
        ("{fraction: 0.1, ignore_zeros: 1}", 69, ".ignore_zeros: expected true or false, found 1"),
        ("{fraction: 0.1, scope: layer}", 62, ".scope: expected 'global', 'group' or 'tensor', found the text 'layer'"),
        ("{treshold: 0.1}", 40, ".treshold: there is no such key; did you mean 'threshold'?"),
        ("{norm: [1, 1.0]}", 46, ".norm: 1.0 is here twice; two runs that differ in nothing are one run"),
        ("{fraction: 0.1, off: update}", 55, ".off: there is no such key; did you mean 'of'?"),
        (
            "{fraction: 0.1, of: gradients}",
            59,
            ".of: expected 'gradient', 'numerator' or 'update', found the text 'gradients'",
        ),
        ("{fraction: []}", 50, ".fraction: at least one is needed, found the list []"),
        ("{fraction: [0.1, 0.1]}", 50, ".fraction: 0.1 is here twice; two runs that differ in nothing are one run"),
    ],
)
def test_a_wrong_clip_is_a_fault_at_its_place(bench: Bench, clip: str, column: int, fault: str) -> None:
    settings = f"{{use: descent, lr: 0.1, clip: {clip}}}"
    assert bench.faults(lambda: bench.arm(settings)) == [f"4:{column}: optimizers.slow.clip{fault}"]


@pytest.mark.parametrize(
    ("fraction", "fault"),
    [
        ("1", "must be below 1, found 1"),
        ("1.5", "must be below 1, found 1.5"),
        ("-0.1", "must be at least 0, found -0.1"),
        (".nan", "expected a finite number, found not-a-number (.nan)"),
        ("true", "expected a number, found true"),
        ("'0.1'", "expected a number, found the text '0.1' (write it without quotes)"),
    ],
)
def test_a_clip_clips_a_fraction_from_0_to_below_1(bench: Bench, fraction: str, fault: str) -> None:
    one = f"{{use: descent, lr: 0.1, clip: {{fraction: {fraction}}}}}"
    assert bench.faults(lambda: bench.arm(one)) == [f"4:50: optimizers.slow.clip.fraction: {fault}"]
    grid = f"{{use: descent, lr: 0.1, clip: {{fraction: [0.1, {fraction}]}}}}"
    assert bench.faults(lambda: bench.arm(grid)) == [f"4:56: optimizers.slow.clip.fraction.1: {fault}"]


@pytest.mark.parametrize(("rule", "column"), [("threshold", 51), ("norm", 46)])
@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        ("0", "must be above 0, found 0"),
        ("-0.1", "must be above 0, found -0.1"),
        (".inf", "expected a finite number, found infinity"),
        (".nan", "expected a finite number, found not-a-number (.nan)"),
        ("true", "expected a number, found true"),
        ("'0.1'", "expected a number, found the text '0.1' (write it without quotes)"),
    ],
)
def test_a_clip_clips_at_a_limit_above_0(bench: Bench, rule: str, column: int, limit: str, fault: str) -> None:
    one = f"{{use: descent, lr: 0.1, clip: {{{rule}: {limit}}}}}"
    assert bench.faults(lambda: bench.arm(one)) == [f"4:{column}: optimizers.slow.clip.{rule}: {fault}"]
    grid = f"{{use: descent, lr: 0.1, clip: {{{rule}: [2, {limit}]}}}}"
    assert bench.faults(lambda: bench.arm(grid)) == [f"4:{column + 4}: optimizers.slow.clip.{rule}.1: {fault}"]


@pytest.mark.parametrize("section", ["{}", "[]", "3"])
def test_a_spec_without_arms_is_refused(bench: Bench, section: str) -> None:
    start, end = MINIMAL.index("optimizers:"), MINIMAL.index("budget:")
    [fault] = bench.faults(lambda: bench.load(MINIMAL[:start] + f"optimizers: {section}\n" + MINIMAL[end:]))
    assert fault.startswith("3:13: optimizers: ")


@pytest.mark.parametrize("name", ["' a'", "'a '", "''", '"a\\tb"', '"a\\nb"'])
def test_an_arm_needs_a_name_that_can_be_shown(bench: Bench, name: str) -> None:
    [fault] = bench.faults(lambda: bench.replaced("  slow:", f"  {name}:"))
    assert fault.startswith("4:3: ")
    assert "an arm's name is printable text" in fault


@pytest.mark.slow
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=3)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_whatever_stands_under_a_key_is_read_or_refused_and_never_a_crash(bench: Bench, value: object) -> None:
    text = repr(value).replace("None", "null").replace("nan", ".nan").replace("inf", ".inf")
    for key in ("task", "baseline", "budget", "seeds", "device", "threads", "schedule", "target", "measure"):
        lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:")]
        with suppress(SpecError):
            bench.load("\n".join([*lines, f"{key}: {text}"]))


def test_units_of_a_budget_are_those_of_the_clock() -> None:
    assert tuple(BudgetSettings.model_fields) == UNITS
