"""Masked tokens by RoBERTa, from scratch or fine-tuned, of Python's own code where no data is given."""

from typing import Literal

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.corpora import tokenizers
from clipbench.corpora.drawing import drawn, padded
from clipbench.corpora.texts import TextChoice, corpus, cut, library, numbered, windows
from clipbench.networks import hub
from clipbench.networks.counted import Output, mean_cross_entropy, real, right
from clipbench.networks.options import require_positive

DATA = "python_stdlib"
FILES = ("data", "tokenizer", "model")
QUANTITIES = {"accuracy": ("linear", "higher", "last")}


def predicted(model: nn.Module, batch: Batch) -> tuple[Output, Tensor, Tensor]:
    """What is said of the tokens behind the masks (B, T), these tokens, and which of them were chosen (B, T)."""
    tokens = batch["tokens"]
    held = real(batch["length"], tokens.shape[1])
    positions = torch.arange(tokens.shape[1], device=tokens.device) + hub.first_position(model)
    output = hub.output(model, input_ids=tokens, attention_mask=held.long(), position_ids=positions.expand_as(tokens))
    return output, batch["hidden"], batch["chosen"] & held


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the chosen tokens, in nats."""
    return mean_cross_entropy(*predicted(model, batch))


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """How many chosen tokens have the largest logit, and how many they are."""
    return right(*predicted(model, batch))


def hide(texts: list[list[int]], words: tokenizers.Tokenizer, share: float, draw: torch.Generator) -> Batch:
    """A share of each text is to be predicted, at least one token: 80 % masked, 10 % another token, 10 % as it was."""
    hidden, lengths = padded(texts)
    held = real(lengths, hidden.shape[1])
    terms = (share * lengths).round().long().clamp(min=1)
    order = torch.rand(hidden.shape, generator=draw).masked_fill(~held, 2).argsort(dim=1).argsort(dim=1)
    chosen = order < terms[:, None]
    how, others = torch.rand(hidden.shape, generator=draw), torch.randint(words.size, hidden.shape, generator=draw)
    shown = torch.where(chosen & (how < 0.8), words.require("mask"), hidden)
    shown = torch.where(chosen & (how >= 0.9), others, shown)
    tensors = {"tokens": shown, "hidden": hidden, "chosen": chosen, "length": lengths}
    return Batch(tensors, len(texts), int(terms.sum()), terms)


def build(
    seed: int,
    device: torch.device,
    *,
    model: str = "",
    pretrained: bool = False,
    size: Literal["tiny", "full"] = "tiny",
    tokenizer: str = "bytes",
    data: str = "",
    files: str = "",
    field: str = "text",
    examples: int | None = None,
    length: int = 64,
    packed: bool = True,
    masked: float = 0.15,
    batch: int = 16,
    dropout: float | None = 0.0,
) -> Problem:
    """Masked language modelling (after arXiv:1810.04805), with fresh masks for every batch, by RoBERTa.

    Without data, the text is the code of the user's own Python. 90 % of the examples are for training, the same for
    every seed. A seed decides their order, the masks, dropout and, from scratch, the initial weights. A sample is an
    example, a token one that is predicted.

    Args:
        seed: of the order of the examples, the masks and drawn weights.
        device: where the model goes; batches stay on the CPU.
        model: a name on the hub, `owner/name@revision`, or a folder; empty for RoBERTa of a size.
        pretrained: with its weights; otherwise the seed draws them.
        size: of the architecture that has no name: `full` is as published.
        tokenizer: `bytes`, or a name on the hub or a folder.
        data: a file, a folder or a data set on the hub; empty for Python's library.
        files: which files of it, as a pattern such as `en-fr/*.parquet`.
        field: which field of a record has the text.
        examples: the first so many records; None for all.
        length: tokens of an example, at most.
        packed: examples are windows of all texts in a row; otherwise each is the beginning of a text, padded.
        masked: the share of the tokens that is predicted.
        batch: examples in a training batch.
        dropout: its probability; None for the model's own.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: a package, the model or the data is missing, or they do not fit together.
    """
    require_positive(length=length, batch=batch, masked=masked)
    texts = corpus(TextChoice(data, files, examples, (field,)), library)
    words = tokenizers.tokenizer(tokenizer)
    own = {"pad_token_id": None}  # so that no byte of the text has an embedding that stays zero
    made, loaded = hub.build_model(hub.ModelChoice("roberta", model, pretrained, size, dropout, own=own), seed)
    tokenizers.require_fit(words, hub.vocabulary(made))
    hub.require_positions(made, length)
    sequences = numbered(texts, words, 0)
    if packed:
        sequences = windows(sequences, length, end=words.require("end"))
    kept = cut(sequences, length)

    def collate(numbers: Tensor, draw: torch.Generator) -> Batch:
        return hide([kept[number] for number in numbers.tolist()], words, masked, draw)

    return Problem(
        model=made.to(device),
        loss=loss,
        metrics={"accuracy": accuracy},
        loaded={**texts.loaded, **loaded},
        **drawn(len(kept), batch, seed, collate).fields(),
    )
