"""A step cut into the layers of a model."""

import pytest
import torch
from reference.problems import CausalTransformer, Quadratic, mlp, random_direction

from clipbench.geometry.blocks import WHOLE, blocks, pieces


def test_a_layer_is_the_module_that_owns_the_parameters() -> None:
    assert blocks(dict(mlp().named_parameters())) == {"0": ["0.weight", "0.bias"], "2": ["2.weight", "2.bias"]}


def test_a_tied_weight_is_in_the_first_of_its_modules_and_the_models_own_in_one_of_their_own() -> None:
    found = blocks(dict(CausalTransformer().named_parameters()))
    assert found["tokens"] == ["tokens.weight"]
    assert "head" not in found
    assert found[WHOLE] == ["places"]
    assert list(blocks(dict(Quadratic(torch.eye(2), torch.ones(2)).named_parameters()))) == [WHOLE]


@pytest.mark.parametrize(("depth", "feeds"), [(None, ["feed.0", "feed.2"]), (1, ["feed"]), (2, ["feed.0", "feed.2"])])
def test_a_depth_joins_what_lies_below_it(depth: int | None, feeds: list[str]) -> None:
    found = blocks(dict(CausalTransformer().named_parameters()), depth=depth)
    assert [block for block in found if block.startswith("feed")] == feeds


def test_the_pieces_add_up_to_the_step_and_share_their_zeros() -> None:
    model = CausalTransformer()
    parameters = dict(model.named_parameters())
    u = random_direction(model, seed=1)
    cut = pieces(u, parameters, blocks(parameters))
    for name in parameters:
        assert torch.equal(torch.stack([piece[name] for piece in cut.values()]).sum(0), u[name])
        assert len({id(piece[name]) for piece in cut.values()}) == 2
