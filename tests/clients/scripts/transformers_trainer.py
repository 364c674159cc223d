"""A Trainer of Hugging Face's that reports to ClearML: a tiny model, made from its configuration, four steps."""

import sys

import cpu_torchvision  # noqa: F401
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Sentences(torch.utils.data.Dataset):
    """Random tokens with random labels."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        tokens = torch.randint(0, 32, (6,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": tokens, "attention_mask": torch.ones(6, dtype=torch.long), "labels": index % 2}


config = BertConfig(
    vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    max_position_embeddings=8,
)  # fmt: skip
arguments = TrainingArguments(
    output_dir=sys.argv[1], max_steps=4, per_device_train_batch_size=2, logging_steps=1, eval_strategy="steps",
    eval_steps=2, save_steps=2, save_total_limit=1, report_to=["clearml"], use_cpu=True, disable_tqdm=True, learning_rate=0.01,
)  # fmt: skip
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=Sentences(), eval_dataset=Sentences())
trainer.train()
print("learning rate", arguments.learning_rate)
