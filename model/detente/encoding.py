"""Paragraphs -> words -> overlapping token windows with character offsets -> padded batches.

A word is a run of letters, digits and underscores, or one other visible character; combining accents belong to the
letter before them. Mentions begin and end at
words; the voice head is read at the first token of each word, so that it works over any tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from detente.errors import DataError

_WORD = re.compile(r"\w[\w\u0300-\u036f]*|[^\w\s]")
PAD_MULTIPLE = 16  # keeps matrix shapes few and aligned


def words(text: str) -> list[tuple[int, int]]:
    """Character offsets (start, end) of every word of the text, in order."""
    return [match.span() for match in _WORD.finditer(text)]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of one paragraph's tokens.

    Attributes:
        paragraph: index of the paragraph in the sequence that was encoded.
        part: index of the window in its paragraph; 0 is the first.
        parts: number of windows of the paragraph.
        input_ids: token ids, special tokens included, (T,).
        offsets: character offsets of each token in the paragraph, (T, 2); (0, 0) for special tokens.
        heads: whether a token is the first of a word, (T,); never a special token.
    """

    paragraph: int
    part: int
    parts: int
    input_ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    heads: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows padded to one length: `input_ids` and `attention_mask` (B, T), and the windows themselves."""

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    windows: tuple[Window, ...]


def _word_heads(
    spans: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], special: npt.NDArray[np.bool_], opening: bool
) -> npt.NDArray[np.bool_]:
    """Marks, for each word of the text (W, 2), the first token (of T) that covers one of its characters.

    Byte-level tokenizers count a leading blank into a token, and some split a character over several tokens;
    so a token belongs to the first word that ends after its start. A word that an earlier window began
    (`opening` is False) has its head there.
    """
    heads = np.zeros(len(offsets), dtype=bool)
    if not len(spans):
        return heads
    word = np.searchsorted(spans[:, 1], offsets[:, 0], side="right")
    real = ~special & (offsets[:, 1] > offsets[:, 0]) & (word < len(spans))
    last = -1
    for token in np.flatnonzero(real).tolist():
        first_character = spans[word[token], 0]
        if last < 0 and not opening and offsets[token, 0] > first_character:
            last = int(word[token])
        if offsets[token, 1] > first_character and word[token] != last:  # else blanks only, or the word goes on
            heads[token] = True
            last = int(word[token])
    return heads


def windows(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    size: int,
    overlap: int,
    first_paragraph: int = 0,
) -> list[Window]:
    """Cuts each text into windows of at most `size` tokens that share `overlap` tokens with their neighbour.

    Nothing is truncated: every token of every text stands in at least one window. An empty text has one window
    of special tokens alone.

    Args:
        size: tokens in a window, special tokens included.
        overlap: tokens that two neighbouring windows share.
        first_paragraph: number given to the first text.

    Raises:
        DataError: the window leaves no room for new tokens.
    """
    room = size - tokenizer.num_special_tokens_to_add()
    if room - overlap < 1:
        raise DataError(f"a window of {size} tokens with an overlap of {overlap} never advances; use a larger window")
    if not texts:
        return []
    word_spans = [np.array(words(text), dtype=np.int64).reshape(-1, 2) for text in texts]
    encoded = tokenizer(
        list(texts),
        truncation=True,
        max_length=size,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        padding=False,
        split_special_tokens=True,  # a text that says "[SEP]" says it in letters
        verbose=False,
    )
    owners: list[int] = encoded["overflow_to_sample_mapping"]
    counts = np.bincount(owners, minlength=len(texts))
    made: list[Window] = []
    part = 0
    for row, owner in enumerate(owners):
        part = part + 1 if row and owners[row - 1] == owner else 0
        offsets = np.array(encoded["offset_mapping"][row], dtype=np.int64).reshape(-1, 2)
        special = np.array(encoded["special_tokens_mask"][row], dtype=bool)
        offsets[special] = 0
        made.append(
            Window(
                paragraph=first_paragraph + owner,
                part=part,
                parts=int(counts[owner]),
                input_ids=np.array(encoded["input_ids"][row], dtype=np.int64),
                offsets=offsets,
                heads=_word_heads(word_spans[owner], offsets, special, opening=part == 0),
            )
        )
    return made


def pad(group: Sequence[Window], pad_id: int) -> Batch:
    """Pads windows to the longest of them, rounded up to a multiple of 16 tokens."""
    length = max(len(window) for window in group)
    length += -length % PAD_MULTIPLE
    input_ids = np.full((len(group), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(group), length), dtype=np.int64)
    for row, window in enumerate(group):
        input_ids[row, : len(window)] = window.input_ids
        mask[row, : len(window)] = 1
    return Batch(input_ids, mask, tuple(group))


def batches(group: Sequence[Window], pad_id: int, max_tokens: int) -> Iterator[Batch]:
    """Groups windows, longest first, into batches of at most `max_tokens` padded tokens (always at least one window).

    A pure function of the windows given: the same rows always make the same batches.
    """
    order = sorted(range(len(group)), key=lambda i: (-len(group[i]), i))
    start = 0
    while start < len(order):
        length = len(group[order[start]])
        length += -length % PAD_MULTIPLE
        count = max(1, max_tokens // length)
        yield pad([group[i] for i in order[start : start + count]], pad_id)
        start += count


def tokens_on(window: Window, start: int, end: int) -> npt.NDArray[np.intp]:
    """Indices of the tokens that touch the characters [start, end)."""
    offsets = window.offsets
    return np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 1] > offsets[:, 0]))


def token_span(window: Window, start: int, end: int) -> tuple[int, int] | None:
    """Tokens [first, end) of the window that cover the characters [start, end), from the head of the first word on.

    None if the window does not hold the whole span.
    """
    offsets = window.offsets
    covered = tokens_on(window, start, end)
    real = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    if not len(covered):
        return None
    cut_left = covered[0] == real[0] and window.part > 0 and offsets[covered[0], 0] > start
    cut_right = covered[-1] == real[-1] and window.part < window.parts - 1 and offsets[covered[-1], 1] < end
    if cut_left or cut_right:
        return None
    first = int(covered[0])
    while first > int(real[0]) and not window.heads[first]:
        first -= 1
    return first, int(covered[-1]) + 1
