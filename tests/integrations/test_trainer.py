"""The clip in Hugging Face's Trainer: hand it the optimizer, and nothing else changes."""

import os
from pathlib import Path

import pytest
import torch
from integrations.twin import FRACTION, Net, adamw, batches_seen_by, check, examples, plain_loop, watch
from torch import nn

from clipbench.clipping.hook import CoordinateClip

pytestmark = pytest.mark.slow  # heavy packages, and trainings by them

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers", reason="not installed: transformers")
pytest.importorskip("accelerate", reason="not installed: accelerate")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_trains_what_a_plain_loop_trains(tmp_path: Path, accumulate: int) -> None:
    model = Net()
    optimizer = adamw(model)
    clip = CoordinateClip(optimizer, FRACTION, of="numerator")
    seen, given = watch(optimizer, clip), batches_seen_by(model)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=5,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulate,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=examples(), optimizers=(optimizer, None))
    trainer.train()
    assert len(given) == 5 * accumulate
    expected, without = (plain_loop(Net(), given, accumulate=accumulate, clipped=clipped) for clipped in (True, False))
    check(model, seen, like=expected, unlike=without, steps=5)


def test_a_language_model_made_from_its_configuration_is_clipped_at_the_fraction_asked(tmp_path: Path) -> None:
    configuration = transformers.GPT2Config(
        vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model: nn.Module = transformers.GPT2LMHeadModel(configuration)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    clip = CoordinateClip(optimizer, 0.1)
    seen = watch(optimizer, clip)
    tokens = torch.randint(32, (16, 8), generator=torch.Generator().manual_seed(0))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    dataset = [{"input_ids": row, "labels": row} for row in tokens]
    transformers.Trainer(model, arguments, train_dataset=dataset, optimizers=(optimizer, None)).train()
    n = sum(parameter.numel() for parameter in model.parameters())
    assert [last and (int(last.clipped), last.n) for last in seen] == [(int(n * 0.1), n)] * 3
    assert all(last is not None and last.threshold > 0 for last in seen)
