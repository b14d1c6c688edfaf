"""English number words to French ones, by a small encoder–decoder, from scratch or fine-tuned."""

import inspect
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from clipbench.contracts import Batch, Problem
from clipbench.data import missing_package, num2words_version
from clipbench.networks.cache import Weights, cached_weights
from clipbench.networks.options import require_heads, require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of
from clipbench.networks.transformer import Block, draw_weights
from clipbench.records import Scalar

DATA = "num2words"
LONGEST = 32  # positions; the longest number has 13 words, and a begin or an end
PADDING, BEGIN, END = 0, 1, 2
IGNORED = -100  # what cross_entropy leaves out of its mean
EVALUATED, IN_ONE_BATCH = 256, 64  # pairs of the evaluation, whatever the training batch
PRETRAINING_STEPS, PRETRAINING_RATE, PRETRAINING_BATCH, PRETRAINING_SEED = 600, 0.003, 16, 0

Part = Literal["training", "evaluation", "probe"]


def part_of(number: int) -> Part:
    """Which part of the data a number belongs to, whatever the seed: 80 % training, 10 % evaluation, 10 % probe.

    Multiples of the golden ratio, modulo 1, spread evenly however few numbers there are of a length.
    """
    place = (number + 5) * 0x9E3779B1 % 2**32 / 2**32
    return "evaluation" if place < 0.1 else "probe" if place < 0.2 else "training"


def draw_numbers(count: int, *, part: Part, draw: torch.Generator) -> list[int]:
    """`count` numbers of one part, of 1 to 6 digits: first the length, so that short ones occur as often as long."""

    def of_length(digits: int) -> int:
        low = 10 ** (digits - 1) if digits > 1 else 0
        # Every part has numbers of every length, so this ends: after 1.25 draws, or 10 where held out.
        while part_of(number := int(torch.randint(low, 10**digits, (), generator=draw))) != part:
            pass
        return number

    return [of_length(digits) for digits in torch.randint(1, 7, (count,), generator=draw).tolist()]


@dataclass(frozen=True)
class Dictionary:
    """`spell(number, language)` gives its words; `index` numbers the words of English, French and Spanish."""

    spell: Callable[[int, str], list[str]]
    index: Mapping[str, int]

    @property
    def size(self) -> int:
        """How many entries an embedding needs: the words, padding, begin and end."""
        return len(self.index) + 3

    def pairs(self, numbers: Sequence[int], *, language: str) -> Batch:
        """The numbers in English as `source` (B, S), in `language` as `target` (B, T + 1): BEGIN, words, END.

        `source_length` and `target_length` (B,) count what is not padding: the words, and the words with END,
        which are the tokens of the loss.
        """
        sources = [self._tensor(self.spell(number, "en")) for number in numbers]
        targets = [self._tensor(self.spell(number, language)) for number in numbers]
        begin, end = torch.tensor([BEGIN]), torch.tensor([END])
        lengths = torch.tensor([len(target) + 1 for target in targets])
        tensors = {
            "source": pad_sequence(sources, batch_first=True, padding_value=PADDING),
            "source_length": torch.tensor([len(source) for source in sources]),
            "target": pad_sequence(
                [torch.cat([begin, target, end]) for target in targets], batch_first=True, padding_value=PADDING
            ),
            "target_length": lengths,
        }
        return Batch(tensors, samples=len(numbers), tokens=int(lengths.sum()), terms=lengths)

    def _tensor(self, words: list[str]) -> Tensor:
        return torch.tensor([self.index[word] for word in words])


@cache
def dictionary() -> Dictionary:
    """The words of all numbers below a million in the three languages, the same for every start and target.

    Raises:
        ClipbenchError: num2words is not installed.
    """
    try:
        # Not at the top of the file: num2words is in the extra [tasks], and this file has to be readable without.
        from num2words import num2words
    except ImportError as error:
        raise missing_package("num2words") from error

    def spell(number: int, language: str) -> list[str]:
        words: str = num2words(number, lang=language)
        return words.lower().replace(",", " ").replace("-", " ").split()

    # Every word of a larger number is already in one of these.
    small = [*range(1, 200), *range(200, 1000, 100)]
    numbers = [0, *small, *(1000 * number for number in small)]
    words = {word for language in ("en", "fr", "es") for number in numbers for word in spell(number, language)}
    return Dictionary(spell, {word: place for place, word in enumerate(sorted(words), start=3)})


class Translator(nn.Module):
    """A pre-LN encoder–decoder over words; both embeddings and the output share one matrix."""

    def __init__(self, words: int, *, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.source_position = nn.Embedding(LONGEST, width)
        self.target_position = nn.Embedding(LONGEST, width)
        self.encoder = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(Block(width, heads, causal=True, cross=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        draw_weights(self, depth=3 * layers)

    def forward(self, source: Tensor, source_length: Tensor, target: Tensor) -> Tensor:
        """Words (B, S), how many of them are real (B,), target words so far (B, T) → logits (B, T, words).

        Padding of the source is masked as a key in both attentions; padding of the target comes after all real
        words, where the causal mask hides it from them.
        """
        real = torch.arange(source.shape[1], device=source.device) < source_length[:, None]
        mask = real[:, None, None, :]  # (B, 1, 1, S)
        memory = self.embedding(source) + self.source_position.weight[: source.shape[1]]
        for block in self.encoder:
            memory = block(memory, mask=mask)
        memory = self.encoder_norm(memory)
        x = self.embedding(target) + self.target_position.weight[: target.shape[1]]
        for block in self.decoder:
            x = block(x, memory, memory_mask=mask)
        return functional.linear(self.norm(x), self.embedding.weight)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the next word or END, in nats, over the batch's real target words; no padding."""
    target = batch["target"]
    logits: Tensor = model(batch["source"], batch["source_length"], target[:, :-1])
    places = torch.arange(logits.shape[1], device=target.device)
    expected = target[:, 1:].masked_fill(places >= batch["target_length"][:, None], IGNORED)
    return functional.cross_entropy(logits.flatten(0, 1), expected.flatten(), ignore_index=IGNORED)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The number of threads changes the bits; what is kept for every run must not depend on this run's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _pretrain(make: Callable[[], Translator]) -> Weights:
    words = dictionary()
    model = with_weights_of(PRETRAINING_SEED, make)
    optimizer = torch.optim.Adam(model.parameters(), lr=PRETRAINING_RATE)
    with _one_thread(), torch.enable_grad():
        for step in range(PRETRAINING_STEPS):
            draw = generator("number_translation pretraining", PRETRAINING_SEED, step)
            numbers = draw_numbers(PRETRAINING_BATCH, part="training", draw=draw)
            optimizer.zero_grad()
            torch.autograd.backward(loss(model, words.pairs(numbers, language="es")))
            optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def pretrained_weights(make: Callable[[], Translator], *, width: int, layers: int, heads: int) -> Weights:
    """The weights after English → Spanish: 600 Adam steps at 0.003 in batches of 16 pairs, one seed, one thread.

    They are kept in the user's cache under everything that decides them: the options, the versions of torch and
    num2words, the processor's vector instructions, and the text of the code involved.
    """
    code = [inspect.getsource(sys.modules[part.__module__]) for part in (Translator, Block, generator)]
    key: dict[str, Scalar] = {
        "code": "\n".join(code),
        "width": width,
        "layers": layers,
        "heads": heads,
        "steps": PRETRAINING_STEPS,
        "torch": torch.__version__,
        "num2words": num2words_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }
    return cached_weights("number_translation", key, make=lambda: _pretrain(make))


def build(
    seed: int,
    device: torch.device,
    *,
    width: int = 64,
    layers: int = 1,
    heads: int = 4,
    batch: int = 16,
    start: Literal["scratch", "pretrained"] = "scratch",
) -> Problem:
    """Translation without a download: the offline analogue of the paper's English → French (arXiv:2306.00204).

    The paper fine-tunes a pre-trained model; `start: pretrained` does so too, from English → Spanish. Numbers
    for training, evaluation and probes are disjoint and the same for every seed. A seed decides the
    training batches and, from scratch, the initial weights; pre-trained weights are the same for every seed. A
    sample is a pair, a token a French word or the end of a translation.

    Args:
        seed: of the weights and of the training batches.
        device: where the model goes; batches stay on the CPU.
        width: d, a multiple of `heads`.
        layers: of the encoder, and as many of the decoder.
        heads: of each attention.
        batch: pairs in a training batch.
        start: from drawn weights, or from weights trained on Spanish (made once, then read from the user's cache).

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: num2words is not installed.
    """
    require_positive(width=width, layers=layers, heads=heads, batch=batch)
    require_heads(width, heads)
    if start not in ("scratch", "pretrained"):
        raise ValueError(f"start must be 'scratch' or 'pretrained', not {start!r}")
    words = dictionary()

    def make() -> Translator:
        return Translator(words.size, width=width, layers=layers, heads=heads)

    def pairs(count: int, part: Part, draw: torch.Generator) -> Batch:
        return words.pairs(draw_numbers(count, part=part, draw=draw), language="fr")

    model = with_weights_of(seed, make)
    if start == "pretrained":
        model.load_state_dict(pretrained_weights(make, width=width, layers=layers, heads=heads))
    held_out, probed = generator("number_translation evaluation"), generator("number_translation probe")
    return Problem(
        model=model.to(device),
        loss=loss,
        train_batches=endless(lambda step: pairs(batch, "training", generator("number_translation", seed, step))),
        eval_batches=[pairs(IN_ONE_BATCH, "evaluation", held_out) for _ in range(EVALUATED // IN_ONE_BATCH)],
        probe_batches=[pairs(batch, "probe", probed) for _ in range(4)],
    )
