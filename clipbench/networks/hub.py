"""Models of Hugging Face's transformers: an architecture by itself, or a model by its name on the hub or its folder.

The package transformers is in the extra [hf], and is imported where a model is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn

from clipbench.errors import ClipbenchError, in_one_line
from clipbench.networks.seeding import with_weights_of

Kind = Literal["model", "dataset"]
Size = Literal["tiny", "full"]

# The weights that are to be downloaded, of models that the paper and this repository name.
SIZES = {"t5-small": "242 MB", "gpt-neo-125m": "526 MB", "distilroberta-base": "331 MB"}
# Weights for other libraries.
_LEFT_OUT = ["*.msgpack", "*.h5", "*.ot", "*.onnx", "*.tflite", "onnx/*", "openvino/*", "coreml/*"]


@dataclass(frozen=True)
class Source:
    """A folder of the hub's cache, or of the user's, and the commit that a name of the hub stood for; else empty."""

    folder: Path
    name: str = ""
    commit: str = ""

    @property
    def loaded(self) -> dict[str, str]:
        """The commit by the name as the spec says it, for `Problem.loaded`."""
        return {self.name: self.commit} if self.commit else {}


@dataclass(frozen=True)
class Family:
    """An architecture of transformers: its classes, its two sizes, and what it calls the probability of dropout.

    `tiny` is a test's. `full` has the sizes of the published model; the vocabulary stays, whatever the tokenizer needs.
    """

    config: str
    model: str
    auto: str  # which of transformers' classes finds the model of a folder
    tiny: Mapping[str, Any]
    full: Mapping[str, Any]
    dropout: tuple[str, ...] = ()


# Weights of a deviation of 0.02, right for a width of 768, hardly let a narrow model mix what it sees.
_NARROW = {"initializer_range": 0.1}

FAMILIES: Mapping[str, Family] = {
    "t5": Family(
        "T5Config",
        "T5ForConditionalGeneration",
        "AutoModelForSeq2SeqLM",
        {"vocab_size": 320, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        {"vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
        ("dropout_rate",),
    ),
    "gpt_neo": Family(
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        "AutoModelForCausalLM",
        {
            "vocab_size": 320,
            "hidden_size": 32,
            "num_heads": 4,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "max_position_embeddings": 128,
            **_NARROW,
        },
        {
            "vocab_size": 50257,
            "hidden_size": 768,
            "num_heads": 12,
            "num_layers": 12,
            "attention_types": [[["global", "local"], 6]],
            "window_size": 256,
            "max_position_embeddings": 2048,
        },
        ("resid_dropout", "embed_dropout", "attention_dropout"),
    ),
    "roberta": Family(
        "RobertaConfig",
        "RobertaForMaskedLM",
        "AutoModelForMaskedLM",
        {
            "vocab_size": 320,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 130,
            "type_vocab_size": 1,
            **_NARROW,
        },
        {
            "vocab_size": 50265,
            "hidden_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
    "distilbert": Family(
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        "AutoModelForSequenceClassification",
        {
            "vocab_size": 320,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 128,
            **_NARROW,
        },
        {"vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072},
        ("dropout", "attention_dropout", "seq_classif_dropout"),
    ),
    "resnet18": Family(
        "ResNetConfig",
        "ResNetForImageClassification",
        "AutoModelForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
    ),
    "resnet50": Family(
        "ResNetConfig",
        "ResNetForImageClassification",
        "AutoModelForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "bottleneck"},
        {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"},
    ),
    "vit": Family(
        "ViTConfig",
        "ViTForImageClassification",
        "AutoModelForImageClassification",
        {
            "patch_size": 2,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            **_NARROW,
        },
        {
            "patch_size": 16,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
        ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    ),
}


@dataclass(frozen=True)
class Wanted:
    """The model that a task is to train.

    Args:
        family: of FAMILIES; which architecture, and which of the classes of transformers loads a named one.
        name: of the hub, `owner/name` or `owner/name@revision`, or a folder; empty for the family's own architecture.
        pretrained: with its weights; else only the architecture is taken, and the seed draws the weights.
        size: of the family's own architecture.
        dropout: the probability, in place of what the architecture says; None leaves that.
        settings: what the task itself decides, such as the number of classes.
        own: the same, for the family's own architecture alone.
    """

    family: str
    name: str = ""
    pretrained: bool = False
    size: Size = "tiny"
    dropout: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)


def transformers() -> ModuleType:
    """The package.

    Raises:
        ClipbenchError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ClipbenchError(
            f"this task needs the package {error.name or 'transformers'!r}, which is not installed",
            remedy="pip install 'clipbench[hf]'",
        ) from error
    return transformers


def build(wanted: Wanted, seed: int) -> tuple[nn.Module, dict[str, str]]:
    """The model on the CPU in float32, with what `Problem.loaded` says of it. Weights that are drawn follow the seed.

    Raises:
        ClipbenchError: transformers is missing, or the model can be had neither from the disk nor from the hub, or is
            none of the kind that the task trains.
        ValueError: weights are wanted, and no name is given.
    """
    if wanted.pretrained and not wanted.name:
        raise ValueError("pretrained needs a `model`, the name or the folder whose weights are loaded")
    library, family = transformers(), FAMILIES[wanted.family]
    if not wanted.name:
        shape = family.tiny if wanted.size == "tiny" else family.full
        config = getattr(library, family.config)(**shape, **wanted.own, **_settings(wanted, family.dropout))
        return with_weights_of(seed, lambda: getattr(library, family.model)(config)), {}
    source = folder(wanted.name)
    loader = getattr(library, family.auto)
    try:
        config = library.AutoConfig.from_pretrained(source.folder, local_files_only=True)
        for name, value in _settings(wanted, family.dropout).items():
            if hasattr(config, name):
                setattr(config, name, value)
        if not wanted.pretrained:
            return with_weights_of(seed, lambda: loader.from_config(config)), source.loaded
        # What the folder lacks, such as the head of a classifier, is drawn.
        model = with_weights_of(
            seed,
            lambda: loader.from_pretrained(
                source.folder, config=config, local_files_only=True, dtype=torch.float32, ignore_mismatched_sizes=True
            ),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ClipbenchError(
            f"no model to train could be made of {wanted.name!r}: {in_one_line(error)}",
            where=str(source.folder),
            remedy=f"name a model that transformers' {family.auto} loads, with its config.json and its weights",
        ) from error
    return model, source.loaded


def _settings(wanted: Wanted, dropout: tuple[str, ...]) -> dict[str, Any]:
    chosen = {} if wanted.dropout is None else dict.fromkeys(dropout, wanted.dropout)
    return {**wanted.settings, **chosen}


def config(model: nn.Module) -> Any:
    """The configuration of a model of transformers."""
    return model.config


def vocabulary(model: nn.Module) -> int:
    """How many tokens a model has an embedding for."""
    return int(config(model).vocab_size)


def first_position(model: nn.Module) -> int:
    """Where RoBERTa begins to count positions: after that of its padding token, where it has one."""
    padding = config(model).pad_token_id
    return 0 if padding is None else int(padding) + 1


def require_positions(model: nn.Module, length: int) -> None:
    """Raises ClipbenchError where a model has fewer positions than a sequence is long."""
    positions = getattr(config(model), "max_position_embeddings", None)
    if positions is None:
        return
    positions -= first_position(model) if config(model).model_type == "roberta" else 0
    if length > positions:
        message = f"sequences of {length:,} tokens are longer than the {positions:,} positions of the model"
        raise ClipbenchError(message, remedy=f"set `length` to {positions} or less")


def folder(name: str, kind: Kind = "model") -> Source:
    """Where the files of a name lie: a path that is there, or else a repository of the hub, from its cache if it can.

    Raises:
        ClipbenchError: it is in neither, and cannot be fetched: says what, how large, and where to put it.
    """
    here = Path(name).expanduser()
    if here.exists():
        return Source(here)
    repository, _, revision = name.partition("@")
    revision = revision or "main"
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise ClipbenchError(
            f"{name!r} is no path on this machine, and the package 'huggingface_hub' is not installed",
            remedy="pip install 'clipbench[hf]'",
        ) from error
    reason: Exception | None = None
    for cached in (True,) if constants.HF_HUB_OFFLINE else (True, False):
        try:
            found = snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                local_files_only=cached,
                ignore_patterns=_LEFT_OUT,
            )
        except Exception as error:  # no cache, no network, no such repository, or one that asks who you are
            reason = error
        else:
            return Source(Path(found), f"{repository}@{revision}", Path(found).name)
    place = Path(constants.HF_HUB_CACHE, f"{kind}s--{repository.replace('/', '--')}", "snapshots", revision)
    if place.is_dir():  # somebody put it there, without the rest of what the hub keeps
        return Source(place)
    size = next((f", about {size}" for ending, size in SIZES.items() if repository.lower().endswith(ending)), "")
    first = (str(reason).strip().splitlines() or [""])[0]
    raise ClipbenchError(
        f"the {kind} {repository!r} (revision {revision}{size}) is not on this machine and cannot be fetched: "
        f"{type(reason).__name__}: {first}",
        remedy=f"fetch it once where there is a network, put its files into {place}, or give the path of a folder",
    )
