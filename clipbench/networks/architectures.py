"""The architectures of the tasks of the paper's size, tiny and as published, by the classes of transformers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
