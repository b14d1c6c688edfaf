import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.errors import SpecError
from clipbench.questions import Target
from clipbench.records import ClipSettings
from clipbench.spec import Overrides
from clipbench.spec.spec import question


def test_a_value_is_set_by_its_path(bench: Bench) -> None:
    spec = bench.load(
        MINIMAL, "optimizers.slow.lr=0.2", "budget.steps=50", "seeds=[7]", "optimizers.slow.momentum=1e-1"
    )
    assert settled(spec)[0].optimizer.options["lr"] == 0.2
    assert settled(spec)[0].optimizer.options["momentum"] == 0.1
    assert (spec.budget.amount, spec.seeds) == (50, (7,))


def test_the_last_of_two_overrides_counts(bench: Bench) -> None:
    assert bench.load(MINIMAL, "budget.steps=50", "budget.steps=60").budget.amount == 60


def test_a_list_is_a_grid_as_in_the_file(bench: Bench) -> None:
    names = [arm.name for arm in bench.load(MINIMAL, "optimizers.slow.lr=[0.1, 1e-2]").arms]
    assert names == ["slow[lr=0.1]", "slow[lr=0.01]", "fast"]


def test_a_list_is_entered_by_place(bench: Bench) -> None:
    assert bench.load(MINIMAL, "seeds.1=9").seeds == (0, 9)


def test_a_section_that_the_file_leaves_out_can_be_set(bench: Bench) -> None:
    spec = bench.load(MINIMAL, "target.loss=2.5", "measure.every=10", "optimizers.fast.clip.fraction=0.1", "threads=2")
    assert (spec.target, spec.measure.probe_every, spec.threads) == (Target(2.5), 10, 2)
    assert settled(spec)[1].clip == ClipSettings(0.1)


def test_a_plain_name_is_short_for_use(bench: Bench) -> None:
    spec = bench.replaced("seeds: [0, 1]", "seeds: [0]\nschedule: cosine", "task.depth=2", "schedule.warmup=0.1")
    assert spec.tasks[0].options["depth"] == 2.0
    assert (settled(spec)[0].schedule.use, settled(spec)[0].schedule.warmup) == ("cosine", 0.1)


def test_the_longest_key_that_fits_is_meant(bench: Bench) -> None:
    text = MINIMAL.replace("  slow:", "  fast.lr=1 b:")
    spec = bench.load(text, "optimizers.fast.lr=1 b.lr=0.7", "optimizers.fast.lr=0.8")
    assert {arm.name: arm.optimizer.options["lr"] for arm in settled(spec)} == {"fast.lr=1 b": 0.7, "fast": 0.8}


def test_an_arm_can_be_added_whole(bench: Bench) -> None:
    spec = bench.load(MINIMAL, "optimizers.third={use: descent, lr: 1.0}")
    assert [arm.name for arm in spec.arms] == ["slow", "fast", "third"]


def test_null_takes_a_section_away(bench: Bench) -> None:
    spec = bench.arm("{use: descent, lr: 0.1, clip: {fraction: 0.1}}")
    assert settled(spec)[0].clip is not None
    text = bench.path.read_text()
    assert settled(bench.load(text, "optimizers.slow.clip=null"))[0].clip is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.steps", "expected KEY=VALUE"),
        ("", "expected KEY=VALUE"),
        ("=3", "a key is missing"),
        ("budget.=3", "a key is missing"),
        ("budget.steps=", "no value after the equals sign"),
        ("budget.steps=[1", "not valid YAML"),
        ("budget.steps={a: 1, a: 2}", "a second time"),
        ("budget.steps=0", "budget.steps: must be above 0, found 0"),
        ("budget.steps='5'", "found the text '5' (write it without quotes)"),
        ("budgt.steps=5", "there is no 'budgt' in the spec; did you mean 'budget'?"),
        ("bugdet=5", "bugdet: there is no such key; did you mean 'budget'?"),
        ("optimizers.slwo.lr=5", "there is no 'slwo' in 'optimizers'; did you mean 'slow'?"),
        ("optimizers.slow.momentun=5", "'descent' has no option 'momentun'; did you mean 'momentum'?"),
        ("optimizers.slow.betas.x=5", "there is no 'betas' in 'optimizers.slow'"),
        ("seeds.7=5", "'seeds' is a list of 2: '7' is not a place from 0 to 1"),
        ("seeds.-1=5", "'-1' is not a place from 0 to 1"),
        ("budget.steps.x=5", "'budget.steps' is 100: nothing can be set in it"),
        ("target.los=5", "target.los: there is no such key; did you mean 'loss'?"),
        ("measure.probes=[sharpnes]", "did you mean 'sharpness'?"),
    ],
)
def test_a_wrong_override_is_a_fault_that_names_it(bench: Bench, override: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        bench.load(MINIMAL, override)
    assert all(fault.file == f"--set {override}" for fault in caught.value.faults)
    assert said in str(caught.value)


def test_a_second_unit_of_a_budget_does_not_replace_the_first(bench: Bench) -> None:
    with pytest.raises(SpecError, match="this one has steps and tokens"):
        bench.load(MINIMAL, "budget.tokens=5")
    assert bench.load(MINIMAL, "budget={tokens: 5}").budget.unit == "tokens"


def test_faults_of_overrides_and_of_the_file_are_told_together(bench: Bench) -> None:
    with pytest.raises(SpecError, match="3 errors in") as caught:
        bench.load(MINIMAL.replace("steps: 100", "steps: 0"), "seeds=[]", "nonsense")
    assert [fault.file for fault in caught.value.faults] == ["--set nonsense", "--set seeds=[]", str(bench.path)]


def test_a_question_keeps_the_command_that_makes_more_such_runs(bench: Bench) -> None:
    """All that was said but which arms to run first, and without the folder of a spec named by its whole path."""
    asks = question(bench.load(MINIMAL, "budget.steps=50", "optimizers.slow.lr=0.2"))
    assert asks.command[1:] == ("--set", "budget.steps=50", "--set", "optimizers.slow.lr=0.2")
    assert "/" not in asks.command[0]
    said = Overrides((), (0, 1), "sgd*", quick=True, device="cpu", threads=2)
    assert list(said.words()) == ["--quick", "--seeds", "0..1", "--device", "cpu", "--threads", "2"]
    assert list(Overrides(seeds=(3,)).words()) == ["--seeds", "3"]
    assert list(Overrides(seeds=(0, 2)).words()) == ["--seeds", "0,2"]
