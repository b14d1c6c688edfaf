"""Models, tokenizers and data by name: laid out here as the hub's cache has them, and read with the network off."""

import json
import os
import subprocess
import sys
import unittest.mock
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError
from clipbench.networks import hub
from clipbench.networks.architectures import FAMILIES
from clipbench.tasks import causal_lm, masked_lm, seq2seq

pytestmark = pytest.mark.slow  # heavy packages

transformers = pytest.importorskip("transformers", reason="not installed: transformers")
tokenizers = pytest.importorskip("tokenizers", reason="not installed: tokenizers")
import huggingface_hub  # noqa: E402  # here, so that it may be absent
from huggingface_hub import constants  # noqa: E402

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
PAIRS = [{"translation": {"en": f"{ten} and {one}", "fr": f"{one} et {ten}"}} for ten in NUMBERS for one in NUMBERS]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, with the network off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "hub"


def snapshot(cache: Path, kind: str, name: str) -> Path:
    """The folder of a repository's only commit, which `main` is."""
    repository = cache / f"{kind}s--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lay_out(cache: Path) -> None:
    """A tiny T5, a byte-level BPE of 300 tokens trained on its data, and the data, each a repository."""
    words = tokenizers.ByteLevelBPETokenizer()
    texts = [text for pair in PAIRS for text in pair["translation"].values()]
    words.train_from_iterator(texts, vocab_size=300, special_tokens=["<pad>", "</s>"], show_progress=False)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, pad_token="<pad>", eos_token="</s>")
    folder = snapshot(cache, "model", "somebody/tiny-t5")
    made.save_pretrained(folder)
    model, _ = hub.build_model(hub.ModelChoice("t5", dropout=0.3, own={"decoder_start_token_id": 0}), seed=7)
    model.save_pretrained(folder)  # type: ignore[operator]
    data = snapshot(cache, "dataset", "somebody/numbers") / "en-fr"
    data.mkdir()
    (data / "train.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))


def named(**options: Any) -> Problem:
    given: Mapping[str, Any] = {
        "model": "somebody/tiny-t5@main",
        "tokenizer": "somebody/tiny-t5",
        "data": "somebody/numbers",
        "files": "en-fr/*.jsonl",
        "batch": 4,
    }
    return seq2seq.build(0, CPU, **{**given, **options})


def test_a_model_a_tokenizer_and_data_are_read_from_the_hubs_cache(cache: Path) -> None:
    lay_out(cache)
    problem = named(pretrained=True, dropout=None)
    saved, _ = hub.build_model(hub.ModelChoice("t5", own={"decoder_start_token_id": 0}), seed=7)
    assert problem.loaded == {"somebody/tiny-t5@main": COMMIT, "somebody/numbers@main": COMMIT}
    expected = saved.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in problem.model.state_dict().items())
    assert hub.config(problem.model).dropout_rate == 0.3
    assert problem.examples == len(PAIRS) - 2 * 16
    batch = next(problem.train_batches(0))
    words = transformers.AutoTokenizer.from_pretrained(hub.folder("somebody/tiny-t5").folder)
    source = words.decode(batch["source"][0][: batch["source_length"][0] - 1])
    target = words.decode(batch["target"][0][: batch["target_length"][0] - 1])
    assert {"en": source, "fr": target} in [pair["translation"] for pair in PAIRS]
    assert batch["target"][0][batch["target_length"][0] - 1] == words.eos_token_id
    before = problem.loss(problem.model, batch)
    before.backward()
    assert before.isfinite()


def test_weights_that_are_loaded_are_the_same_for_every_seed_and_only_the_architecture_is_taken_otherwise(
    cache: Path,
) -> None:
    lay_out(cache)
    loaded = [seq2seq.build(seed, CPU, model="somebody/tiny-t5", pretrained=True).model.state_dict() for seed in (0, 1)]
    drawn = [seq2seq.build(seed, CPU, model="somebody/tiny-t5").model.state_dict() for seed in (0, 1)]
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in loaded[0])
    assert not torch.equal(drawn[0]["shared.weight"], drawn[1]["shared.weight"])
    assert drawn[0]["shared.weight"].shape == loaded[0]["shared.weight"].shape


def test_a_folder_is_as_good_as_a_name(cache: Path) -> None:
    lay_out(cache)
    folder = str(hub.folder("somebody/tiny-t5").folder)
    data = str(hub.folder("somebody/numbers", "dataset").folder)
    problem = named(model=folder, tokenizer=folder, data=data, pretrained=True)
    assert problem.loaded == {}
    assert torch.equal(
        problem.model.state_dict()["shared.weight"], named(pretrained=True).model.state_dict()["shared.weight"]
    )


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("google-t5/t5-small", "model", r"the model 'google-t5/t5-small' \(revision main, about 242 MB\) is not on"),
        ("a/b@v2", "dataset", r"the dataset 'a/b' \(revision v2\) is not on this machine and cannot be fetched: "),
    ],
)
def test_without_network_and_cache_the_error_names_what_is_missing_and_where_to_put_it(
    cache: Path, name: str, kind: hub.RepositoryKind, said: str
) -> None:
    with pytest.raises(ClipbenchError, match=said) as caught:
        hub.folder(name, kind)
    repository, _, revision = name.partition("@")
    place = cache / f"{kind}s--{repository.replace('/', '--')}" / "snapshots" / (revision or "main")
    assert f"put its files into {place}, or give the path of a folder" in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("kind", "page"), [("model", "a/b"), ("dataset", "datasets/a/b")])
def test_terms_that_are_yet_to_be_accepted_are_named_with_their_page(
    cache: Path, monkeypatch: pytest.MonkeyPatch, kind: hub.RepositoryKind, page: str
) -> None:
    gated = huggingface_hub.errors.GatedRepoError

    def refused(*_: object, **options: Any) -> str:
        if options["local_files_only"]:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
        raise gated("401 Client Error.\nAccess to it is restricted.", response=unittest.mock.MagicMock())

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(ClipbenchError, match=rf"the {kind} 'a/b'.*GatedRepoError: 401 Client Error\.\n") as caught:
        hub.folder("a/b", kind)
    assert caught.value.remedy.startswith(f"accept its terms at https://huggingface.co/{page} and log in with `hf auth")
    assert str(cache) in caught.value.remedy


@pytest.mark.usefixtures("cache")
def test_files_that_are_put_where_the_error_says_are_read() -> None:
    with pytest.raises(ClipbenchError) as caught:
        hub.folder("a/b", "dataset")
    place = Path(caught.value.remedy.partition("into ")[2].partition(", or")[0])
    place.mkdir(parents=True)
    assert hub.folder("a/b", "dataset").folder == place


SPEC = """\
task: {use: seq2seq, model: google-t5/t5-small, pretrained: true, tokenizer: google-t5/t5-small}
optimizers: {sgd: {use: sgd, lr: 0.1}}
budget: {steps: 2}
seeds: [0]
"""


def test_a_run_without_weights_is_one_error_and_the_spec_is_valid_and_planned_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def said(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "clipbench", *words, "spec.yaml"],
            cwd=tmp_path,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert said("validate")[0] == said("plan")[0] == 0
    for words in (("validate", "--build"), ("run",)):
        code, text = said(*words)
        assert code == 2, text
        plain = " ".join(text.split())
        assert "the model 'google-t5/t5-small' (revision main, about 242 MB) is not on this machine" in plain
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 200}, "sequences of 200 tokens are longer than the 128 positions of the model"),
        ({"batch": 8000}, "there are 22,485 examples|none is left for a training batch of 8000"),
    ],
)
def test_what_does_not_fit_together_is_an_error(options: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ClipbenchError, match=said):
        causal_lm.build(0, CPU, **options)


@pytest.mark.parametrize("part", ["tokenizer", "model", "data"])
def test_a_missing_package_of_the_hub_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ClipbenchError, match=r"'a/b' is no path on this machine.*'huggingface_hub'.*\n.*\[hf\]"):
        named(**{"model": "", "tokenizer": "bytes", "data": "", part: "a/b"})


def test_a_tokenizer_that_needs_a_package_of_its_own_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(cache)

    def load(*_: object, **__: object) -> None:
        raise ImportError("T5Tokenizer requires the SentencePiece library")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load)
    with pytest.raises(ClipbenchError, match="no tokenizer could be made of 'somebody/tiny-t5': ImportError: T5Tok"):
        named()


def test_a_tokenizer_without_a_token_that_a_task_needs_is_named(cache: Path) -> None:
    lay_out(cache)
    with pytest.raises(ClipbenchError, match="the tokenizer has no token for `mask`, which this task needs"):
        masked_lm.build(0, CPU, tokenizer="somebody/tiny-t5", batch=4)


def test_weights_without_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match="pretrained needs a `model`"):
        seq2seq.build(0, CPU, pretrained=True)


def test_a_tokenizer_that_is_larger_than_the_models_vocabulary_is_an_error(cache: Path) -> None:
    lay_out(cache)
    folder = snapshot(cache, "model", "somebody/small")
    config = json.loads((hub.folder("somebody/tiny-t5").folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 299}))
    with pytest.raises(ClipbenchError, match="the tokenizer has 300 tokens, and the model has a vocabulary of 299"):
        named(model="somebody/small")


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClipbenchError, match="no model to train could be made of"):
        seq2seq.build(0, CPU, model=str(tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_package_is_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ClipbenchError, match=r"needs the package 'transformers', which is not installed\n.*\[hf\]"):
        hub.build_model(hub.ModelChoice(family), 0)


PUBLISHED = {
    "t5": 60.5,
    "gpt_neo": 125.2,
    "roberta": 82.2,
    "distilbert": 67.0,
    "resnet18": 11.7,
    "resnet50": 25.6,
    "vit": 86.6,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_size_has_as_many_parameters_as_the_published_model(family: str) -> None:
    wanted = hub.ModelChoice(family, size="full")
    if "net" in family or family == "vit":
        wanted = hub.ModelChoice(family, size="full", settings={"num_labels": 1000})
    with torch.device("meta"):
        model, _ = hub.build_model(wanted, 0)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6 * PUBLISHED[family], rel=0.003)
