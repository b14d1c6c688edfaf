"""Jets against double backward on Hugging Face's models, built tiny from their configurations."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")
import transformers as hf  # noqa: E402  # here, so that it may be absent

ENGINES: tuple[CurvatureEngine, ...] = ("jets", "adjoint")
WORDS = 40
SMALL: dict[str, Any] = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FED: dict[str, Any] = {**SMALL, "intermediate_size": 24}
VISION: dict[str, Any] = {"image_size": 8, "patch_size": 4, "num_labels": 3}


def gpt2() -> nn.Module:
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=16))


def llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**FED, num_key_value_heads=1, max_position_embeddings=16))


def bert() -> nn.Module:
    return hf.BertForMaskedLM(hf.BertConfig(**FED, max_position_embeddings=16))


def t5() -> nn.Module:
    shape: dict[str, Any] = {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    }
    return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=WORDS, **shape))


def vit() -> nn.Module:
    shape = {name: size for name, size in FED.items() if name != "vocab_size"}
    return hf.ViTForImageClassification(hf.ViTConfig(**shape, **VISION))


def resnet() -> nn.Module:
    shape: dict[str, Any] = {"hidden_sizes": [4, 8], "depths": [1, 1], "num_labels": 3}
    return hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=4, layer_type="basic", **shape))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "GPT-2": gpt2,
    "Llama": llama,
    "BERT": bert,
    "T5": t5,
    "ViT": vit,
    "ResNet": resnet,
}


def inputs(name: str) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name in ("ViT", "ResNet"):
        side = 8 if name == "ViT" else 32
        images = torch.randn(3, 3, side, side, generator=generator)
        return {"pixel_values": images, "labels": torch.randint(3, (3,), generator=generator)}
    tokens = torch.randint(1, WORDS, (3, 7), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0  # padding, which is not in the loss
    return {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}


def loss(model: nn.Module, batch: Batch) -> Tensor:
    output: Any = model(**batch.tensors)
    result: Tensor = output.loss
    return result


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_jets_and_adjoints_are_double_backward(name: str, attention: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[name]()
    if name != "ResNet":
        model.set_attn_implementation(attention)  # type: ignore[operator]
    batches = [Batch(inputs(name), samples=3)]
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(2)}
    plain = directional_curvature(model, loss, batches, directions, engine="double_backward")
    for engine in ENGINES:
        found = directional_curvature(model, loss, batches, directions, engine=engine)
        assert found.loss == pytest.approx(plain.loss, rel=1e-5)
        for seed in directions:
            # Float32 within: these models cast to it whatever the weights' dtype is.
            assert found[seed].slope == pytest.approx(plain[seed].slope, rel=1e-3, abs=1e-5)
            assert found[seed].curvature == pytest.approx(plain[seed].curvature, rel=1e-3, abs=1e-5)
