"""The comparison's other arm: Hugging Face's `Trainer`, set up as its documentation does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.backends.base import predict_all
from harness.backends.torch.predictor import TorchPredictor
from harness.backends.torch.threads import use_threads
from harness.backends.torch.zoo import hide_torchvision
from harness.tasks.base import Encoded
from tests.benchmarks.conftest import Prepared
from tests.benchmarks.processes import THREADS


def train_with_trainer(
    prepared: Prepared, settings: dict[str, Any], out: Path, group_by_length: bool, bf16: bool
) -> tuple[float, list[np.ndarray]]:
    """Seconds of training, and logits of the test split.

    `AutoModelFor...` with the library's default attention and the checkpoint's dropout, batches
    padded by its own collator, its own AdamW and schedule.
    """
    hide_torchvision()
    import transformers
    from transformers import PreTrainedTokenizerFast, Trainer, TrainingArguments, logging

    use_threads(THREADS)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    head = prepared.task.head
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(prepared.folder / "tokenizer.json"), pad_token="[PAD]"
    )
    if head.kind == "token":
        model_class = transformers.AutoModelForTokenClassification
        collator: Any = transformers.DataCollatorForTokenClassification(tokenizer)
    else:
        model_class = transformers.AutoModelForSequenceClassification
        collator = transformers.DataCollatorWithPadding(tokenizer)
    transformers.set_seed(1)
    model = model_class.from_pretrained(prepared.folder, num_labels=head.outputs)
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=settings["batch_size"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        warmup_steps=settings["warmup"],  # below 1: a share of the steps
        train_sampling_strategy="group_by_length" if group_by_length else "random",
        bf16=bf16,
        use_cpu=True,
        seed=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows = as_rows(prepared.encoded["train"])
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator)  # type: ignore[arg-type]
    trainer.remove_callback(transformers.PrinterCallback)
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    predictor = TorchPredictor(_Logits(model).eval(), "cpu")
    return seconds, predict_all(predictor, prepared.encoded["test"])


def as_rows(encoded: Encoded) -> list[dict[str, Any]]:
    """The same encoded examples as the dictionaries that `Trainer` takes."""
    names = list(encoded.inputs)
    rows = []
    for i in range(len(encoded)):
        row: dict[str, Any] = {name: encoded.inputs[name][i].tolist() for name in names}
        row["attention_mask"] = [1] * len(row["input_ids"])
        row["labels"] = encoded.targets["labels"][i].tolist()
        rows.append(row)
    return rows


class _Logits(nn.Module):
    """A model of the library that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**inputs).logits
