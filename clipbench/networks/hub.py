"""Models of Hugging Face's transformers: an architecture by itself, or a model by its name on the hub or its folder.

The package transformers is in the extra [hf], and is imported where a model is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.errors import ClipbenchError, in_one_line
from clipbench.networks.architectures import FAMILIES
from clipbench.networks.counted import Output
from clipbench.networks.seeding import with_weights_of

RepositoryKind = Literal["model", "dataset"]
Size = Literal["tiny", "full"]

# The weights that are to be downloaded, of models that the paper and this repository name.
WEIGHT_SIZES = {
    "t5-small": "242 MB",
    "gpt-neo-125m": "526 MB",
    "distilroberta-base": "331 MB",
    "distilbert-base-uncased": "268 MB",
}
# Whose logits are what a linear output layer returns.
_HEAD_LAST = ("t5", "gpt_neo", "roberta")
# Weights for other libraries.
_LEFT_OUT = ["*.msgpack", "*.h5", "*.ot", "*.onnx", "*.tflite", "onnx/*", "openvino/*", "coreml/*"]


@dataclass(frozen=True)
class LocalCopy:
    """A folder of the hub's cache, or of the user's, and the commit that a name of the hub stood for; else empty."""

    folder: Path
    name: str = ""
    commit: str = ""

    @property
    def loaded(self) -> dict[str, str]:
        """The commit by the name as the spec says it, for `Problem.loaded`."""
        return {self.name: self.commit} if self.commit else {}


@dataclass(frozen=True)
class ModelChoice:
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


def build_model(choice: ModelChoice, seed: int) -> tuple[nn.Module, dict[str, str]]:
    """The model on the CPU in float32, with what `Problem.loaded` says of it. Weights that are drawn follow the seed.

    Raises:
        ClipbenchError: transformers is missing, or the model can be had neither from the disk nor from the hub, or is
            none of the kind that the task trains.
        ValueError: weights are wanted, and no name is given.
    """
    if choice.pretrained and not choice.name:
        raise ValueError("pretrained needs a `model`, the name or the folder whose weights are loaded")
    library, family = transformers(), FAMILIES[choice.family]
    if not choice.name:
        shape = family.tiny if choice.size == "tiny" else family.full
        config = getattr(library, family.config)(**shape, **choice.own, **_settings(choice, family.dropout))
        return with_weights_of(seed, lambda: getattr(library, family.model)(config)), {}
    source = folder(choice.name)
    loader = getattr(library, family.auto)
    try:
        config = library.AutoConfig.from_pretrained(source.folder, local_files_only=True)
        for name, value in _settings(choice, family.dropout).items():
            if hasattr(config, name):
                setattr(config, name, value)
        if not choice.pretrained:
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
            f"no model to train could be made of {choice.name!r}: {in_one_line(error)}",
            where=str(source.folder),
            remedy=f"name a model that transformers' {family.auto} loads, with its config.json and its weights",
        ) from error
    return model, source.loaded


def _settings(choice: ModelChoice, dropout: tuple[str, ...]) -> dict[str, Any]:
    chosen = {} if choice.dropout is None else dict.fromkeys(dropout, choice.dropout)
    return {**choice.settings, **chosen}


def config(model: nn.Module) -> Any:
    """The configuration of a model of transformers."""
    return model.config


def vocabulary(model: nn.Module) -> int:
    """How many tokens a model has an embedding for."""
    return int(config(model).vocab_size)


def output(model: nn.Module, **entered: Any) -> Output:
    """What a language model says of each place of what is entered, before its output layer where that can come later.

    For the time of the call the layer hands its input through. Models that do more with their logits keep it.
    """
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    if config(model).model_type not in _HEAD_LAST:
        return Output(model(**entered).logits, lambda logits: logits, vocabulary(model))
    head.forward = _as_it_is
    try:
        hidden = model(**entered).logits
    finally:
        del head.forward
    return Output(hidden, partial(functional.linear, weight=head.weight, bias=head.bias), head.out_features)


def _as_it_is(hidden: Tensor) -> Tensor:
    return hidden


def first_position(model: nn.Module) -> int:
    """Where RoBERTa begins to count positions: after that of its padding token, where it has one.

    Left alone, it would count only tokens that differ from the padding token, which may be a byte of the text.
    """
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


def folder(name: str, kind: RepositoryKind = "model") -> LocalCopy:
    """Where the files of a name lie: a path that is there, or else a repository of the hub, from its cache if it can.

    Raises:
        ClipbenchError: it is in neither, and cannot be fetched: says what, how large, and where to put it.
    """
    here = Path(name).expanduser()
    if here.exists():
        return LocalCopy(here)
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
            return LocalCopy(Path(found), f"{repository}@{revision}", Path(found).name)
    place = Path(constants.HF_HUB_CACHE, f"{kind}s--{repository.replace('/', '--')}", "snapshots", revision)
    if place.is_dir():  # somebody put it there, without the rest of what the hub keeps
        return LocalCopy(place)
    raise _missing(kind, repository, revision, place, reason)


def _missing(
    kind: RepositoryKind, repository: str, revision: str, place: Path, reason: Exception | None
) -> ClipbenchError:
    """The error of a repository that is not here and cannot be fetched, for this reason."""
    size = next((f", about {size}" for ending, size in WEIGHT_SIZES.items() if repository.lower().endswith(ending)), "")
    first = (str(reason).strip().splitlines() or [""])[0]
    get = "fetch it once where there is a network"
    if type(reason).__name__ == "GatedRepoError":
        page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
        get = f"accept its terms at {page} and log in with `hf auth login`"
    return ClipbenchError(
        f"the {kind} {repository!r} (revision {revision}{size}) is not on this machine and cannot be fetched: "
        f"{type(reason).__name__}: {first}",
        remedy=f"{get}, put its files into {place}, or give the path of a folder",
    )
