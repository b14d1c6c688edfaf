"""Micro-batches, precision, compiling, recomputing: what they change of a step, and that they change nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from making import SHARPNESS, make_run, outcome_of
from oracles import flat
from running.working import made
from torch import Tensor, nn
from torch.nn import functional

from clipbench.budget import Budget
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import AS_WRITTEN, TRAINING, Arm, Choice, Measure, Record, Run, Schedule, TrainingSettings
from clipbench.running.equipment import build_problem
from clipbench.running.precision import equip
from clipbench.running.stepping import evaluated

CPU = torch.device("cpu")
LENGTHS = (1, 500, 3, 40, 7)
RAGGED = Choice("ragged", "ragged", f"{__name__}:ragged")
PLAIN = Choice("plain", "plain", f"{__name__}:plain")
SGD = Arm("sgd", Choice("sgd", "torch.optim:SGD", "torch.optim:SGD", {"lr": 0.05, "momentum": 0.9}))


class Layered(nn.Module):
    """A stack of blocks over tokens, with dropout if asked for."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 8)) for _ in range(3)
        )
        self.head = nn.Linear(8, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = x + block(x)
        scores: Tensor = self.head(x)
        return scores


def _model(seed: int, dropout: float = 0.0) -> Layered:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Layered(dropout)


def ragged(seed: int, device: torch.device, *, dropout: float = 0.0, terms: bool = True) -> Problem:
    """Sequences of very unlike lengths, padded; the loss averages over all that is not padding."""

    def batch(number: int) -> Batch:
        tokens = torch.randint(1, 11, (5, max(LENGTHS)), generator=torch.Generator().manual_seed(number + 1000))
        lengths = torch.tensor(LENGTHS)
        mask = torch.arange(max(LENGTHS)) < lengths[:, None]
        return Batch({"tokens": tokens * mask}, 5, int(lengths.sum()), lengths if terms else None)

    def batches(start: int) -> Iterator[Batch]:
        return (batch(number) for number in count(start))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        tokens = batch["tokens"]
        return functional.cross_entropy(model(tokens).transpose(1, 2), tokens, ignore_index=0)

    held = [batch(-number) for number in range(1, 5)]
    return Problem(_model(seed, dropout).to(device), loss, batches, held, held)


def plain(seed: int, device: torch.device, *, rows: int = 10) -> Problem:
    """Examples that count alike, without tokens."""

    def batch(number: int) -> Batch:
        return Batch({"x": torch.randint(11, (rows, 6), generator=torch.Generator().manual_seed(number + 1000))}, rows)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch["x"]).transpose(1, 2), batch["x"])

    held = [batch(-number) for number in range(1, 5)]
    return Problem(_model(seed).to(device), loss, lambda start: map(batch, count(start)), held, held)


def gradient(problem: Problem, batch: Batch, settings: TrainingSettings = AS_WRITTEN) -> tuple[float, Tensor]:
    problem.model.zero_grad()
    loss = evaluated(problem, batch, settings)
    return float(loss.detach()), flat([p.grad for p in problem.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64])
@pytest.mark.parametrize("build", [ragged, plain])
def test_pieces_give_the_loss_and_the_gradient_of_the_whole(build: Any, size: int) -> None:
    problem = build(0, CPU)
    problem.model.double()
    batch = next(problem.train_batches(0))
    loss, whole = gradient(problem, batch)
    in_pieces, pieced = gradient(problem, batch, TrainingSettings(micro_batch=size))
    assert in_pieces == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(pieced, whole, rtol=0, atol=1e-12)


def test_the_mean_of_the_pieces_losses_is_another_loss() -> None:
    """What a loop that averages over micro-batches would train on: the test above would see it."""
    problem = ragged(0, CPU)
    batch = next(problem.train_batches(0))
    loss, _ = gradient(problem, batch)
    means = [float(problem.loss(problem.model, piece).detach()) for piece in batch.split(1)]
    assert abs(sum(means) / len(means) - loss) > 1e-3 * loss


def test_a_batch_of_one_piece_keeps_its_bits() -> None:
    problem = ragged(0, CPU)
    batch = next(problem.train_batches(0))
    assert batch.split(5) == [batch] == batch.split(6)
    (loss, whole), (again, pieced) = (gradient(problem, batch, TrainingSettings(size)) for size in (None, 5))
    assert loss == again
    assert torch.equal(whole, pieced)


def test_pieces_know_their_samples_tokens_and_terms() -> None:
    pieces = next(ragged(0, CPU).train_batches(0)).split(2)
    assert [(each.samples, each.tokens, each.weight) for each in pieces] == [(2, 501, 501), (2, 43, 43), (1, 7, 7)]
    assert [each["tokens"].shape[0] for each in pieces] == [2, 2, 1]
    unlabelled = Batch({"x": torch.zeros(3, 1)}, 3, terms=torch.tensor([0, 2, 0]))
    assert [each.weight for each in unlabelled.split(1)] == [2]  # an example without a term has no mean
    assert unlabelled.weight == 2
    without = Batch({"x": torch.zeros(3, 1)}, 3, terms=torch.zeros(3))
    assert without.split(1) == [without]  # its loss is what it is


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (Batch({"x": torch.zeros(4, 3)}, 4, tokens=12), "nothing says how many each example has"),
        (Batch({"x": torch.zeros(4, 3), "rate": torch.zeros(())}, 4), "the tensor 'rate' has no row for each of 4"),
        (Batch({"x": torch.zeros(4, 3), "edges": torch.zeros(2, 9)}, 4), "the tensor 'edges' has no row"),
    ],
)
def test_what_cannot_be_split_is_said(batch: Batch, found: str) -> None:
    with pytest.raises(ClipbenchError, match=found):
        batch.split(2)


@pytest.mark.parametrize(
    ("tokens", "terms", "found"),
    [
        (None, [1, 2], "terms have the shape"),
        (5, [1, 1, 2], "terms add up to 4, and there are 5 tokens"),
        (None, [0.5, 0.5, 1.0], "whole numbers, none of them negative"),
        (3, [2, -1, 2], "whole numbers, none of them negative"),
    ],
)
def test_terms_that_do_not_fit_are_refused(tokens: int | None, terms: list[float], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Batch({"x": torch.zeros(3, 1)}, 3, tokens, torch.tensor(terms))


def described(task: Choice, *, training: TrainingSettings, arm: Arm = SGD, steps: int = 6) -> Run:
    norms = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    measure = Measure(3, 3, probes=norms)
    return make_run(task=task, arm=arm, budget=Budget(steps, "steps"), measure=measure, training=training)


def losses(record: Record) -> list[float]:
    return [row.value for row in record.measurements.series("", "eval_loss")]


def test_a_run_in_pieces_goes_where_the_whole_goes_and_says_so(tmp_path: Path) -> None:
    whole = made(described(RAGGED, training=AS_WRITTEN), tmp_path)
    pieced = made(described(RAGGED, training=TrainingSettings(micro_batch=2)), tmp_path)
    assert losses(pieced) == pytest.approx(losses(whole), rel=1e-5)
    assert pieced.weights != whole.weights  # other bits, and another key
    assert pieced.identity != whole.identity
    [text] = outcome_of(pieced).remarks[TRAINING]
    assert text.startswith("batches are cut into pieces of 2")
    assert TRAINING not in outcome_of(whole).remarks
    ended, before = outcome_of(pieced), outcome_of(whole)
    assert (ended.samples, ended.tokens, ended.passes) == (before.samples, before.tokens, before.passes)
    assert ended.step_flops == before.step_flops
    assert whole.environment is not None
    assert "micro_batch" not in whole.environment.numerics
    assert pieced.environment is not None
    assert pieced.environment.numerics["micro_batch"] == 2


def test_a_run_in_pieces_resumes_bit_for_bit(tmp_path: Path) -> None:
    dropped = replace(RAGGED, options={"dropout": 0.2})
    run = described(dropped, training=TrainingSettings(micro_batch=2, recompute=True))
    through = made(run, tmp_path / "through")
    assert made(run, tmp_path / "resumed", stop_at=4).outcome is None
    assert made(run, tmp_path / "resumed").weights == through.weights != ""


def test_a_task_that_cannot_be_split_fails_its_run(tmp_path: Path) -> None:
    record = made(
        described(replace(RAGGED, options={"terms": False}), training=TrainingSettings(micro_batch=2)), tmp_path
    )
    assert outcome_of(record).status == "failed"
    assert "nothing says how many each example has" in outcome_of(record).reason


def test_bf16_rounds_the_training_step_and_nothing_that_is_measured() -> None:
    problem = ragged(0, CPU)
    batch = next(problem.train_batches(0))
    loss, exact = gradient(problem, batch)
    seen: list[torch.dtype] = []
    head = problem.model.head
    assert isinstance(head, nn.Linear)
    head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    rounded_loss, rounded = gradient(problem, batch, TrainingSettings(precision="bf16"))
    assert seen == [torch.bfloat16]
    assert all(
        p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32
        for p in problem.model.parameters()
    )
    # bf16 has 8 bits: a relative rounding of 2⁻⁹ an operation.
    assert 0 < abs(rounded_loss - loss) < 0.02 * loss
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.05


def test_in_a_bf16_run_curvature_and_evaluation_are_those_of_float32(tmp_path: Path) -> None:
    """At step 0 of the run, where both have the same weights; later the paths part."""
    records = [
        made(described(RAGGED, training=TrainingSettings(precision=precision)), tmp_path)
        for precision in ("float32", "bf16")
    ]
    first, second = (losses(record) for record in records)
    assert first[0] == second[0]
    assert first[-1] != second[-1]
    assert second == pytest.approx(first, rel=0.05)
    assert records[1].environment is not None
    assert records[1].environment.numerics["precision"] == "bf16"


def test_tf32_is_refused_where_there_is_none(tmp_path: Path) -> None:
    record = made(described(PLAIN, training=TrainingSettings(precision="tf32")), tmp_path)
    assert outcome_of(record).status == "failed"
    assert "tf32 is a precision of NVIDIA GPUs, and this run is on cpu" in outcome_of(record).reason


def rounding(seed: int, device: torch.device) -> Problem:
    """As if the CPU had TF32: the loss is another one where products are in it."""
    problem = plain(seed, device)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return problem.loss(model, batch) * (1.01 if torch.backends.cuda.matmul.fp32_precision == "tf32" else 1.0)

    return replace(problem, loss=loss)


def test_tf32_is_for_the_curvature_of_probes_where_it_is_asked_for(tmp_path: Path) -> None:
    measure = Measure(3, 3, probes=(SHARPNESS, *described(PLAIN, training=AS_WRITTEN).measure.probes))
    task = Choice("rounding", "rounding", f"{__name__}:rounding")
    run = replace(described(task, training=AS_WRITTEN), measure=measure)
    exact, rounded = (
        made(replace(run, measure=replace(measure, precision=precision)), tmp_path) for precision in ("float32", "tf32")
    )
    assert losses(rounded) == losses(exact)
    assert outcome_of(rounded).weights_sha256 == outcome_of(exact).weights_sha256
    assert not outcome_of(rounded).failed_probes
    assert rounded.run.measure.precision == "tf32"
    for name, factor in (("directional_sharpness", 1.01), ("update_norm", 1.0)):
        both = [[row.value for row in record.measurements.series("own", name)] for record in (exact, rounded)]
        assert both[1] == pytest.approx([factor * value for value in both[0]], rel=1e-4)


def saved_bytes(problem: Problem, batch: Batch) -> int:
    """What autograd keeps between the forward and the backward pass."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        problem.loss(problem.model, batch)
    return sum(kept)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputing_changes_no_bit_and_keeps_less(dropout: float) -> None:
    outcomes = []
    for recompute in (False, True):
        problem = ragged(0, CPU, dropout=dropout)
        equip(problem.model, TrainingSettings(recompute=recompute))
        batch = next(problem.train_batches(0))
        kept = saved_bytes(problem, batch)
        torch.manual_seed(7)
        outcomes.append((gradient(problem, batch), kept, list(problem.model.state_dict())))
    ((first, whole), much, names), ((second, again), little, same_names) = outcomes
    assert first == second
    assert torch.equal(whole, again)
    assert little < 0.6 * much  # three blocks keep their inputs alone; the embedding and the head all that they did
    assert names == same_names


class Counted(nn.Module):
    """A layer whose buffer is in its forward pass, which writes to it."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.linear(x)) * self.calls


def test_recomputing_writes_to_buffers_once() -> None:
    """Plain and recomputed alike: running statistics, and a gradient that depends on what a buffer was."""
    ends = []
    for recompute in (False, True):
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
        model = nn.Sequential(block, Counted(), block)
        if recompute:
            equip(model, TrainingSettings(recompute=True))
        for _ in range(3):
            model(torch.randn(8, 4)).square().mean().backward()
        ends.append([*model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(ends[0]) == 10
    assert all(map(torch.equal, *ends))


def test_a_list_in_a_list_is_no_block() -> None:
    pair = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    model = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), pair])
    with pytest.raises(ClipbenchError, match="no blocks"):
        equip(nn.ModuleList([pair, pair]), TrainingSettings(recompute=True))
    equip(model, TrainingSettings(recompute=True))
    inner = model[0]
    assert isinstance(inner, nn.ModuleList)
    assert ["forward" in vars(layer) for layer in inner] == [True, True]


def test_a_model_without_blocks_has_nothing_to_recompute() -> None:
    with pytest.raises(ClipbenchError, match="no blocks whose activations could be recomputed"):
        equip(nn.Linear(2, 2), TrainingSettings(recompute=True))


def test_a_compiled_run_goes_where_the_plain_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def compile_eagerly(self: nn.Module) -> None:
        compiled.append(self)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    plainly = made(described(PLAIN, training=AS_WRITTEN, steps=3), tmp_path)
    record = made(described(PLAIN, training=TrainingSettings(compile=True), steps=3), tmp_path)
    assert compiled
    assert outcome_of(record).status == "finished"
    assert losses(record) == pytest.approx(losses(plainly), rel=1e-5)
    assert outcome_of(record).ledger["compile"] > 0
    assert outcome_of(plainly).ledger["compile"] == 0


def test_defaults_are_in_no_key_and_settings_are() -> None:
    run = described(PLAIN, training=AS_WRITTEN)
    assert run.key == make_run(task=PLAIN, arm=SGD, budget=run.budget, measure=run.measure).key
    others = [TrainingSettings(micro_batch=2), TrainingSettings(precision="bf16"), TrainingSettings(compile=True)]
    assert len({run.key, *(replace(run, training=each).key for each in others)}) == 4


def test_a_task_of_the_shelf_can_be_split() -> None:
    texts = ("code_lm", "number_translation", "code_tokens", "masked_tokens", "byte_lstm")
    for name in (*texts, "digits", "heavy_tail", "autoencoder", "pinn"):
        task = Choice(name, name, f"clipbench.tasks.{name}:build", {"batch": 6})
        problem = build_problem(make_run(task=task), CPU)
        problem.model.double()
        for batch in (next(problem.train_batches(0)), problem.probe_batches[0]):
            converted = replace(
                batch, tensors={k: v.double() if v.is_floating_point() else v for k, v in batch.tensors.items()}
            )
            loss, whole = gradient(problem, converted)
            pieced_loss, pieced = gradient(problem, converted, TrainingSettings(micro_batch=4))
            assert pieced_loss == pytest.approx(loss, rel=1e-9)
            assert torch.allclose(pieced, whole, rtol=0, atol=1e-9)


def of_examples(seed: int, device: torch.device, *, counted: bool = True, batches: int | None = None) -> Problem:
    """`plain` with 25 training examples, in batches of 10: two and a half batches make an epoch."""
    problem = plain(seed, device)
    ending = replace(problem, train_batches=lambda start: islice(problem.train_batches(0), start, batches))
    return replace(ending, examples=25 if counted else None)


def test_a_budget_in_epochs_is_spent_by_samples(tmp_path: Path) -> None:
    task = Choice("counted", "counted", f"{__name__}:of_examples")
    schedule = replace(SGD, schedule=Schedule("linear"))
    epochs = replace(described(task, training=AS_WRITTEN, arm=schedule), budget=Budget(2.0, "epochs"))
    samples = replace(epochs, budget=Budget(50, "samples"))
    by_epoch, by_sample = made(epochs, tmp_path), made(samples, tmp_path)
    assert by_epoch.weights == by_sample.weights
    assert (outcome_of(by_epoch).samples, outcome_of(by_epoch).steps, outcome_of(by_epoch).epochs) == (50, 5, 2.0)
    assert by_epoch.identity != by_sample.identity


def test_of_a_run_that_fails_it_is_known_how_much_of_the_epochs_was_spent(tmp_path: Path) -> None:
    task = Choice("counted", "counted", f"{__name__}:of_examples", {"batches": 4})
    ended = outcome_of(made(replace(described(task, training=AS_WRITTEN), budget=Budget(2.0, "epochs")), tmp_path))
    assert (ended.status, ended.samples, ended.epochs) == ("failed", 40, 1.6)


def test_an_epoch_of_nobody_knows_how_many_examples_is_refused(tmp_path: Path) -> None:
    task = Choice("counted", "counted", f"{__name__}:of_examples", {"counted": False})
    run = replace(described(task, training=AS_WRITTEN), budget=Budget(2.0, "epochs"))
    assert "does not say how many training examples there are" in outcome_of(made(run, tmp_path)).reason
