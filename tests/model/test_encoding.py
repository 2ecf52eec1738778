"""Texts -> words -> windows -> batches: nothing lost, offsets right, over every make of tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.documents import clean
from detente.encoding import PAD_MULTIPLE, Window, batches, pad, token_span, windows, words
from detente.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Tokenizers = Callable[[str], "PreTrainedTokenizerFast"]

TALKS = "The minister said drills would go on while the hotline stayed open. "
AWKWARD = (
    *(
        "\0",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u2028",
        "e\u0301",
        "👩‍👩‍👧",
        "🇰🇷",
        "한",
        "א",
        "ﬁ",
        "½",
        "“",
    ),
    *(" ", "\n", "U.N.", "[SEP]", "</s>", "<unk>", "said ", "Pyongyang", "_", "'s", "\u0301", "Å\u0323"),
)
TEXTS = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=6), max_size=30).map(
    lambda parts: clean("".join(parts))[0]
)


def window(offsets: Sequence[tuple[int, int]], heads: Sequence[int] = (), part: int = 0, parts: int = 1) -> Window:
    """A window made by hand; the ids count up from 10."""
    marked = np.zeros(len(offsets), dtype=bool)
    marked[list(heads)] = True
    ids = np.arange(10, 10 + len(offsets))
    return Window(0, part, parts, ids, np.array(offsets, dtype=np.int64).reshape(-1, 2), marked)


def pieces(text: str, of: Window) -> list[str]:
    return [text[start:end] for start, end in of.offsets.tolist()]


# --- words


def test_words_are_runs_of_letters_and_single_signs() -> None:
    text = "“We won't,” MR. O_1 said—naïve 한국 🇰🇷"
    assert [text[start:end] for start, end in words(text)] == (
        ["“", "We", "won", "'", "t", ",", "”", "MR", ".", "O_1", "said", "—", "naïve", "한국", "🇰", "🇷"]
    )
    assert words(" \n\t\u00a0") == []


def test_a_combining_accent_belongs_to_its_letter() -> None:
    text = unicodedata.normalize("NFD", "René Áñez said")
    assert [text[start:end] for start, end in words(text)] == [
        unicodedata.normalize("NFD", "René"),
        unicodedata.normalize("NFD", "Áñez"),
        "said",
    ]


# --- windows


def test_a_short_text_is_one_window(tokenizers: Tokenizers) -> None:
    text = "These groups say trade and contact"
    (only,) = windows([text], tokenizers("bert"), size=32, overlap=8, first_paragraph=5)
    assert (only.paragraph, only.part, only.parts) == (5, 0, 1)
    assert pieces(text, only) == ["", "The", "se", "gro", "ups", "say", "tra", "de", "and", "con", "tact", ""]
    assert np.flatnonzero(only.heads).tolist() == [1, 3, 5, 6, 8, 9]
    assert len(only) == 12


def test_a_leading_blank_in_a_token_does_not_hide_the_head(tokenizers: Tokenizers) -> None:
    text = "while  drills, said"
    for kind in ("roberta", "modernbert"):
        (only,) = windows([text], tokenizers(kind), size=64, overlap=8)
        firsts = [only.offsets[token].tolist() for token in np.flatnonzero(only.heads)]
        assert [text[start:end].strip()[:1] for start, end in firsts] == ["w", "d", ",", "s"]


def test_windows_overlap_and_the_last_ends_the_text(tokenizers: Tokenizers) -> None:
    text = TALKS * 5
    cut = windows([text], tokenizers("bert"), size=24, overlap=6)
    whole = windows([text], tokenizers("bert"), size=512, overlap=6)[0].input_ids[1:-1].tolist()
    assert len(cut) > 3
    assert [w.part for w in cut] == list(range(len(cut)))
    assert {w.parts for w in cut} == {len(cut)}
    assert all(len(w) == 24 for w in cut[:-1])
    joined = cut[0].input_ids[1:-1].tolist()
    for one, two in pairwise(cut):
        assert one.input_ids[-7:-1].tolist() == two.input_ids[1:7].tolist()
        assert one.offsets[-7:-1].tolist() == two.offsets[1:7].tolist()
        joined += two.input_ids[7:-1].tolist()
    assert joined == whole


def test_a_word_that_an_earlier_window_began_has_its_head_there(tokenizers: Tokenizers) -> None:
    text = "accountability " * 6
    cut = windows([text], tokenizers("bert"), size=6, overlap=0)  # 4 tokens of text; a word has 3
    assert pieces(text, cut[1]) == ["", "c", "countability", "a", "c", ""]
    assert np.flatnonzero(cut[1].heads).tolist() == [3]
    assert sum(int(w.heads.sum()) for w in cut) == 6


def test_several_texts_keep_their_places(tokenizers: Tokenizers) -> None:
    cut = windows([TALKS * 3, "", "\0", "Two soldiers"], tokenizers("bert"), size=24, overlap=6)
    assert [(w.paragraph, w.part, w.parts) for w in cut[-4:]] == [(0, 3, 4), (1, 0, 1), (2, 0, 1), (3, 0, 1)]
    assert [len(w) for w in cut[-3:-1]] == [2, 2]  # nothing to read but the special tokens
    assert not cut[-2].heads.any()
    assert windows([], tokenizers("bert"), size=24, overlap=6) == []


def test_what_looks_like_a_special_token_is_text(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("bert")
    (only,) = windows(["[SEP] said [CLS]"], tokenizer, size=32, overlap=4)
    assert set(only.input_ids[1:-1].tolist()).isdisjoint({tokenizer.sep_token_id, tokenizer.cls_token_id})


@pytest.mark.parametrize(("size", "overlap"), [(16, 14), (2, 0), (16, 20)])
def test_a_window_that_never_advances_is_refused(tokenizers: Tokenizers, size: int, overlap: int) -> None:
    with pytest.raises(
        DataError, match=f"window of {size} tokens with an overlap of {overlap} never advances; use a larger"
    ):
        windows([TALKS], tokenizers("bert"), size, overlap)


def test_any_text_is_covered_and_offsets_point_into_it(tokenizers: Tokenizers, kind: str) -> None:
    tokenizer = tokenizers(kind)

    @settings(deadline=None, derandomize=True, max_examples=40)
    @given(TEXTS, st.integers(12, 40), st.integers(0, 8))
    def check(text: str, size: int, overlap: int) -> None:
        cut = windows([text], tokenizer, size, overlap)
        whole = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, split_special_tokens=True)
        # Nothing is truncated: the windows without what they share are the tokens of the text, in order.
        joined = [(i, *span) for w in cut for i, span in _own(w, overlap if w.part else 0)]
        expected = [(i, *span) for i, span in zip(whole["input_ids"], whole["offset_mapping"], strict=True)]
        assert joined == expected
        spans = words(text)
        for w in cut:
            assert 2 <= len(w) <= size
            assert w.parts == len(cut)
            assert ((w.offsets >= 0) & (w.offsets <= len(text))).all()
            assert (w.offsets[:, 0] <= w.offsets[:, 1]).all()
            assert not w.heads[0]
            assert not w.heads[-1]
            heads = [_word_of(spans, *w.offsets[token].tolist()) for token in np.flatnonzero(w.heads)]
            assert None not in heads  # a head covers a part of a word
            assert len(heads) == len(set(heads))  # one head for each
        if len(cut) == 1:
            own = [_word_of(spans, *offset) for offset in cut[0].offsets[1:-1].tolist()]
            firsts = [
                place for place, word in enumerate(own, start=1) if word is not None and word not in own[: place - 1]
            ]
            assert np.flatnonzero(cut[0].heads).tolist() == firsts

    check()


def _own(of: Window, shared: int) -> list[tuple[int, list[int]]]:
    """Ids and offsets of the tokens that stand in no earlier window."""
    return list(zip(of.input_ids[1 + shared : -1].tolist(), of.offsets[1 + shared : -1].tolist(), strict=True))


def _word_of(spans: Sequence[tuple[int, int]], start: int, end: int) -> int | None:
    """The first word of which a token covers a character."""
    return next((i for i, (first, last) in enumerate(spans) if first < end and start < last), None)


# --- token spans


def test_a_span_becomes_the_tokens_that_cover_it(tokenizers: Tokenizers) -> None:
    text = "The minister said drills would go on"
    (only,) = windows([text], tokenizers("bert"), size=32, overlap=8)
    span = token_span(only, 4, 12)
    assert span is not None
    assert pieces(text, only)[span[0] : span[1]] == ["min", "ister"]
    assert token_span(only, 9, 12) == span  # from the head of its word on
    assert token_span(only, 4, 9) == span  # "minis" ends inside a token
    assert token_span(only, 36, 40) is None


def test_a_span_that_the_window_cuts_is_not_held() -> None:
    middle = window([(0, 0), (10, 13), (13, 18), (19, 24), (0, 0)], heads=[1, 3], part=1, parts=3)
    assert token_span(middle, 10, 18) == (1, 3)
    assert token_span(middle, 6, 18) is None
    assert token_span(middle, 19, 27) is None
    assert token_span(middle, 0, 5) is None
    # At the ends of the paragraph nothing is cut.
    assert token_span(window([(0, 0), (1, 4), (0, 0)], heads=[1]), 0, 9) == (1, 2)


def test_the_words_of_a_span_come_back(tokenizers: Tokenizers, kind: str) -> None:
    text = "“Accountability must come first,” said Marzuki Darusman, the U.N. rapporteur. " + TALKS * 3
    start = text.index("Marzuki")
    end = start + len("Marzuki Darusman")
    held = 0
    for w in windows([text], tokenizers(kind), size=48, overlap=20):
        if (span := token_span(w, start, end)) is not None:
            held += 1
            assert w.heads[span[0]]
            covered = text[w.offsets[span[0], 0] : w.offsets[span[1] - 1, 1]]
            assert covered.strip(" ,") == "Marzuki Darusman"
    assert held >= 1


# --- batches


def test_windows_are_padded_to_a_multiple_of_sixteen() -> None:
    short, long = window([(0, 0)] * 3), window([(0, 0)] * 17)
    batch = pad([short, long], pad_id=7)
    assert batch.input_ids.shape == batch.attention_mask.shape == (2, 32)
    assert batch.input_ids[0].tolist() == [10, 11, 12] + [7] * 29
    assert batch.attention_mask.sum(axis=1).tolist() == [3, 17]
    assert batch.windows == (short, long)
    assert pad([window([(0, 0)] * 16)], pad_id=0).input_ids.shape == (1, 16)


def test_batches_hold_every_window_once_and_few_padded_tokens() -> None:
    group = [window([(0, 0)] * (3 + 7 * (i % 9))) for i in range(40)]
    made = list(batches(group, pad_id=0, max_tokens=128))
    assert [id(w) for b in made for w in b.windows] == (
        [id(w) for _, w in sorted(enumerate(group), key=lambda pair: (-len(pair[1]), pair[0]))]
    )
    assert all(b.input_ids.size <= 128 for b in made)
    # In a batch of sorted lengths a window is padded to its longest, and no further than the next multiple.
    assert all(b.input_ids.shape[1] - len(b.windows[0]) < PAD_MULTIPLE for b in made)


def test_a_window_longer_than_the_bound_is_a_batch_of_its_own() -> None:
    made = list(batches([window([(0, 0)] * 60), window([(0, 0)] * 50)], pad_id=0, max_tokens=16))
    assert [b.input_ids.shape for b in made] == [(1, 64), (1, 64)]


def test_the_same_windows_make_the_same_batches() -> None:
    group = [window([(0, 0)] * (3 + i % 5)) for i in range(20)]
    one, two = (list(batches(group, pad_id=0, max_tokens=48)) for _ in range(2))
    assert [b.input_ids.tolist() for b in one] == [b.input_ids.tolist() for b in two]
    assert list(batches([], pad_id=0, max_tokens=48)) == []
