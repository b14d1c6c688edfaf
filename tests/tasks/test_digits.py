import math
from importlib.machinery import PathFinder
from itertools import islice
from typing import Literal

import pytest
import torch
from sklearn.datasets import load_digits

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.tasks.digits import build, loss, split

CPU = torch.device("cpu")
MODELS: tuple[Literal["vit", "cnn"], ...] = ("vit", "cnn")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_ten(model: Literal["vit", "cnn"], seed: int) -> None:
    problem = build(seed, CPU, model=model)
    for batch in problem.eval_batches:
        assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(10), rel=0.05)


@pytest.mark.parametrize(("model", "parameters"), [("vit", 25_898), ("cnn", 14_378)])
def test_the_models_have_the_sizes_they_claim(model: Literal["vit", "cnn"], parameters: int) -> None:
    assert sum(p.numel() for p in build(0, CPU, model=model).model.parameters()) == parameters


def test_the_split_holds_every_image_of_scikit_learn_once() -> None:
    parts = split()
    assert [len(part["digits"]) for part in parts] == [1000, 285, 512]
    reference = load_digits()
    images = torch.cat([part["images"] for part in parts]).flatten(1).double()
    digits = torch.cat([part["digits"] for part in parts])
    pixels = torch.from_numpy(reference.data)
    # Undo the standardisation: the blank pixel is 0 and the fullest 16.
    images = 16 * (images - images.min()) / (images.max() - images.min())
    found = sorted((*row.round().int().tolist(), label) for row, label in zip(images, digits.tolist(), strict=True))
    expected = sorted(
        (*row.int().tolist(), int(label)) for row, label in zip(pixels, reference.target.tolist(), strict=True)
    )
    assert found == expected


def test_the_training_images_are_standardised() -> None:
    training = split()[0]["images"]
    assert training.shape == (1000, 1, 8, 8)
    assert training.mean().item() == pytest.approx(0, abs=1e-5)
    assert training.std().item() == pytest.approx(1, rel=1e-5)


def test_every_part_has_every_digit() -> None:
    assert all(set(part["digits"].tolist()) == set(range(10)) for part in split())


def test_the_loss_agrees_with_the_cross_entropy_written_out() -> None:
    problem = build(0, CPU, model="cnn")
    batch = next(problem.train_batches(0))
    with torch.no_grad():
        chances = problem.model(batch["images"]).double().softmax(dim=1)
    terms = [-math.log(row[digit].item()) for row, digit in zip(chances, batch["digits"].tolist(), strict=True)]
    assert loss(problem.model, batch).item() == pytest.approx(sum(terms) / 32, rel=1e-5)


def test_the_vision_transformer_knows_where_a_patch_is() -> None:
    problem = build(0, CPU, model="vit")
    images = next(problem.train_batches(0))["images"]
    with torch.no_grad():
        assert not torch.allclose(problem.model(images), problem.model(images.flip(-1)), atol=1e-4)


def test_a_pass_shows_every_training_image_once() -> None:
    batches: list[Batch] = list(islice(build(0, CPU, batch=100).train_batches(0), 20))
    first, second = (torch.cat([batch["images"] for batch in part]).flatten(1) for part in (batches[:10], batches[10:]))
    assert sorted(first.tolist()) == sorted(second.tolist()) == sorted(split()[0]["images"].flatten(1).tolist())
    assert not torch.equal(first, second)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_that_is_not_positive_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch must be a positive number, not {batch}"):
        build(0, CPU, batch=batch)


def test_a_batch_too_large_for_the_probes_is_refused() -> None:
    assert len(next(build(0, CPU, batch=128).train_batches(0))["digits"]) == 128
    with pytest.raises(ValueError, match="at most 128"):
        build(0, CPU, batch=129)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="'vit' or 'cnn', not 'mlp'"):
        build(0, CPU, model="mlp")  # type: ignore[arg-type]


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(ClipbenchError, match="clipbench\\[tasks\\]"):
        build(0, CPU)
