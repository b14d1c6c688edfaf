"""Looking at a model leaves no trace: weights, buffers, gradients, modes and random state, bit for bit."""

import logging
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import Trace
from reference.problems import problem
from remembering import CASES
from torch import Tensor, nn

from clipbench.geometry.undisturbed import LARGEST_TENSOR, LONGEST_ROW, undisturbed


def disturb(model: nn.Module) -> None:
    """All that a careless measurement does."""
    model.train()
    model(torch.randn(4, 25)).square().mean().backward()
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer + 1)
        module.register_buffer("cache", torch.ones(1))
    for buffer in model.buffers():
        buffer.fill_(7)
    torch.manual_seed(99)


def trained_model() -> nn.Module:
    model = problem("convolutional").model
    model(torch.randn(4, 25, generator=torch.Generator().manual_seed(0))).sum().backward()
    model[2].eval()  # type: ignore[index]  # modes differ from module to module
    model[6].bias.grad = None  # type: ignore[index]
    next(model.buffers())[0] = torch.nan
    return model


def test_all_is_as_it_was() -> None:
    model = trained_model()
    before = Trace.of(model)
    with undisturbed(model):
        disturb(model)
    before.assert_unchanged(model)


def test_all_is_as_it_was_when_the_body_raises() -> None:
    model = trained_model()
    before = Trace.of(model)

    def give_up() -> None:
        with undisturbed(model):
            disturb(model)
            raise RuntimeError("gave up")

    with pytest.raises(RuntimeError, match="gave up"):
        give_up()
    before.assert_unchanged(model)


def test_the_trace_sees_what_is_not_put_back() -> None:
    model = trained_model()
    before = Trace.of(model)
    disturb(model)
    with pytest.raises(AssertionError):
        before.assert_unchanged(model)


def test_inside_every_module_is_in_evaluation_mode_and_there_are_no_gradients() -> None:
    model = trained_model().train()
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_buffers_that_are_filled_inside_are_empty_again_and_views_stay_views() -> None:
    class Caching(nn.Module):
        mask: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", None)
            self.register_buffer("whole", torch.arange(4.0))
            self.register_buffer("part", self.get_buffer("whole")[:2])

    model = Caching()
    with undisturbed(model):
        model.mask = torch.ones(3)
        model.get_buffer("whole").zero_()
    assert model.mask is None
    assert model.get_buffer("part").tolist() == [0.0, 1.0]
    model.get_buffer("whole").zero_()
    assert model.get_buffer("part").tolist() == [0.0, 0.0]


def test_it_can_be_nested() -> None:
    model = trained_model()
    before = Trace.of(model)
    with undisturbed(model):
        inside = Trace.of(model)
        with undisturbed(model):
            disturb(model)
        inside.assert_unchanged(model)
    before.assert_unchanged(model)


def test_a_model_without_parameters_will_do() -> None:
    model = nn.Dropout()
    with undisturbed(model):
        assert not model.training
    assert model.training


class Statistics:
    """A helper that a module keeps its books in."""

    def __init__(self) -> None:
        self.calls, self.mean = 0, torch.zeros(1)
        self.parent: object = self

    def note(self) -> None:
        self.calls += 1
        self.mean += 1


class Changing(nn.Module):
    """What a forward pass changes and no state_dict holds."""

    held: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 3, max_norm=0.5)
        self.register_buffer("held", torch.ones(1), persistent=False)
        self.calls, self.scale = 0, torch.ones(2)
        self.seen: list[object] = [object()]
        self.sizes: list[int] = []
        self.by_name = {"mean": torch.zeros(1)}
        self.own, self.plain, self.modern = torch.Generator(), random.Random(3), np.random.default_rng(3)
        self.helper, self.helpers = Statistics(), {"one": [SimpleNamespace(of=Statistics())]}

    def forward(self, x: Tensor) -> Tensor:
        self.helper.note()
        self.helpers["one"][0].of.note()
        self.calls += 1
        self.scale.mul_(2)
        self.scale = self.scale + 1
        self.seen.append(object())
        self.sizes.append(len(x))
        self.by_name["mean"] += 1
        self.by_name["new"] = x
        self.held.add_(1)
        self.last = x
        self.head = nn.Linear(2, 2)
        self.table.register_forward_hook(lambda *_: None)
        torch.rand(1, generator=self.own)
        noise = self.plain.random() + self.modern.random() + random.random() + np.random.random()
        return self.table(x).sum() * noise  # type: ignore[no-any-return]


LOOKS: dict[str, Callable[[Changing], object]] = {
    "weights": lambda m: m.table.weight.tolist(),
    "the weights' objects": lambda m: id(m.table.weight),
    "what requires a gradient": lambda m: m.table.weight.requires_grad,
    "counters": lambda m: m.calls,
    "tensors": lambda m: m.scale.tolist(),
    "the tensors' objects": lambda m: id(m.scale),
    "lists of anything": lambda m: list(map(id, m.seen)),
    "lists": lambda m: list(m.sizes),
    "dicts": lambda m: {name: t.tolist() for name, t in m.by_name.items()},
    "buffers outside the state_dict": lambda m: m.held.tolist(),
    "which attributes there are": lambda m: sorted(vars(m)),
    "which modules there are": lambda m: [name for name, _ in m.named_modules()],
    "hooks": lambda m: len(m.table._forward_hooks),
    "helpers": lambda m: (m.helper.calls, m.helper.mean.tolist()),
    "helpers of helpers": lambda m: (m.helpers["one"][0].of.calls, m.helpers["one"][0].of.mean.tolist()),
    "a generator of torch": lambda m: m.own.get_state().tolist(),
    "a generator of Python": lambda m: m.plain.getstate(),
    "a generator of NumPy": lambda m: m.modern.bit_generator.state,
    "Python's global generator": lambda _: random.getstate(),
    "NumPy's global generator": lambda _: str(np.random.get_state(legacy=False)),
}


@pytest.mark.parametrize("what", LOOKS)
def test_what_a_forward_pass_changes_is_put_back(what: str) -> None:
    model, x = Changing(), torch.tensor([0, 3])
    look = LOOKS[what]
    with torch.no_grad():
        model.table.weight.mul_(5)
        before = look(model)
        with undisturbed(model):
            model.table.requires_grad_(False)
            model(x)
            inside = look(model)
            with undisturbed(model):
                model(x)
            assert look(model) == inside
        assert look(model) == before
        if "objects" not in what:
            model.table.requires_grad_(False)
            model(x)
            assert look(model) != before


@pytest.mark.parametrize("case", CASES)
def test_a_loss_goes_on_as_if_it_had_not_been_looked_at(case: str) -> None:
    model, loss = CASES[case]()
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])

    def values(number: int) -> list[float]:
        with torch.no_grad():
            return [float(loss(model, x)) for _ in range(number)]

    values(1)
    with undisturbed(model, loss):
        ahead = values(4)
        with undisturbed(model, loss):
            values(1)
        ahead += values(1)
    with undisturbed(model, loss):
        values(2)
    assert values(5) == ahead
    assert len(set(ahead)) > 1


def test_a_layer_that_folds_its_weights_together_to_be_evaluated_is_as_it_was() -> None:
    class Folding(nn.Linear):
        folded = False

        def train(self, mode: bool = True) -> "Folding":
            if mode == self.folded:
                self.weight.data.add_(0.1 if self.folded else -0.1)
                self.folded = not mode
            return super().train(mode)

    model = Folding(3, 3)
    before = model.weight.tolist()
    with undisturbed(model):
        assert model.weight.tolist() != before
    assert (model.weight.tolist(), model.folded) == (before, False)


def test_a_loss_from_before_can_go_backward_afterwards() -> None:
    model = trained_model()
    loss = model(torch.randn(4, 25)).square().mean()
    with undisturbed(model), torch.no_grad():
        model(torch.randn(4, 25))
    loss.backward()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_tensors_of_any_layout_will_do() -> None:
    model = nn.Linear(2, 2)
    model.ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    model.sparse = torch.eye(3).to_sparse()
    model.register_buffer("wide", torch.ones(1, 1).expand(3, 4))
    model.register_buffer("few", torch.eye(3).to_sparse())
    with undisturbed(model):
        model.get_buffer("few").mul_(2)
    assert model.get_buffer("few").to_dense().equal(torch.eye(3))


def test_a_lazy_module_can_be_looked_at_before_its_first_pass() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with undisturbed(model), torch.no_grad():
        model(torch.ones(2, 4))
    assert isinstance(model[0], nn.LazyLinear)
    assert model(torch.ones(2, 4)).shape == (2, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpus_random_state_is_put_back() -> None:
    model = trained_model().cuda()
    before = torch.cuda.get_rng_state()
    with undisturbed(model):
        torch.randn(3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_hidden_module_keeps_the_mode_that_its_owner_gave_it() -> None:
    model = nn.Linear(2, 2)
    teachers = [nn.Dropout(), nn.Dropout().eval()]
    object.__setattr__(model, "teachers", teachers)
    with undisturbed(model):
        assert [teacher.training for teacher in teachers] == [True, False]
        teachers[0].eval()
    assert teachers[0].training


def test_data_in_a_closure_is_not_copied_and_that_of_a_module_is() -> None:
    def loss(*_: object) -> None:
        big.add_(1)
        many.append(0)

    model = nn.Module()
    model.table, big, many = torch.zeros(LARGEST_TENSOR + 1), torch.zeros(LARGEST_TENSOR + 1), [0] * LONGEST_ROW * 2
    with undisturbed(model, loss):
        model.table += 1
        loss()
    assert (float(model.table.max()), float(big.max()), len(many)) == (0, 1, 2 * LONGEST_ROW + 1)


def test_what_belongs_to_a_library_is_left_alone() -> None:
    logger, lock = logging.getLogger("looked at"), threading.Lock()

    def loss(*_: object) -> None:
        logger.setLevel(logging.INFO)
        lock.acquire()

    level = logger.level
    with undisturbed(nn.Identity(), loss):
        loss()
    assert lock.locked()
    assert logger.level == logging.INFO
    logger.setLevel(level)


def test_a_dict_that_is_gone_through_may_be_looked_at_meanwhile() -> None:
    model = nn.Linear(2, 2)
    names = {"a": 1, "b": 2}
    object.__setattr__(model, "names", names)
    for _ in names:
        with undisturbed(model):
            model(torch.ones(1, 2))
