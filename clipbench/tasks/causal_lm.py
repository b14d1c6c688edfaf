"""Next token by GPT-Neo, from scratch or fine-tuned: the paper's, or Python's own code where no data is given."""

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
    """What is said of each next token (B, T), these tokens, and which of them are no padding (B, T)."""
    tokens = batch["tokens"]  # (B, T + 1)
    entered, expected = tokens[:, :-1], tokens[:, 1:]
    counted = real(batch["length"] - 1, expected.shape[1])
    output = hub.output(model, input_ids=entered, attention_mask=counted.long(), use_cache=False)
    return output, expected, counted


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the next token, in nats; padding does not count."""
    return mean_cross_entropy(*predicted(model, batch))


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """How many tokens have the largest logit, given those before, and how many they are."""
    return right(*predicted(model, batch))


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
    batch: int = 8,
    dropout: float | None = 0.0,
) -> Problem:
    """Language modelling as in the paper (Pan & Li 2023, arXiv:2306.00204), which trains GPT-Neo 125M on Python files.

    Without data, the text is the code of the user's own Python. 90 % of the examples are for training, the same for
    every seed. A seed decides their order, dropout and, from scratch, the initial weights. A sample is an example, a
    token a predicted one.

    Args:
        seed: of the order of the examples and of drawn weights.
        device: where the model goes; batches stay on the CPU.
        model: a name on the hub, `owner/name@revision`, or a folder; empty for GPT-Neo of a size.
        pretrained: with its weights; otherwise the seed draws them.
        size: of the architecture that has no name: `full` is as published.
        tokenizer: `bytes`, or a name on the hub or a folder.
        data: a file, a folder or a data set on the hub; empty for Python's library.
        files: which files of it, as a pattern such as `en-fr/*.parquet`.
        field: which field of a record has the text.
        examples: the first so many records; None for all.
        length: tokens that an example predicts, at most.
        packed: examples are windows of all texts in a row; otherwise each is the beginning of a text, padded.
        batch: examples in a training batch.
        dropout: its probability; None for the model's own.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: a package, the model or the data is missing, or they do not fit together.
    """
    require_positive(length=length, batch=batch)
    texts = corpus(TextChoice(data, files, examples, (field,)), library)
    words = tokenizers.tokenizer(tokenizer)
    own = {"bos_token_id": None, "eos_token_id": None}
    made, loaded = hub.build_model(hub.ModelChoice("gpt_neo", model, pretrained, size, dropout, own=own), seed)
    tokenizers.require_fit(words, hub.vocabulary(made))
    hub.require_positions(made, length)
    sequences = numbered(texts, words, 0)
    if packed:
        sequences = windows(sequences, length + 1, end=words.require("end"))
    kept = cut(sequences, length + 1, least=2)

    def collate(numbers: Tensor, _: torch.Generator) -> Batch:
        tokens, lengths = padded([kept[number] for number in numbers.tolist()])
        terms = lengths - 1
        return Batch({"tokens": tokens, "length": lengths}, len(tokens), int(terms.sum()), terms)

    return Problem(
        model=made.to(device),
        loss=loss,
        metrics={"accuracy": accuracy},
        loaded={**texts.loaded, **loaded},
        **drawn(len(kept), batch, seed, collate).fields(),
    )
