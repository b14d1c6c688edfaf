"""A run is watched: what goes dead or foreign on the way is said once, and watching changes nothing."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from clipbench.running import vigil
from clipbench.running.vigil import Vigil

SEED = 5


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Whatever a test sets for the whole process."""
    threads, dtype, precision = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    deterministic = torch.get_deterministic_debug_mode()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_default_device(None)
    torch.set_float32_matmul_precision(precision)
    torch.set_deterministic_debug_mode(deterministic)


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(dtype)


def move(watched: nn.Module, by: float = 1.0) -> None:
    with torch.no_grad():
        for parameter in watched.parameters():
            if parameter.requires_grad:
                parameter.add_(by)


def test_a_model_that_moves_is_nothing_to_remark() -> None:
    watched = model()
    keeper = Vigil(watched, SEED)
    for step in range(0, 50, 10):
        assert keeper.look(step) == ()
        move(watched)


def test_a_model_that_stands_still_is_a_remark_made_once() -> None:
    watched = model()
    keeper = Vigil(watched, SEED)
    assert keeper.look(0) == ()
    move(watched)
    assert keeper.look(10) == ()
    assert keeper.look(20) == ("the weights are the same at the evaluations of steps 10 and 20",)
    assert keeper.look(30) == ()


def test_a_second_look_at_one_step_is_none() -> None:
    keeper = Vigil(model(), SEED)
    assert [keeper.look(10), keeper.look(10)] == [(), ()]


def test_buffers_and_frozen_weights_do_not_count_as_moving() -> None:
    watched = model()
    frozen = next(watched.parameters())
    frozen.requires_grad_(False)
    keeper = Vigil(watched, SEED)
    keeper.look(0)
    watched(torch.randn(8, 3))
    with torch.no_grad():
        frozen.add_(1)
    assert keeper.look(10) == ("the weights are the same at the evaluations of steps 0 and 10",)


@pytest.mark.parametrize(
    ("dtype", "whole"),
    [
        (torch.float32, torch.int32),
        (torch.float64, torch.int64),
        (torch.bfloat16, torch.int16),
        (torch.float16, torch.int16),
        (torch.complex64, torch.int64),
    ],
)
def test_one_bit_of_one_weight_is_seen(dtype: torch.dtype, whole: torch.dtype) -> None:
    weights = torch.arange(1, 7).to(dtype).reshape(2, 3).T
    before = vigil.checksums([weights])
    weights.view(whole)[-1, -1] ^= 1
    assert vigil.checksums([weights]) != before


def test_moves_that_cancel_are_seen() -> None:
    """One weight goes up by as many units in the last place as another goes down."""
    weights = torch.tensor([1.0, 2.0])
    before = vigil.checksums([weights])
    weights.view(torch.int32).add_(torch.tensor([3, -3], dtype=torch.int32))
    assert vigil.checksums([weights])[0] == before[0]
    assert vigil.checksums([weights]) != before


FOREIGN: list[tuple[Callable[[], object], str]] = [
    (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "the number of threads changed by step 10: it was "),
    (lambda: torch.use_deterministic_algorithms(True), "the use of deterministic algorithms changed by step 10: "),
    (
        lambda: torch.set_default_dtype(torch.float64),
        "the default dtype changed by step 10: it was torch.float32 and is torch.float64",
    ),
    (lambda: torch.set_default_device("meta"), "the default device changed by step 10: it was cpu and is meta"),
    (
        lambda: torch.set_float32_matmul_precision("medium"),
        "the precision of matrix products changed by step 10: it was highest and is medium",
    ),
    (
        lambda: torch.manual_seed(7),
        "torch's random state was reset by step 10: its seed is 7 and the run's is 5",
    ),
]


@pytest.mark.parametrize(("change", "remark"), FOREIGN, ids=[remark[:30] for _, remark in FOREIGN])
def test_what_is_set_for_the_whole_process_is_a_remark_made_once(change: Callable[[], object], remark: str) -> None:
    watched = model()
    keeper = Vigil(watched, SEED)
    keeper.look(0)
    change()
    move(watched)
    [text] = keeper.look(10)
    assert text.startswith(remark)
    move(watched)
    assert keeper.look(20) == ()


def test_what_was_set_before_the_vigil_is_seen_against_what_was_meant() -> None:
    meant = vigil.settings()
    torch.set_num_threads(torch.get_num_threads() + 1)
    [text] = Vigil(model(), SEED, since=meant).look(0)
    assert text.startswith("the number of threads changed by step 0")


def test_a_setting_that_torch_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a precision was set in the newer of torch's two ways and is read in the older."""
    keeper = Vigil(model(), SEED)

    def refuse() -> object:
        raise RuntimeError("please use the new API")

    monkeypatch.setitem(vigil._READ, "the precision of matrix products", refuse)
    [text] = keeper.look(0)
    assert text == "the precision of matrix products changed by step 0: it was highest and is set in another way"


def test_watching_changes_nothing() -> None:
    watched = model()
    before = {name: tensor.clone() for name, tensor in watched.state_dict().items()}
    random, told = torch.get_rng_state(), vigil.settings()
    keeper = Vigil(watched, SEED)
    for step in (0, 10, 20):
        keeper.look(step)
    assert all(torch.equal(before[name], tensor) for name, tensor in watched.state_dict().items())
    assert all(parameter.grad is None for parameter in watched.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert vigil.settings() == told
