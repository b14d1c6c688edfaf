"""Within layers and between them: blocks of a dense Hessian."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import dense_hessian, flat
from reference.problems import problem
from reference.snapshots import snapshot

from clipbench.errors import ClipbenchError
from clipbench.probes import layers
from clipbench.probes.layers import CROSS, WITHIN, measure
from clipbench.probes.sharpness import measure as sharpness
from clipbench.records import DIRECTIONAL_SHARPNESS


@pytest.mark.parametrize(("depth", "names"), [(None, ["0", "2"]), (1, ["0", "2"])])
def test_the_split_is_that_of_the_dense_hessians_blocks(depth: int | None, names: list[str]) -> None:
    held = snapshot(problem("mlp"))
    rows = {row[:2]: row[2] for row in measure(held, depth=depth)}
    given, u = held.problem, flat(list(held.directions["own"].values())).double()
    hessian = dense_hessian(given.model, given.loss, given.probe_batches)
    cut = sum(held.parameters[name].numel() for name in ("0.weight", "0.bias"))
    parts = {}
    for layer, span in zip(names, (slice(0, cut), slice(cut, None)), strict=True):
        parts[layer] = float(u[span] @ hessian[span, span] @ u[span] / (u @ u))
        # A float32 model against float64.
        assert rows["own", f"{WITHIN}:{layer}"] == pytest.approx(parts[layer], rel=1e-4, abs=1e-6)
    total = float(u @ hessian @ u / (u @ u))
    assert rows["own", WITHIN] == pytest.approx(sum(parts.values()), rel=1e-4)
    assert rows["own", CROSS] == pytest.approx(total - sum(parts.values()), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", ["transformer", "convolutional"])
def test_both_add_up_to_the_directional_sharpness(kind: str) -> None:
    held = snapshot(problem(kind))
    rows = {row[:2]: row[2] for row in measure(held)}
    whole = {row[0]: row[2] for row in sharpness(held) if row[1] == DIRECTIONAL_SHARPNESS}
    for direction in ("own", "against"):
        assert rows[direction, WITHIN] + rows[direction, CROSS] == pytest.approx(whole[direction], rel=1e-5)
        each = [value for (where, name), value in rows.items() if where == direction and name.startswith(f"{WITHIN}:")]
        assert math.fsum(each) == pytest.approx(rows[direction, WITHIN], rel=1e-12)


def test_all_in_one_layer_has_nothing_across() -> None:
    held = snapshot(problem("mlp"))
    own = {name: u if name.startswith("0.") else torch.zeros_like(u) for name, u in held.directions["own"].items()}
    rows = {row[1]: row[2] for row in measure(replace(held, directions={"own": own}))}
    assert rows[CROSS] == pytest.approx(0.0, abs=1e-6 * abs(rows[WITHIN]))
    assert rows[f"{WITHIN}:2"] == 0.0


def test_what_has_no_length_or_no_loss_is_left_out_and_said() -> None:
    held = snapshot(problem("mlp"))
    said: list[str] = []
    none = {name: torch.zeros_like(u) for name, u in held.directions["own"].items()}
    assert list(measure(replace(held, directions={"none": none}, remark=said.append))) == []
    broken = replace(held.problem, loss=lambda m, b: held.problem.loss(m, b) * math.nan)
    assert list(measure(replace(held, problem=broken, remark=said.append))) == []
    assert said == [
        "left out where the step along 'none' is zero or its curvature is not finite",
        "left out where the loss is not finite",
    ]


def test_many_layers_of_a_large_model_are_refused_unless_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = snapshot(problem("transformer"))
    free = list(measure(held))
    monkeypatch.setattr(layers, "LARGE", 1)
    with pytest.raises(ClipbenchError, match=r"8 layers take 9 times the directions .*\n.*limit: none"):
        list(measure(held))
    assert list(measure(held, limit="none")) == free
    assert list(measure(held, limit=9)) == free
    assert len(list(measure(held, depth=1, limit=10))) > 0


def test_a_depth_of_zero_is_refused() -> None:
    with pytest.raises(ClipbenchError, match="a depth of 0"):
        list(measure(snapshot(problem("mlp")), depth=0))
