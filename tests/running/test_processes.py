"""One run over several processes goes where one process goes, and ends when one of its processes does."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from making import SHARPNESS, make_run, outcome_of
from oracles import flat
from promises import Silent
from running.working import made
from torch import Tensor

from clipbench import store
from clipbench.budget import Budget
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError, SpecError
from clipbench.records import (
    TRAINING,
    Arm,
    Choice,
    ClipSettings,
    Measure,
    Outcome,
    Record,
    Run,
    Schedule,
    TrainingSettings,
)
from clipbench.running import processes
from clipbench.running.devices import refuse_too_few
from clipbench.running.engines import Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.exchange import Exchange, Place
from clipbench.running.processes import Team
from clipbench.running.stepping import evaluated, shards
from clipbench.running.supervisor import Policy, supervise
from clipbench.spec import load

CPU = torch.device("cpu")
WORDS = Choice("words", "words", "clipbench.tasks.number_translation:build", {"width": 16, "heads": 2, "batch": 7})
RAGGED = Choice("ragged", "ragged", "sharing:ragged")


def arm(name: str, target: str, clip: ClipSettings | None = None, **options: Any) -> Arm:
    return Arm(name, Choice(name, name, target, options), clip=clip, schedule=Schedule("cosine"))


SGD = arm("sgd", "torch.optim:SGD", lr=0.1, momentum=0.9)
ADAM = arm("adam", "torch.optim:Adam", lr=0.003)
CLIPPED = arm("clipped", "torch.optim:Adam", ClipSettings(0.1), lr=0.003)


def described(task: Choice, arm: Arm = SGD, *, processes: int = 2, steps: int = 12, **changes: Any) -> Run:
    measure = Measure(evaluate_every=5, probe_every=6, probes=(SHARPNESS,))
    run = make_run(task=task, arm=arm, budget=Budget(steps, "steps"), measure=measure)
    return replace(run, **({"training": TrainingSettings(processes=processes)} | changes))


def numbers(record: Record) -> dict[tuple[int, str, str], float]:
    return {(row.step, row.direction, row.quantity): row.value for row in record.measurements}


def finished(record: Record) -> Outcome:
    assert outcome_of(record).status == "finished", outcome_of(record).reason
    return outcome_of(record)


def with_options(task: Choice, **options: Any) -> Choice:
    return replace(task, options={**task.options, **options})


def mean_of_means(problem: Problem, batch: Batch, settings: TrainingSettings, **_: Any) -> Tensor:
    """What an average over processes makes of shares with unlike numbers of terms, as DistributedDataParallel does."""
    losses = [problem.loss(problem.model, shard) for shard in shards(batch, settings)]
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_the_gradient_of_the_shares_is_that_of_the_whole(size: int) -> None:
    from sharing import ragged

    problem = ragged(0, CPU, double=True, sizes=(7,))
    [batch, settings] = next(problem.train_batches(0)), TrainingSettings(processes=size)
    gradients = []
    for of in (TrainingSettings(), settings, TrainingSettings(micro_batch=2, processes=size)):
        problem.model.zero_grad()
        loss = float(evaluated(problem, batch, of).detach())
        gradients.append((loss, flat([p.grad for p in problem.model.parameters() if p.grad is not None])))
    (loss, whole), *others = gradients
    for shared_loss, shared in others:
        assert shared_loss == pytest.approx(loss, rel=1e-12)
        assert torch.allclose(shared, whole, rtol=0, atol=1e-12)
    assert sum(shard.samples for shard in shards(batch, settings)) == 7
    assert len(shards(batch, settings)) <= size


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "count"), [(SGD, 2), (ADAM, 3), (CLIPPED, 2)], ids=["sgd", "adam", "clipped"])
def test_after_fifty_steps_losses_curvatures_and_thresholds_are_those_of_one_process(
    tmp_path: Path, arm: Arm, count: int
) -> None:
    """Seven pairs a batch, of 1 to 13 words each: the shares have unlike numbers of examples and of terms."""
    ghosts = tuple(each for each in (SGD, CLIPPED) if each is not arm)
    measure = Measure(evaluate_every=10, probe_every=20, probes=(SHARPNESS,), ghosts=ghosts)
    run = described(WORDS, arm, processes=count, steps=50, measure=measure)
    shared = made(run, tmp_path / "shared")
    alone = made(replace(run, training=TrainingSettings()), tmp_path / "alone")
    ours, theirs = numbers(shared), numbers(alone)
    assert finished(shared).steps == finished(alone).steps == 50
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-5 if "loss" in key[2] else 1e-3), key
    clipping = "" if arm.clip else "clipped"  # the run's own clip, or its ghost's
    assert {key[0] for key in theirs if key[1:] == (clipping, "clip_threshold")} == {20, 40}
    assert outcome_of(shared).tokens == outcome_of(alone).tokens
    assert outcome_of(shared).passes == outcome_of(alone).passes == 50
    assert outcome_of(shared).step_flops == pytest.approx(outcome_of(alone).step_flops or 0, rel=0.2)  # less padding


@pytest.mark.slow
def test_an_average_over_processes_would_train_on_another_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the tolerance of the test above, at the least."""
    run = described(WORDS, ADAM, steps=50)
    alone = made(replace(run, training=TrainingSettings()), tmp_path / "alone")
    monkeypatch.setattr(Team, "gather", lambda *_: None)
    monkeypatch.setattr(processes, "evaluated", mean_of_means)
    averaged = made(run, tmp_path / "averaged")
    ours, theirs = numbers(averaged), numbers(alone)
    apart = [key for key, value in theirs.items() if key[2] == "eval_loss" and abs(ours[key] - value) > 1e-4 * value]
    assert len(apart) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_in_float64_the_losses_agree_to_twelve_digits(tmp_path: Path, count: int) -> None:
    run = described(with_options(RAGGED, double=True), ADAM, processes=count, steps=50)
    shared, alone = made(run, tmp_path / "shared"), made(replace(run, training=TrainingSettings()), tmp_path / "alone")
    finished(shared)
    theirs = numbers(alone)
    losses = {key: value for key, value in numbers(shared).items() if "loss" in key[2]}
    assert losses
    for key, value in losses.items():
        assert value == pytest.approx(theirs[key], rel=1e-12), key


@pytest.mark.slow
def test_the_same_bits_each_time_and_those_of_one_process_that_computes_share_after_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batches that have fewer examples than there are processes, and a layer that one process alone uses."""
    run = described(with_options(RAGGED, sizes=(5, 1, 4, 2), unused=True), processes=2)
    first, second = made(run, tmp_path / "first"), made(run, tmp_path / "second")
    monkeypatch.setattr(Team, "gather", lambda *_: None)
    in_turn = made(run, tmp_path / "in turn")
    assert finished(first).weights_sha256 == finished(second).weights_sha256 == finished(in_turn).weights_sha256
    assert numbers(first) == numbers(second) == numbers(in_turn)


@pytest.mark.slow
def test_a_batch_may_have_no_example_for_a_process(tmp_path: Path) -> None:
    run = described(with_options(RAGGED, sizes=(3, 1, 2), double=True), processes=3)
    shared, alone = made(run, tmp_path / "shared"), made(replace(run, training=TrainingSettings()), tmp_path / "alone")
    assert finished(shared).steps == 12
    assert numbers(shared)[12, "", "eval_loss"] == pytest.approx(numbers(alone)[12, "", "eval_loss"], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 8])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    """With dropout, which every process draws for itself, running statistics, a clip and a ghost."""
    task = with_options(RAGGED, dropout=0.3, normed=True)
    run = described(task, CLIPPED, measure=Measure(5, 6, probes=(SHARPNESS,), ghosts=(SGD,)))
    through = made(run, tmp_path / "through")
    paused = made(run, tmp_path / "resumed", stop_at=stop_at)
    assert paused.outcome is None
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = made(run, tmp_path / "resumed")
    assert finished(resumed).weights_sha256 == finished(through).weights_sha256
    assert numbers(resumed) == numbers(through)
    [text] = finished(through).remarks[TRAINING]
    assert text.startswith("batches are shared among 2 processes: dropout and batch statistics go by share")


@pytest.mark.slow
def test_shares_go_through_the_model_in_pieces_and_in_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings(processes=2, micro_batch=2, precision="bf16")
    run = described(with_options(RAGGED, unused=True), ADAM, training=settings)
    shared = made(run, tmp_path / "shared")
    monkeypatch.setattr(Team, "gather", lambda *_: None)
    in_turn = made(run, tmp_path / "in turn")
    assert finished(shared).steps == 12
    assert numbers(shared)[12, "", "eval_loss"] == pytest.approx(numbers(in_turn)[12, "", "eval_loss"], rel=1e-5)
    assert len(finished(shared).remarks[TRAINING]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("failures", "status"), [(2, "finished"), (3, "failed")])
def test_processes_that_do_not_meet_at_once_are_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, status: str
) -> None:
    attempts: list[Path] = []

    class Unreliable(Exchange):
        def __init__(self, place: Place, meeting: Path) -> None:
            attempts.append(meeting)
            if len(attempts) <= failures:
                raise RuntimeError("connection reset by peer")
            super().__init__(place, meeting)

    monkeypatch.setattr(processes, "Exchange", Unreliable)
    ended = outcome_of(made(described(RAGGED, steps=2), tmp_path))
    assert (ended.status, len(attempts)) == (status, 3)
    assert (status == "failed") == ("did not meet (connection reset by peer)" in ended.reason)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "remembered"), [("Counting", ["calls"]), ("Buffered", [])])
def test_what_a_model_remembers_in_no_buffer_is_not_shared_and_the_record_says_so(
    tmp_path: Path, model: str, remembered: list[str]
) -> None:
    ended = finished(made(described(Choice("t", "t", "forgetful:task", {"model": model})), tmp_path))
    texts = [f"the model remembers another {name} in process 1 than in the first" for name in remembered]
    assert [text.partition(":")[0] for text in ended.remarks[TRAINING][1:]] == texts


CLOSURES = [
    arm("lbfgs", "torch.optim:LBFGS", lr=0.1, max_iter=4),
    replace(SGD, wrap=(Choice("sam", "sam", "clipbench.wrappers.sam:build", {"rho": 0.05}),)),
    replace(SGD, wrap=(Choice("lookahead", "lookahead", "clipbench.wrappers.lookahead:build", {"k": 3}),)),
    arm("asking", "sharing:Alone", lr=0.1),
]


@pytest.mark.slow
@pytest.mark.parametrize("arm", CLOSURES, ids=lambda each: each.wrap[0].name if each.wrap else each.name)
def test_an_optimizer_may_take_as_many_passes_as_it_likes_and_finds_itself_alone(tmp_path: Path, arm: Arm) -> None:
    run = described(with_options(RAGGED, double=True), arm, steps=6)
    shared, alone = made(run, tmp_path / "shared"), made(replace(run, training=TrainingSettings()), tmp_path / "alone")
    assert finished(shared).passes == finished(alone).passes
    assert numbers(shared)[6, "", "eval_loss"] == pytest.approx(numbers(alone)[6, "", "eval_loss"], rel=1e-10)


FAULTS = [
    ({"failing": 2}, SGD, "process 1 of the run: ValueError: nobody can have so many examples"),
    ({"terms": False}, SGD, "nothing says how many each example has, so it cannot be split"),
    ({"drawn": "by nobody's seed"}, SGD, "process 1 of the run drew another batch for step 0 than the first process"),
    ({"drawn": "in a row"}, SGD, "process 1 of the run drew another batch for step 0 than the first process"),
    ({"max_norm": 0.5}, SGD, "'embed.weight' changed during a forward or backward pass"),
    ({}, arm("early", "sharing:InBackward", lr=0.1), "changed during a forward or backward pass"),
    ({"sparse": True}, arm("sparse", "torch.optim:SGD", lr=0.1), "the gradient of 'embed.weight' is sparse"),
    ({"sizes": (1,)}, SGD, "2 processes cannot share a batch of 1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "arm", "reason"), FAULTS)
def test_what_cannot_be_shared_fails_the_run_in_a_sentence(
    tmp_path: Path, options: dict[str, Any], arm: Arm, reason: str
) -> None:
    arm = replace(arm, liveness="off")
    ended = outcome_of(made(described(with_options(RAGGED, **options), arm), tmp_path))
    assert ended.status == "failed"
    assert reason in ended.reason


@dataclass
class Killing:
    """A watcher that kills a process of the run at a step, and remembers the steps that it saw afterwards."""

    victim: str
    at: int
    first: Callable[[], None] = lambda: None
    began: int = 0
    family: list[psutil.Process] = field(default_factory=list)
    later: list[int] = field(default_factory=list)

    def started(self, run: Run) -> None:  # noqa: ARG002
        self.began += 1

    def advanced(self, run: Run, progress: float, text: str) -> None:  # noqa: ARG002
        step = re.match(r"step (\d+)", text)
        if step is None:
            return
        if self.family and self.began > 1:
            self.later.append(int(step[1]))
        if not self.family and int(step[1]) >= self.at:
            self.first()
            self.kill()

    def kill(self) -> None:
        """Below this process are the servers that fork; below these the worker, its own server, and its helper."""
        above = [each for server in psutil.Process().children() for each in server.children()]
        [worker] = [each for each in above if each.children()]
        [server] = worker.children()
        [helper] = server.children()
        self.family = [worker, server, helper]
        {"worker": worker, "helper": helper, "server": server}[self.victim].kill()

    def finished(self, run: Run, outcome: Outcome) -> None: ...
    def heartbeat(self) -> None: ...
    def log(self, text: str) -> None: ...


SLOWLY = described(with_options(RAGGED, seconds=0.03, dropout=0.2), ADAM, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["helper", "worker", "server"])
def test_a_run_one_of_whose_processes_is_killed_goes_on_from_its_checkpoint(tmp_path: Path, victim: str) -> None:
    through = made(SLOWLY, tmp_path / "through")
    assert made(SLOWLY, tmp_path / "killed", stop_at=20).outcome is None
    with LocalEngine(Need("cpu", 1, processes=2)) as engine:
        watcher = Killing(victim, at=25)
        policy = Policy(retries=1)
        [(run, _)] = supervise([SLOWLY], tmp_path / "killed", engine=engine, watcher=watcher, policy=policy)
    again = store.read(store.folder_of(run, tmp_path / "killed"))
    assert watcher.began == 2
    assert min(watcher.later) >= 20
    assert finished(again).weights_sha256 == finished(through).weights_sha256
    assert numbers(again) == numbers(through)
    assert psutil.wait_procs(watcher.family, timeout=10.0)[1] == []


@pytest.mark.slow
def test_a_killed_process_is_named_in_the_log_of_its_run(tmp_path: Path) -> None:
    with LocalEngine(Need("cpu", 1, processes=2)) as engine:
        watcher = Killing("helper", at=5)
        [(run, outcome)] = supervise([SLOWLY], tmp_path, engine=engine, watcher=watcher)
    assert outcome.reason.startswith("a process of the run was lost; which and how, the end of its log says: ")
    assert outcome.steps >= 5
    log = store.read_log(store.folder_of(run, tmp_path))
    assert "process 1 of the run's 2 (0 is the worker) was killed by signal 9" in log


@pytest.mark.slow
def test_a_run_that_does_not_notice_a_killed_process_ends_all_the_same(tmp_path: Path) -> None:
    """As in an exchange on GPUs, which may wait for ever: here the first process is in a forward pass without end."""
    waiting = tmp_path / "waiting"

    def wait() -> None:
        waiting.touch()
        while not waiting.with_suffix(".there").exists():
            time.sleep(0.1)

    run = replace(SLOWLY, task=with_options(SLOWLY.task, waiting=str(waiting)))
    with LocalEngine(Need("cpu", 1, processes=2)) as engine:
        watcher = Killing("helper", at=5, first=wait)
        [(_, outcome)] = supervise([run], tmp_path, engine=engine, watcher=watcher)
    assert outcome.reason.startswith("a process of the run was lost; which and how, the end of its log says: ")
    assert outcome.steps >= 5
    log = store.read_log(store.folder_of(run, tmp_path))
    assert "a process of the run is gone, and this one waits for it: it ends" in log


def test_a_run_over_several_processes_needs_as_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench.running.engines.local.gpu_ids", lambda: [0, 1, 2, 3, 4])
    monkeypatch.setattr("clipbench.running.devices._allowed_cpus", lambda: list(range(8)))
    monkeypatch.setattr("clipbench.running.devices._one_cpu_a_core", lambda cpus: cpus)
    monkeypatch.setattr("clipbench.running.devices._quota", lambda cpus: cpus)
    slots = LocalEngine(Need("cuda", 1, processes=2)).slots
    assert slots == [("cuda:0,cuda:1", ()), ("cuda:2,cuda:3", ())]
    assert LocalEngine(Need("cuda", 1, together=2, processes=4)).slots == [("cuda:0,cuda:1,cuda:2,cuda:3", ())] * 2
    assert LocalEngine(Need("cpu", 2, processes=2)).slots == [("cpu", (0, 1, 2, 3)), ("cpu", (4, 5, 6, 7))]


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("mps", "2 processes need a device each, and mps is one"),
        ("cuda:1", "2 processes need a GPU each, and device 'cuda:1' is one"),
        ("cuda", "2 processes need a GPU each, and 1 is here"),
    ],
)
def test_devices_that_are_too_few_are_refused(monkeypatch: pytest.MonkeyPatch, device: str, reason: str) -> None:
    monkeypatch.setattr("clipbench.running.devices.gpu_ids", lambda: [0])
    with pytest.raises(ClipbenchError, match=reason):
        refuse_too_few(device, 2)
    refuse_too_few(device, 1)
    refuse_too_few("cpu", 64)


SPEC = """
task: quadratic
optimizers: {adam: {use: adam, lr: 0.1%s}}
budget: {steps: 5}
seeds: [0]
training: {processes: %s}
"""


def spec_of(folder: Path, processes: object, more: str = "") -> Path:
    path = folder / "spec.yaml"
    path.write_text(SPEC % (more, processes), encoding="utf-8")
    return path


def test_processes_are_in_a_key_where_there_are_several(tmp_path: Path) -> None:
    one, two = (load(spec_of(tmp_path, n)).training for n in (1, 2))
    assert (one, two) == (TrainingSettings(), TrainingSettings(processes=2))
    run = described(WORDS)
    assert replace(run, training=one).key == make_run(**vars(replace(run, training=one))).key != run.key


@pytest.mark.parametrize(
    ("processes", "more", "reason"),
    [
        (0, "", "must be at least 1"),
        (65, "", "must be at most 64"),
        (1.5, "", "expected a whole number"),
        (2, ", create_graph: true", "the graph of a gradient cannot be shared among 2 processes"),
    ],
)
def test_a_spec_that_cannot_be_shared_is_refused(tmp_path: Path, processes: object, more: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        load(spec_of(tmp_path, processes, more))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_each_process_of_a_run_may_have_a_pool_and_wait_for_its_end(how: str, tmp_path: Path) -> None:
    pooled = described(Choice("pooled", "pooled", "sharing:pooled", {"how": how}))
    with LocalEngine(Need("cpu", 1, processes=2)) as engine:
        [(_, outcome)] = supervise([pooled], tmp_path, engine=engine, watcher=Silent(), policy=Policy(timeout=90))
    assert outcome.status == "finished", outcome.reason
