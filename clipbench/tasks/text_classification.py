"""Classes of texts by DistilBERT, from scratch or fine-tuned; whose code a passage is where no data is given."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.corpora import tokenizers
from clipbench.corpora.drawing import drawn, padded
from clipbench.corpora.texts import TextChoice, corpus, library_passages, numbered
from clipbench.networks import hub
from clipbench.networks.counted import real
from clipbench.networks.options import require_positive

DATA = "python_stdlib"
FILES = ("data", "tokenizer", "model")
QUANTITIES = {"accuracy": ("linear", "higher", "last")}


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """The logits (B, classes)."""
    tokens = batch["tokens"]
    found: Tensor = model(input_ids=tokens, attention_mask=real(batch["length"], tokens.shape[1]).long()).logits
    return found


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the class, in nats."""
    return functional.cross_entropy(logits(model, batch), batch["label"])


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """How many texts have the largest logit at their class, and how many they are."""
    return (logits(model, batch).argmax(dim=1) == batch["label"]).sum(), batch.samples


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
    label: str = "label",
    examples: int | None = None,
    length: int = 64,
    batch: int = 16,
    dropout: float | None = 0.0,
) -> Problem:
    """Text classification by DistilBERT (after arXiv:1910.01108).

    Without data, a text is a passage of Python's standard library, and its class the module that it is from. 90 % of
    the texts are for training, the same for every seed. A seed decides their order, dropout and, from scratch, the
    initial weights; the weights of the classifier's head are always drawn. A sample is a text.

    Args:
        seed: of the order of the texts and of drawn weights.
        device: where the model goes; batches stay on the CPU.
        model: a name on the hub, `owner/name@revision`, or a folder; empty for DistilBERT of a size.
        pretrained: with its weights; otherwise the seed draws them.
        size: of the architecture that has no name: `full` is as published.
        tokenizer: `bytes`, or a name on the hub or a folder.
        data: a file, a folder or a data set on the hub; empty for Python's library.
        files: which files of it, as a pattern such as `en-fr/*.parquet`.
        field: which field of a record has the text.
        label: which field has the class, a text or a whole number.
        examples: the first so many records; None for all.
        length: tokens of a text, at most; texts are cut there.
        batch: texts in a training batch.
        dropout: its probability; None for the model's own.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: a package, the model or the data is missing, or they do not fit together.
    """
    require_positive(length=length, batch=batch)
    texts = corpus(TextChoice(data, files, examples, (field, label)), partial(library_passages, length))
    named = [row[1] for row in texts.rows()]
    classes = {name: place for place, name in enumerate(sorted(set(named)))}
    if len(classes) < 2:
        raise ValueError(f"all {len(named):,} records have the same {label!r}: there is nothing to tell apart")
    words = tokenizers.tokenizer(tokenizer)
    start, end = words.require("start"), words.require("end")
    choice = hub.ModelChoice(
        "distilbert", model, pretrained, size, dropout, {"num_labels": len(classes)}, own={"pad_token_id": None}
    )
    made, loaded = hub.build_model(choice, seed)
    tokenizers.require_fit(words, hub.vocabulary(made))
    hub.require_positions(made, length)
    sequences = numbered(texts, words, 0)

    def collate(numbers: Tensor, _: torch.Generator) -> Batch:
        chosen = numbers.tolist()
        tokens, lengths = padded([[start, *sequences[number][: length - 2].tolist(), end] for number in chosen])
        labels = torch.tensor([classes[named[number]] for number in chosen])
        return Batch({"tokens": tokens, "length": lengths, "label": labels}, samples=len(chosen))

    return Problem(
        model=made.to(device),
        loss=loss,
        metrics={"accuracy": accuracy},
        loaded={**texts.loaded, **loaded},
        **drawn(len(sequences), batch, seed, collate).fields(),
    )
