"""Labelled paragraphs -> token windows with labels -> padded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from detente.codebook import Codebook
from detente.encoding import PAD_MULTIPLE, Window, token_span, tokens_on, windows, words
from detente.network import BEGIN, INSIDE, NARRATOR_TOKEN, OUTSIDE
from detente.reader import NARRATOR_SPAN
from detente_training.labelled import LabelledParagraph
from detente_training.soft_labels import Halves, SoftLabels

IGNORED = -100  # label of whatever is not to be learned from; cross_entropy's own default


def training_windows(
    paragraphs: Sequence[LabelledParagraph],
    tokenizer: PreTrainedTokenizerBase,
    codebook: Codebook,
    size: int,
    overlap: int,
    soft: Mapping[str, SoftLabels] | None = None,
) -> Dataset:
    """One row per token window, with the labels of the paragraph brought down to its tokens.

    Columns: `input_ids` (T), `voice_labels` (T) at the first token of each word and, for the narrator, at the first
    token; `topic_labels` (K) of 0 and 1; `mentions` (M, 2) token spans; `stance_labels` (M); `length` (tokens).
    What is not labelled is IGNORED. So are the topics of a paragraph that takes several windows, because a window
    need not hold the sentence that carries the topic, and a mention that a window cuts in two.

    With `soft` (by paragraph id) there are also `soft_topics` (K), -1 where there is none, `soft_voices` (T * 3) and
    `soft_stances` (M * S, at least S), zeros where there is none. Voices that nobody has labelled get the teacher's
    mentions.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("input_ids", "voice_labels", "topic_labels", "mentions", "stance_labels", "length")
    }
    if soft is not None:
        columns |= {"soft_topics": [], "soft_voices": [], "soft_stances": []}
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
        if soft is not None:
            taught = _soften(window, paragraph, soft.get(paragraph.id), mentions, len(codebook.stances))
            topics, soft_voices, soft_stances = taught
            stances += [IGNORED] * (len(mentions) - len(stances))
            whole_topics = topics if topics is not None and window.parts == 1 else [-1.0] * len(codebook.topics)
            columns["soft_topics"].append(np.asarray(whole_topics, dtype=np.float32))
            columns["soft_voices"].append(soft_voices.ravel())
            columns["soft_stances"].append(soft_stances.ravel())
    return Dataset.from_dict(columns)


def _soften(
    window: Window,
    paragraph: LabelledParagraph,
    labels: SoftLabels | None,
    mentions: list[tuple[int, int]],
    stance_count: int,
) -> tuple[Halves | None, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A teacher's probabilities for one window: topics (K), voices (T, 3) and stances (M, S); without a mention
    (1, S), so that S is known.

    Adds to `mentions` those of the teacher where the paragraph's own are not labelled.
    """
    voices = np.zeros((len(window), 3), dtype=np.float32)
    if labels is None:
        return None, voices, np.zeros((max(1, len(mentions)), stance_count), dtype=np.float32)
    if window.part == 0:
        voices[NARRATOR_TOKEN, [OUTSIDE, BEGIN]] = 1 - labels.narrator, labels.narrator
    ends = np.array([end for _, end in words(paragraph.text)], dtype=np.int64)
    word = np.searchsorted(ends, window.offsets[window.heads, 0], side="right")
    started, goes_on = labels.voices[word].astype(np.float32).T
    voices[window.heads] = np.stack([np.maximum(0, 1 - started - goes_on), started, goes_on], axis=1)
    labelled = set(mentions)
    taught: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
    for span, mass in zip(labels.mentions, labels.stances.astype(np.float32), strict=True):
        if span != NARRATOR_SPAN:
            place = token_span(window, *span)
        else:
            place = (NARRATOR_TOKEN, NARRATOR_TOKEN + 1) if window.part == 0 else None
        if place is None:
            continue
        unlabelled = not paragraph.narrator_labelled if span == NARRATOR_SPAN else paragraph.voices is None
        if unlabelled or place in labelled:
            taught[place] = taught.get(place, 0) + mass  # two teachers may cut one mention differently
    mentions += [place for place in taught if place not in labelled]
    stances = np.zeros((max(1, len(mentions)), stance_count), dtype=np.float32)
    for row, place in enumerate(mentions):
        if place in taught:  # what is labelled is there for certain
            stances[row] = taught[place] / (max(float(taught[place].sum()), 1e-6) if place in labelled else 1)
    return labels.topics, voices, stances


def collate(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Pads rows of `training_windows` to one batch: `input_ids`, `attention_mask`, `voice_labels` (B, T),
    `topic_labels` (B, K), `mentions` (B, M, 2), `stance_labels` (B, M), and where the rows have soft labels
    `soft_topics` (B, K), `soft_voices` (B, T, 3), `soft_stances` (B, M, S)."""
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
    if "soft_topics" in rows[0]:
        soft_voices = [torch.tensor(row["soft_voices"]).reshape(-1, 3) for row in rows]
        soft_stances = [torch.tensor(row["soft_stances"]).reshape(max(1, len(row["mentions"])), -1) for row in rows]
        batch["soft_topics"] = torch.tensor([row["soft_topics"] for row in rows]).reshape(len(rows), -1)
        batch["soft_voices"] = torch.stack([functional.pad(t, (0, 0, 0, length - len(t))) for t in soft_voices])
        batch["soft_stances"] = torch.stack([functional.pad(t, (0, 0, 0, marks - len(t))) for t in soft_stances])
    return batch
