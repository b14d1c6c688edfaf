"""Translation by T5, from scratch or fine-tuned: the paper's, or number words where no data is given."""

from typing import Literal

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.corpora import tokenizers
from clipbench.corpora.drawing import drawn, padded
from clipbench.corpora.texts import TextChoice, corpus, cut, number_words, numbered
from clipbench.networks import hub
from clipbench.networks.counted import Output, mean_cross_entropy, real, right
from clipbench.networks.options import require_positive

DATA = "num2words"
FILES = ("data", "tokenizer", "model")
QUANTITIES = {"accuracy": ("linear", "higher", "last")}


def predicted(model: nn.Module, batch: Batch) -> tuple[Output, Tensor, Tensor]:
    """What is said of the target's tokens (B, T), these, and which of them are no padding (B, T).

    The decoder is given the tokens before: first its start token.
    """
    source, target = batch["source"], batch["target"]
    start = target.new_full((len(target), 1), hub.config(model).decoder_start_token_id)
    output = hub.output(
        model,
        input_ids=source,
        attention_mask=real(batch["source_length"], source.shape[1]).long(),
        decoder_input_ids=torch.cat([start, target[:, :-1]], dim=1),
        use_cache=False,
    )
    return output, target, real(batch["target_length"], target.shape[1])


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the next target token, in nats; padding does not count."""
    return mean_cross_entropy(*predicted(model, batch))


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """How many target tokens have the largest logit, given those before, and how many they are."""
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
    source_field: str = "translation.en",
    target_field: str = "translation.fr",
    prefix: str = "",
    examples: int | None = None,
    length: int = 128,
    batch: int = 16,
    dropout: float | None = 0.0,
) -> Problem:
    """Translation as in the paper (Pan & Li 2023, arXiv:2306.00204), which fine-tunes t5-small on opus_books.

    Without data, 10,240 numbers are translated from English words to French ones. 90 % of the pairs are for training,
    the same for every seed. A seed decides their order, dropout and, from scratch, the initial weights. A sample is a
    pair, a token one of the target, with that for its end.

    Args:
        seed: of the order of the pairs and of drawn weights.
        device: where the model goes; batches stay on the CPU.
        model: a name on the hub, `owner/name@revision`, or a folder; empty for T5 of a size.
        pretrained: with its weights; otherwise the seed draws them.
        size: of the architecture that has no name: `full` is as published.
        tokenizer: `bytes`, or a name on the hub or a folder.
        data: a file, a folder or a data set on the hub; empty for number words.
        files: which files of it, as a pattern such as `en-fr/*.parquet`.
        source_field: which field of a record is translated; dots lead into it.
        target_field: which field it is translated to.
        prefix: what every source begins with, such as `translate English to French: `.
        examples: the first so many records; None for all.
        length: tokens of a source and of a target at most.
        batch: pairs in a training batch.
        dropout: its probability; None for the model's own.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: a package, the model or the data is missing, or they do not fit together.
    """
    require_positive(length=length, batch=batch)
    texts = corpus(TextChoice(data, files, examples, (source_field, target_field)), number_words)
    words = tokenizers.tokenizer(tokenizer)
    end = [words.require("end")]
    own = {"decoder_start_token_id": words.start or 0}
    made, loaded = hub.build_model(hub.ModelChoice("t5", model, pretrained, size, dropout, own=own), seed)
    tokenizers.require_fit(words, hub.vocabulary(made))
    sources, targets = (
        [[*text, *end] for text in cut(numbered(texts, words, column, before), length - 1)]
        for column, before in ((0, prefix), (1, ""))
    )

    def collate(numbers: Tensor, _: torch.Generator) -> Batch:
        pairs = numbers.tolist()
        entered, lengths = padded([sources[pair] for pair in pairs])
        expected, terms = padded([targets[pair] for pair in pairs])
        tensors = {"source": entered, "source_length": lengths, "target": expected, "target_length": terms}
        return Batch(tensors, len(pairs), int(terms.sum()), terms)

    return Problem(
        model=made.to(device),
        loss=loss,
        metrics={"accuracy": accuracy},
        loaded={**texts.loaded, **loaded},
        **drawn(len(sources), batch, seed, collate).fields(),
    )
