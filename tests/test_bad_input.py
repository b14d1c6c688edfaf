"""What a hostile or hurried user types: each is told what was found, where, and what to do; nothing is run or lost."""

import sys
from pathlib import Path

import pytest
from cli.front import Ask, asking
from console import contents

from clipbench import spec, store
from clipbench.measurements import Measurement
from clipbench.planning.runs import plan
from clipbench.records import Outcome

pytestmark = pytest.mark.slow  # every fault is shown to a command

SPEC = """\
# Is bad input refused?
task: {use: quadratic, dimension: 8}
optimizers:
  sgd: {use: sgd, lr: 0.005}
  clipped: {use: sgd, lr: 0.005, clip: {fraction: 0.2}}
budget: {steps: 30}
seeds: [0, 1]
device: cpu
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """One command in an empty folder with the spec in it; a run that would be made is a failure of the test."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clipbench.cli.campaign.supervise", lambda *_, **__: pytest.fail("something was run"))
    Path("bad.yaml").write_text(SPEC)
    return asking(monkeypatch, capsys)


FAULTS = {
    "an unknown task": ("quadratic", "quadratc", "2:13: task.use: there is no task 'quadratc'; did you mean 'quad"),
    "an unknown optimizer": ("sgd: {use: sgd", "sgd: {use: sdg", "4:14: optimizers.sgd.use: there is no optimizer"),
    "an unknown option": ("0.005}", "0.005, momentun: 0.9}", "4:30: optimizers.sgd.momentun: 'sgd' has no option"),
    "an unknown key": ("device: cpu", "devise: cpu", "8:1: devise: there is no such key; did you mean 'device'?"),
    "a missing key": ("seeds: [0, 1]\n", "", "the key 'seeds' is missing"),
    "an arm without a rate": ("sgd, lr: 0.005}", "sgd}", "4:3: optimizers.sgd: the arm has no learning rate"),
    "a rate that is a word": ("0.005}", "small}", "4:23: optimizers.sgd.lr: expected float, found the text 'small'"),
    "a rate that is nothing": ("lr: 0.005}", "lr: }", "4:22: optimizers.sgd.lr: expected float, found nothing (null)"),
    "a rate that is no number": ("0.005}", ".nan}", "4:23: optimizers.sgd.lr: expected float, found not-a-number"),
    "a duplicate key": ("device: cpu", "seeds: [2]", "8:1: the key 'seeds' is here a second time; the first is in"),
    "a duplicate arm": ("  clipped:", "  sgd:", "5:3: the key 'sgd' is here a second time; the first is in line 4"),
    "an empty file": (SPEC, "", "the file is empty: a spec needs at least task, optimizers, budget and seeds"),
    "comments alone": (SPEC, "# Is it faster?\n", "the file is empty"),
    "a list of words": (SPEC, "- sgd\n", "1:1: a spec is a mapping of keys such as task and optimizers, not a list"),
    "a tab": ("  sgd", "\tsgd", "4:1: a tab in the indentation; YAML indents with spaces"),
    "a brace that is not closed": ("steps: 30}", "steps: 30", "7:6: not valid YAML"),
    "a list for a number": ("30", "[30, 40]", "6:17: budget.steps: expected a whole number, found the list [30, 40]"),
    "half a step": ("30", "1.5", "6:17: budget.steps: expected a whole number, found 1.5"),
    "a negative budget": ("30", "-3", "6:17: budget.steps: must be above 0, found -3"),
    "no budget": ("steps: 30", "seconds: 0", "6:19: budget.seconds: must be above 0, found 0"),
    "a budget without end": ("steps: 30", "seconds: .inf", "6:19: budget.seconds: expected a finite number"),
    "a budget that is no number": ("steps: 30", "seconds: .nan", "6:19: budget.seconds: expected a finite number"),
    "two budgets": ("steps: 30", "steps: 3, samples: 3", "6:9: budget: a budget is in exactly one of"),
    "a clip of everything": ("0.2", "1", "5:51: optimizers.clipped.clip.fraction: must be below 1, found 1"),
    "a clip of more": ("0.2", "1.5", "5:51: optimizers.clipped.clip.fraction: must be below 1, found 1.5"),
    "a clip of less than nothing": ("0.2", "-0.1", "5:51: optimizers.clipped.clip.fraction: must be at least 0"),
    "a clip that is no number": ("0.2", ".nan", "5:51: optimizers.clipped.clip.fraction: expected a finite number"),
    "a clip in quotes": ("0.2", "'0.2'", "found the text '0.2' (write it without quotes)"),
    "no seeds": ("[0, 1]", "[]", "7:8: seeds: at least one is needed, found the list []"),
    "too many seeds": ("[0, 1]", str([*range(1001)]), "7:8: seeds: at most 1000 are allowed, found the list [0, 1,"),
    "a seed of the wrong sign": ("[0, 1]", "[-1]", "7:9: seeds.0: must be at least 0, found -1"),
    "seeds that are a number": ("[0, 1]", "3", "7:8: seeds: expected a list, found 3"),
    "no threads": ("device: cpu", "threads: 0", "8:10: threads: must be at least 1, found 0"),
    "an unknown device": ("device: cpu", "device: gpu", "8:9: device: expected auto, cpu, mps, cuda or cuda:N"),
    "a package that is not there": ("use: sgd, lr: 0.005}", "use: 'no_such:X', lr: 1}", "there is no package"),
    "a class without a package": ("use: sgd, lr: 0.005}", "use: ':X', lr: 1}", "not of the form package:Class"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_spec_is_shown_at_its_place_and_nothing_is_run(ask: Ask, fault: str) -> None:
    """Pitfalls 11, 17 and 19 among them: strict types, no rate of another's, no option dropped."""
    old, new, said = FAULTS[fault]
    assert old in SPEC
    Path("bad.yaml").write_text(SPEC.replace(old, new, 1))
    for command in ("run", "plan", "validate"):
        answer = ask(command, "bad.yaml")
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith("error: bad.yaml:")
        assert said in answer.err
        assert answer.err.splitlines()[-1].endswith("in bad.yaml; nothing was run")
    assert not Path("results").exists()


def test_an_option_that_an_optimizer_of_torchs_own_lacks_is_refused_before_anything_runs(ask: Ask) -> None:
    """Pitfall 19, end to end; torch is asked in a process of its own."""
    Path("bad.yaml").write_text(SPEC.replace("use: sgd, lr: 0.005}", "use: 'torch.optim:Muon', lr: 0.005, foo: 1}", 1))
    answer = ask("run", "bad.yaml")
    assert answer.code == 2
    assert "bad.yaml:4:45: optimizers.sgd.foo: 'torch.optim:Muon' has no option 'foo'; known: " in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "gone.yaml"], "error: gone.yaml: no such file"),
        (["run", "."], "error: .: this is a folder; name a YAML file in it"),
        (["validate", "gone.yaml", "bad.yaml"], "error: gone.yaml: no such file"),
        (["run"], "Missing argument 'SPEC...'"),
        (["run", "bad.yaml", "--seeds", "a..b"], "for --seeds: 'a..b' is neither a range such as 0..4 nor a list"),
        (["run", "bad.yaml", "--seeds", "4..0"], "these cannot be the seeds: (none)"),
        (["run", "bad.yaml", "--seeds=-1"], "'-1' has a seed below 0"),
        (["run", "bad.yaml", "--seeds", "0,0"], "these cannot be the seeds: 0, 0"),
        (["run", "bad.yaml", "--seeds", 2**63], f"give at least one, each from 0 to {2**63 - 1} and each once"),
        (["run", "bad.yaml", "--seeds", f"0..{10**11}"], "is more than 1000 seeds, and each is a run of every"),
        (["run", "bad.yaml", "--seeds", f"0..{10**30}"], "is more than 1000 seeds"),
        (["run", "bad.yaml", "--seeds", ",".join(map(str, range(1001)))], "is more than 1000 seeds"),
        (["run", "bad.yaml", "--filter", "lion"], "--filter lion matches no arm\n  the arms are: sgd, clipped"),
        (["run", "bad.yaml", "--set", "budget.steps"], "expected KEY=VALUE, such as optimizers.sgd.lr=0.2"),
        (["run", "bad.yaml", "--set", "budget.step=3"], "--set budget.step=3: budget.step: there is no such key"),
        (["run", "bad.yaml", "--set", "optimizers.sgd.momentun=0.9"], "did you mean 'momentum'?"),
        (["run", "bad.yaml", "--device", "gpu"], "there is no device 'gpu'\n  it is one of auto, cpu, mps, cuda"),
        (["run", "bad.yaml", "--device", "cuda:x"], "there is no device 'cuda:x'"),
        (["run", "bad.yaml", "--jobs", "0"], "Invalid value for '--jobs'"),
        (
            ["run", "bad.yaml", "--jobs-per-device", "2", "--device", "cpu"],
            "--jobs-per-device lets trials share a GPU, and the runs of bad are on cpu",
        ),
        (["run", "bad.yaml", "--timeout", "nan"], "Invalid value for '--timeout'"),
        (["run", "bad.yaml", "--retries", "-1"], "Invalid value for '--retries'"),
        (["run", "bad.yaml", "--format", "xml"], "'xml' is not one of 'human', 'jsonl'"),
        (["rnu", "bad.yaml"], "No such command 'rnu'. Did you mean 'run'?"),
        (["compare", "gone"], "error: gone: there is no such folder\n  runs are made by `clipbench run`"),
        (["compare", "bad.yaml"], "error: bad.yaml: this is a file; results are a folder"),
        (["show", "abc"], "error: results: 'abc' fits 0 runs\n  `clipbench list runs` shows what there is"),
        (["list", "runs"], "error: results: there is no such folder"),
        (["list", "things"], "'things' is not one of 'tasks', 'optimizers', 'wrappers', 'probes', 'runs'"),
    ],
)  # fmt: skip
def test_a_wrong_word_on_the_command_line_is_named(ask: Ask, words: list[str], said: str) -> None:
    answer = ask(*words)
    assert answer.code == 2
    assert said in answer.err


def test_a_gpu_that_is_not_there_is_said_before_anything_runs(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench.running.devices.gpu_ids", list)
    answer = ask("run", "bad.yaml", "--device", "cuda")
    assert answer.code == 2
    assert "device 'cuda' is not there" in answer.err


def test_two_specs_that_would_share_one_folder_are_refused(ask: Ask) -> None:
    Path("again").mkdir()
    Path("again/bad.yaml").write_text(SPEC)
    answer = ask("run", "bad.yaml", "again/bad.yaml")
    assert answer.code == 2
    assert "two of the specs have the same name" in answer.err
    assert not Path("results").exists()


def test_every_fault_of_every_spec_is_told_at_once(ask: Ask) -> None:
    Path("worse.yaml").write_text(SPEC.replace("use: sgd, lr", "use: sdg, rl").replace("[0, 1]", "[]"))
    answer = ask("validate", "worse.yaml", "gone.yaml", "bad.yaml")
    assert answer.code == 2
    assert answer.out == "bad.yaml: valid: 2 arms × 1 task × 2 seeds\n"
    assert answer.err.count("there is no optimizer 'sdg'") == 2
    assert "worse.yaml:7:8: seeds: at least one" in answer.err
    assert "gone.yaml: no such file" in answer.err


@pytest.mark.parametrize(
    ("name", "results", "said"),
    [
        ("bad.yaml", "bad.yaml", "error: bad.yaml/bad: cannot make this folder (Not a directory)"),
        ("bad.yaml", "/proc/nowhere", "error: /proc/nowhere/bad: cannot make this folder ("),
        ("kernel.yaml", "/sys", "error: /sys/kernel/.lock: cannot write this file ("),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="/proc and /sys are folders that nobody may write to on Linux")
def test_a_results_folder_that_cannot_be_written_is_named(ask: Ask, name: str, results: str, said: str) -> None:
    Path(name).write_text(SPEC)
    answer = ask("run", name, "-o", results)
    assert answer.code == 2
    assert answer.err.startswith(said)
    assert answer.err.endswith(")\n  choose another results folder with -o, or make this one writable\n")
    assert Path("bad.yaml").read_text() == SPEC


@pytest.fixture
def made(ask: Ask) -> Path:
    """The results of all four runs of the spec; the folder of the first."""
    loaded = spec.load("bad.yaml")
    runs = plan(loaded, device="cpu")
    for run in runs:
        folder = store.folder_of(run, Path("results"))
        store.describe(run, folder)
        writer = store.Writer(folder)
        writer(Measurement(0, 0.0, "", "eval_loss", 1.0))
        writer(Measurement(30, 0.1, "", "eval_loss", 0.5))
        writer.sync()
        writer.close()
        store.finish(folder, Outcome("finished", steps=30), None)
    assert ask("run", "bad.yaml").err.startswith("4 runs: 4 reused, 0 to make")
    return store.folder_of(runs[0], Path("results"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 1, "key": "abc", "ru', "this is not a run (Unterminated string"),
        ("", "this is not a run (Expecting value: line 1 column 1 (char 0))"),
        ("[]", "this is not a run (Input should be a dictionary"),
        ('{"format": 1, "key": "abc"}', "this is not a run (run: Field required)"),
        ('{"format": 99}', "this run has format 99; this clipbench reads formats 1 and 2"),
        ("\udcff", "this is not a run ('utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_half_written_run_is_named_and_kept_and_the_rest_still_reads(
    ask: Ask, made: Path, text: str, said: str
) -> None:
    (made / store.RUN).write_bytes(text.encode(errors="surrogateescape"))
    before = contents(Path("results"))
    answer = ask("show", str(made))
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith(f"error: {made / store.RUN}: {said}")
    assert answer.err.count("\n  ") == 1  # what to do
    planned = ask("plan", "bad.yaml")
    assert "4 runs: 3 reused, 1 to make" in planned.out + planned.err
    compared = ask("compare", "results/bad", "--format", "csv")
    assert compared.code == 0
    assert f"not read: {made / store.RUN}: {said}" in compared.err
    assert len(compared.out.splitlines()) == 3
    assert contents(Path("results")) == before


def test_only_the_half_written_run_is_made_anew_once_its_folder_is_gone(ask: Ask, made: Path) -> None:
    """As the error advises."""
    for path in made.iterdir():
        path.unlink()
    made.rmdir()
    assert "4 runs: 3 reused, 1 to make" in ask("plan", "bad.yaml").out + ask("plan", "bad.yaml").err


@pytest.mark.parametrize(("row", "place"), [(b"30,0.1,,eval_loss,half", 3), (b"\xff\x00,0.1", 3), (b"30,0.1", 3)])
def test_a_broken_measurement_is_named_by_its_line(ask: Ask, made: Path, row: bytes, place: int) -> None:
    path = made / store.MEASUREMENTS
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[: place - 1], row, b""]))
    compared = ask("compare", "results/bad")
    assert compared.code == 0
    assert compared.err.startswith(f"not read: {path}:{place}: this is not a measurement")
    assert ask("show", made).code == 2


def test_a_question_that_a_person_broke_is_named_and_the_next_run_writes_it_anew(ask: Ask, made: Path) -> None:
    path = Path("results/bad") / store.QUESTION
    path.write_text("what?")
    answer = ask("compare", "results/bad")
    assert answer.code == 3
    assert answer.err.startswith(f"error: {path}: this is not a question file (Invalid JSON")
    assert "run the spec again" in answer.err
    assert ask("run", "bad.yaml").code == 0
    assert ask("compare", "results/bad").code == 0
    assert made.exists()
