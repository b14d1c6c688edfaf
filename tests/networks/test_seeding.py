import subprocess
import sys
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clipbench.networks.seeding import endless, generator, in_batches, shuffled_epochs, with_weights_of


@pytest.mark.slow
def test_a_generator_is_the_same_in_another_process() -> None:
    code = "from clipbench.networks.seeding import generator; print(generator('a', 7).initial_seed())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert int(output) == generator("a", 7).initial_seed()


def test_neighbouring_seeds_and_steps_do_not_share_a_stream() -> None:
    seeds = {generator("batch", seed, step).initial_seed() for seed in range(50) for step in range(50)}
    assert len(seeds) == 2500
    assert generator("a", 11).initial_seed() != generator("a", 1, 1).initial_seed()


@given(st.integers(-(2**70), 2**70))
def test_any_integer_is_a_seed(seed: int) -> None:
    assert 0 <= generator(seed).initial_seed() < 2**63


def test_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    def drawn(seed: int, state: int) -> torch.Tensor:
        torch.manual_seed(state)
        return with_weights_of(seed, lambda: nn.Linear(3, 2)).weight

    assert torch.equal(drawn(0, 1), drawn(0, 2))
    assert not torch.equal(drawn(0, 1), drawn(1, 1))


def test_drawing_weights_puts_the_global_generator_back_even_after_an_error() -> None:
    before = torch.get_rng_state()

    def fails() -> nn.Module:
        torch.rand(3)
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        with_weights_of(0, fails)
    assert torch.equal(torch.get_rng_state(), before)


def examples(count: int) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(count), "y": -torch.arange(count)}


@given(count=st.integers(1, 40), data=st.data())
def test_a_pass_uses_no_example_twice_and_leaves_out_less_than_a_batch(count: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, count))
    seed = data.draw(st.integers(0, 2**40))
    batches = list(islice(shuffled_epochs(examples(count), size, seed=seed)(0), count // size))
    used = torch.cat([batch["x"] for batch in batches]).tolist()
    assert len(used) == len(set(used)) > count - size
    assert all(batch.samples == size and torch.equal(batch["y"], -batch["x"]) for batch in batches)


def test_passes_are_shuffled_anew_and_batches_do_not_depend_on_where_one_starts() -> None:
    train_batches = shuffled_epochs(examples(10), 5, seed=0)
    order = [batch["x"].tolist() for batch in islice(train_batches(0), 8)]
    assert order[0] + order[1] != order[2] + order[3]
    assert [batch["x"].tolist() for batch in islice(train_batches(3), 5)] == order[3:]


def test_endless_batches_begin_at_the_step_asked_for() -> None:
    made = endless(lambda step: in_batches({"x": torch.tensor([step])}, 1)[0])
    assert [batch["x"].item() for batch in islice(made(4), 3)] == [4, 5, 6]


def test_data_is_cut_in_its_own_order_and_the_last_batch_may_be_smaller() -> None:
    batches = in_batches(examples(7), 3)
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch.samples for batch in batches] == [3, 3, 1]
