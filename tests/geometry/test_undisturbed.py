"""Looking at a model leaves no trace: weights, buffers, gradients, modes and random state, bit for bit."""

import pytest
import torch
from oracles import Trace
from reference.problems import problem
from torch import Tensor, nn

from clipbench.geometry.undisturbed import undisturbed


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpus_random_state_is_put_back() -> None:
    model = trained_model().cuda()
    before = torch.cuda.get_rng_state()
    with undisturbed(model):
        torch.randn(3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
