"""Labelled paragraphs -> token windows with labels -> padded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from detente.codebook import Codebook
from detente.encoding import PAD_MULTIPLE, token_span, tokens_on, windows
from detente.network import BEGIN, INSIDE, NARRATOR_TOKEN, OUTSIDE
from detente_training.labelled import LabelledParagraph

IGNORED = -100  # label of whatever is not to be learned from; cross_entropy's own default


def training_windows(
    paragraphs: Sequence[LabelledParagraph],
    tokenizer: PreTrainedTokenizerBase,
    codebook: Codebook,
    size: int,
    overlap: int,
) -> Dataset:
    """One row per token window, with the labels of the paragraph brought down to its tokens.

    Columns: `input_ids` (T), `voice_labels` (T) at the first token of each word and, for the narrator, at the first
    token; `topic_labels` (K) of 0 and 1; `mentions` (M, 2) token spans; `stance_labels` (M); `length` (tokens).
    What is not labelled is IGNORED. So are the topics of a paragraph that takes several windows, because a window
    need not hold the sentence that carries the topic, and a mention that a window cuts in two.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("input_ids", "voice_labels", "topic_labels", "mentions", "stance_labels", "length")
    }
    stance_id = {name: i for i, name in enumerate(codebook.stance_names)}
    for window in windows([p.text for p in paragraphs], tokenizer, size, overlap):
        paragraph = paragraphs[window.paragraph]
        voices = np.full(len(window), IGNORED, dtype=np.int64)
        mentions: list[tuple[int, int]] = []
        stances: list[int] = []
        if paragraph.narrator_labelled and window.part == 0:
            voices[NARRATOR_TOKEN] = OUTSIDE if paragraph.narrator is None else BEGIN
            if paragraph.narrator is not None:
                mentions.append((NARRATOR_TOKEN, NARRATOR_TOKEN + 1))
                stances.append(stance_id[paragraph.narrator])
        if paragraph.voices is not None:
            voices[window.heads] = OUTSIDE
            for marked in paragraph.voices:
                span = token_span(window, marked.start, marked.end)
                if span is None:
                    cut = tokens_on(window, marked.start, marked.end)
                    voices[cut[window.heads[cut]]] = IGNORED
                    continue
                first, end = span
                voices[first:end][window.heads[first:end]] = INSIDE
                voices[first] = BEGIN
                mentions.append(span)
                stances.append(stance_id[marked.stance])
        whole = window.parts == 1 and paragraph.topics is not None
        columns["input_ids"].append(window.input_ids.tolist())
        columns["voice_labels"].append(voices.tolist())
        columns["topic_labels"].append(
            [int(t in (paragraph.topics or ())) if whole else IGNORED for t in codebook.topic_names]
        )
        columns["mentions"].append(mentions)
        columns["stance_labels"].append(stances)
        columns["length"].append(len(window))
    return Dataset.from_dict(columns)


def collate(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Pads rows of `training_windows` to one batch: `input_ids`, `attention_mask`, `voice_labels` (B, T),
    `topic_labels` (B, K), `mentions` (B, M, 2), `stance_labels` (B, M)."""
    length = max(len(row["input_ids"]) for row in rows)
    length += -length % PAD_MULTIPLE
    marks = max(1, max(len(row["mentions"]) for row in rows))
    batch = {
        "input_ids": torch.full((len(rows), length), pad_id),
        "attention_mask": torch.zeros((len(rows), length), dtype=torch.long),
        "voice_labels": torch.full((len(rows), length), IGNORED),
        "topic_labels": torch.tensor([row["topic_labels"] for row in rows]).reshape(len(rows), -1),
        "mentions": torch.zeros((len(rows), marks, 2), dtype=torch.long),
        "stance_labels": torch.full((len(rows), marks), IGNORED),
    }
    for i, row in enumerate(rows):
        tokens, count = len(row["input_ids"]), len(row["mentions"])
        batch["input_ids"][i, :tokens] = torch.tensor(row["input_ids"])
        batch["attention_mask"][i, :tokens] = 1
        batch["voice_labels"][i, :tokens] = torch.tensor(row["voice_labels"])
        if count:
            batch["mentions"][i, :count] = torch.tensor(row["mentions"])
            batch["stance_labels"][i, :count] = torch.tensor(row["stance_labels"])
    return batch
