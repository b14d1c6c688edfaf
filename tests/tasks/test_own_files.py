"""The tasks of the paper's size on files of the user's own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipbench.errors import ClipbenchError
from clipbench.tasks import causal_lm, images, masked_lm, seq2seq, text_classification

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")
pil = pytest.importorskip("PIL.Image", reason="not installed: pillow")

CPU = torch.device("cpu")
TEXTS = [chr(97 + place % 26) * (3 + place % 40) for place in range(60)]


def lines(folder: Path, **columns: list[object]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "data.jsonl")


def test_each_text_is_an_example_where_texts_are_not_packed(tmp_path: Path) -> None:
    data = lines(tmp_path, content=list(TEXTS))
    problem = causal_lm.build(0, CPU, data=data, field="content", packed=False, length=16, batch=4)
    assert problem.examples == 60 - 2 * 16
    seen = set()
    for batch, _ in zip(problem.train_batches(0), range(7), strict=False):
        for row, length in zip(batch["tokens"], batch["length"].tolist(), strict=True):
            seen.add(bytes(row[:length].tolist()).decode())
    assert len(seen) <= 28
    assert seen <= {text[:17] for text in TEXTS}
    held_out = [*problem.eval_batches, *problem.probe_batches]
    assert all(batch.terms is not None and batch.terms.max() <= 16 for batch in held_out)


def test_texts_are_packed_with_an_end_after_each(tmp_path: Path) -> None:
    problem = masked_lm.build(0, CPU, data=lines(tmp_path, text=list(TEXTS)), length=16, batch=2, examples=50)
    hidden = torch.cat([next(problem.train_batches(step))["hidden"] for step in range(20)])
    assert (hidden == 257).any()
    assert (hidden < 258).all()


@pytest.mark.parametrize("label", [["no", "yes"], [0, 1]])
def test_labels_are_texts_or_whole_numbers(tmp_path: Path, label: list[object]) -> None:
    named = [label["a" in text or "c" in text] for text in TEXTS]
    data = lines(tmp_path, text=list(TEXTS), kind=named)
    problem = text_classification.build(0, CPU, data=data, label="kind", batch=4, length=16)
    batch = next(problem.train_batches(0))
    for row, length, number in zip(batch["tokens"], batch["length"].tolist(), batch["label"].tolist(), strict=True):
        assert (row[0], row[length - 1]) == (256, 257)
        assert number == (row[1].item() in b"ac")


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"text": list(TEXTS), "label": ["a"] * 60}, ValueError, "all 60 records have the same 'label'"),
        ({"text": list(TEXTS), "label": [0.5] * 60}, ClipbenchError, "the field 'label' of a record is of type float"),
        ({"words": list(TEXTS), "label": [1] * 60}, ClipbenchError, "a record has no field 'text'"),
        ({"text": list(TEXTS)[:5], "label": list(range(5))}, ClipbenchError, "there are 5 examples, of which"),
        ({"text": [], "label": []}, ClipbenchError, "there is no record"),
    ],
)
def test_data_that_do_not_fit_are_an_error(
    tmp_path: Path, columns: dict[str, list[object]], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        text_classification.build(0, CPU, data=lines(tmp_path, **columns), batch=4)


def test_a_text_that_is_shorter_than_a_window_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ClipbenchError, match="the data have 10 tokens, fewer than a window of 65\n  set `length` lower"
    ):
        causal_lm.build(0, CPU, data=lines(tmp_path, text=["nine byte"]), batch=4)


@pytest.mark.parametrize(
    ("package", "build", "said"),
    [
        ("PIL", lambda _: images.build(0, CPU, data="here"), r"'pillow'.*\n.*clipbench\[hf\]"),
        ("num2words", lambda _: seq2seq.build(0, CPU), r"'num2words'.*\n.*clipbench\[tasks\]"),
        ("pyarrow", lambda file: causal_lm.build(0, CPU, data=file), r"'pyarrow'.*\n.*pip install pyarrow"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    package: str, build: Callable[[str], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ClipbenchError, match=said):
        build(str(tmp_path / "a.parquet"))


def pictures(folder: Path) -> str:
    for kind, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (folder / kind).mkdir()
        for place in range(20):
            pil.new("RGB", (10, 12), colour).save(folder / kind / f"{place}.png")
    return str(folder)


def test_a_folder_of_images_has_a_folder_for_each_class(tmp_path: Path) -> None:
    problem = images.build(0, CPU, data=pictures(tmp_path), side=16, batch=4, architecture="vit")
    batch = next(problem.train_batches(0))
    assert batch["images"].shape == (4, 3, 16, 16)
    blue = batch["images"][:, 2].mean(dim=(1, 2)) > 0
    assert torch.equal(blue, batch["label"] == 0)  # in the order of the names
    assert problem.loss(problem.model, batch).isfinite()


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ClipbenchError, match="0 of its folders have images"):
        images.build(0, CPU, data=str(tmp_path))
    data = pictures(tmp_path)
    (tmp_path / "red" / "7.png").write_bytes(b"no picture")
    with pytest.raises(ClipbenchError, match=r"red/7\.png: no image"):
        images.build(0, CPU, data=data)
