"""Labels brought down to tokens, and rows padded to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from detente.codebook import Codebook, Label, Stance
from detente.reader import NARRATOR_SPAN, Span
from detente_training.annotation import LabelledParagraph
from detente_training.dataset import IGNORED, collate, training_windows
from detente_training.soft_labels import SoftLabels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

X = IGNORED
Mark = Callable[..., LabelledParagraph]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(tiny_tokenizer: PreTrainedTokenizerBase) -> Rows:
    def made(
        *paragraphs: LabelledParagraph,
        size: int = 48,
        overlap: int = 12,
        codebook: Codebook | None = None,
        soft: Sequence[SoftLabels] | None = None,
    ) -> list[dict[str, Any]]:
        taught = None if soft is None else {labels.id: labels for labels in soft}
        book = codebook or Codebook.default()
        return training_windows(paragraphs, tiny_tokenizer, book, size, overlap, taught).to_list()

    return made


def test_labels_stand_at_the_tokens_that_carry_them(
    mark: Mark, rows: Rows, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    paragraph = mark("{{e|Varga}} said {{p|the king}} says talks must go.", topics=("diplomacy",), narrator="mixed")
    (row,) = rows(paragraph)
    assert tiny_tokenizer.convert_ids_to_tokens(row["input_ids"]) == [
        "[CLS]", "varga", "said", "the", "king", "say", "##s", "talks", "must", "go", ".", "[SEP]",
    ]  # fmt: skip
    assert row["voice_labels"] == [1, 1, 0, 1, 2, 0, X, 0, 0, 0, 0, X]
    assert row["mentions"] == [[0, 1], [1, 2], [3, 5]]
    assert row["stance_labels"] == [2, 0, 1]  # mixed, engagement, pressure
    assert row["topic_labels"] == [0, 0, 1]
    assert row["length"] == 12


def test_only_the_first_token_of_a_word_is_labelled(mark: Mark, rows: Rows) -> None:
    (row,) = rows(mark("The hotline {{n|a fleetoid}} said."))
    # [CLS] the hotline a fleet ##o ##i ##d said . [SEP]
    assert row["voice_labels"] == [0, 0, 0, 1, 2, X, X, X, 0, 0, X]
    assert row["mentions"] == [[3, 8]]
    assert row["stance_labels"] == [3]


def test_a_paragraph_without_voices_or_topics_is_all_negatives(mark: Mark, rows: Rows) -> None:
    (row,) = rows(mark("Rice was poor."))
    assert row["voice_labels"] == [0, 0, 0, 0, 0, X]
    assert row["topic_labels"] == [0, 0, 0]
    assert row["mentions"] == row["stance_labels"] == []


def test_missing_labels_are_masked(mark: Mark, rows: Rows) -> None:
    text = "{{e|Varga}} said that talks must go on."
    nothing = mark(text, voices=None, topics=None, narrator_labelled=False)
    topics = mark(text, "a-1", voices=None, topics=("diplomacy",), narrator_labelled=False)
    narrator = mark(text, "a-2", voices=None, topics=None, narrator="neutral")
    voices = mark(text, "a-3", topics=None, narrator_labelled=False)
    made = rows(nothing, topics, narrator, voices)
    assert [row["voice_labels"] for row in made] == [
        [X] * 10,
        [X] * 10,
        [1, *[X] * 9],
        [X, 1, 0, 0, 0, 0, 0, 0, 0, X],
    ]
    assert [row["topic_labels"] for row in made] == [[X] * 3, [0, 0, 1], [X] * 3, [X] * 3]
    assert [row["mentions"] for row in made] == [[], [], [[0, 1]], [[1, 2]]]
    assert [row["stance_labels"] for row in made] == [[], [], [3], [0]]


def test_a_paragraph_of_two_windows(mark: Mark, rows: Rows, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    text = "{{n|Varga}} said talks must go the {{p|king of Lindt}} said drills must stay."
    first, second = rows(mark(text, topics=("diplomacy",), narrator="pressure"), size=10, overlap=2)
    read = tiny_tokenizer.convert_ids_to_tokens
    assert read(first["input_ids"]) == ["[CLS]", "varga", "said", "talks", "must", "go", "the", "king", "of", "[SEP]"]
    assert read(second["input_ids"]) == ["[CLS]", "king", "of", "lindt", "said", "drills", "must", "stay", ".", "[SEP]"]
    # the topic may be carried by words that the window does not hold; the narrator is read in the first alone
    assert first["topic_labels"] == second["topic_labels"] == [X, X, X]
    assert first["voice_labels"] == [1, 1, 0, 0, 0, 0, 0, X, X, X]  # its last mention goes on in the other
    assert first["mentions"] == [[0, 1], [1, 2]]
    assert second["voice_labels"] == [X, 1, 2, 2, 0, 0, 0, 0, 0, X]
    assert second["mentions"] == [[1, 4]]
    assert second["stance_labels"] == [1]


def test_a_mention_that_both_windows_cut_is_masked_in_both(mark: Mark, rows: Rows) -> None:
    text = "Varga said talks must go {{p|the king of Lindt}} said drills must stay."
    first, second = rows(mark(text), size=10, overlap=2)
    assert first["voice_labels"] == [0, 0, 0, 0, 0, 0, X, X, X, X]  # [CLS] varga said talks must go the king of [SEP]
    assert second["voice_labels"] == [X, X, X, X, 0, 0, 0, 0, 0, X]  # [CLS] king of lindt said drills must stay . [SEP]
    assert first["mentions"] == second["mentions"] == []


def test_other_label_sets(mark: Mark, rows: Rows) -> None:
    classes = Codebook("1", (), (Label("good"),), (Stance("plain"), Stance("nice", poles=("good",))))
    paragraph = mark("Varga said talks must go on.", narrator="nice", topics=None)
    (row,) = rows(paragraph, codebook=classes)
    assert (row["topic_labels"], row["stance_labels"]) == ([], [1])
    batch = collate([row, row], pad_id=0)
    assert batch["topic_labels"].shape == (2, 0)


def test_an_empty_text_and_no_text(mark: Mark, rows: Rows) -> None:
    (row,) = rows(mark(""))
    assert (row["voice_labels"], row["length"]) == ([0, X], 2)
    assert rows() == []


def test_rows_are_padded_to_a_multiple_of_sixteen(mark: Mark, rows: Rows) -> None:
    short, long = rows(
        mark("{{e|Varga}} said {{p|Okoro}} said go.", topics=("diplomacy",)),
        mark("Rice " * 15 + "was poor.", "a-1", topics=None),
    )
    batch = collate([short, long], pad_id=7)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (2, 32),
        "attention_mask": (2, 32),
        "voice_labels": (2, 32),
        "topic_labels": (2, 3),
        "mentions": (2, 2, 2),
        "stance_labels": (2, 2),
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert batch["attention_mask"].sum(1).tolist() == [8, 20]
    assert batch["input_ids"][0, :8].tolist() == short["input_ids"]
    assert set(batch["input_ids"][0, 8:].tolist()) == {7}
    assert batch["voice_labels"][0].tolist() == [0, 1, 0, 1, 0, 0, 0, *[X] * 25]
    assert batch["mentions"].tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, 0]]]
    assert batch["stance_labels"].tolist() == [[0, 1], [X, X]]
    assert batch["topic_labels"].tolist() == [[0, 0, 1], [X, X, X]]


def test_sixteen_tokens_need_no_padding_and_no_mention_one_empty_span(mark: Mark, rows: Rows) -> None:
    (row,) = rows(mark("Rice " * 13 + "."))
    batch = collate([row], pad_id=0)
    assert batch["input_ids"].shape == (1, 16)
    assert batch["mentions"].tolist() == [[[0, 0]]]
    assert batch["stance_labels"].tolist() == [[X]]


# --- soft labels


def taught(
    paragraph: LabelledParagraph,
    narrator: float,
    voices: Sequence[tuple[float, float]],
    mentions: dict[Span, Sequence[float]],
    topics: Sequence[float] = (0.25, 0.0, 1.0),
    stances: int = 4,
) -> SoftLabels:
    """A teacher's word on a paragraph; numbers that float16 holds exactly."""
    return SoftLabels(
        paragraph.id,
        paragraph.document,
        paragraph.text,
        np.array(topics, dtype=np.float16),
        narrator,
        np.array(voices, dtype=np.float16).reshape(-1, 2),
        tuple(mentions),
        np.array(list(mentions.values()), dtype=np.float16).reshape(len(mentions), stances),
    )


KING = "{{e|Varga}} said {{p|the king}} says go."  # [CLS] varga said the king say ##s go . [SEP]
KING_VOICES = ((0.75, 0.0), (0.0, 0.25), (0.5, 0.0), (0.25, 0.5), (0.0, 0.0), (0.0, 0.0), (0.0, 0.125))
KING_TOKENS = [
    [0.75, 0.25, 0.0],  # the narrator
    [0.25, 0.75, 0.0],
    [0.75, 0.0, 0.25],
    [0.5, 0.5, 0.0],
    [0.25, 0.25, 0.5],
    [1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0],  # ##s is no word's first token
    [1.0, 0.0, 0.0],
    [0.875, 0.0, 0.125],
    [0.0, 0.0, 0.0],
]


def in_rows(flat: Sequence[float], width: int) -> list[list[float]]:
    return np.array(flat).reshape(-1, width).tolist()


def test_what_is_labelled_and_taught(mark: Mark, rows: Rows) -> None:
    paragraph = mark(KING, topics=("diplomacy",), narrator="mixed")
    masses = {
        NARRATOR_SPAN: (0.0, 0.125, 0.125, 0.0),
        (0, 5): (0.5, 0.0, 0.0, 0.0),
        (20, 24): (0.0, 0.25, 0.0, 0.0),  # "says", which nobody has marked
    }
    (row,) = rows(paragraph, soft=[taught(paragraph, 0.25, KING_VOICES, masses)])
    assert row["mentions"] == [[0, 1], [1, 2], [3, 5]]
    assert row["stance_labels"] == [2, 0, 1]
    assert row["soft_topics"] == [0.25, 0.0, 1.0]
    assert in_rows(row["soft_voices"], 3) == KING_TOKENS
    assert in_rows(row["soft_stances"], 4) == [
        [0.0, 0.5, 0.5, 0.0],  # a labelled voice is there for certain
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],  # "the king", which the teacher has not seen
    ]
    (hard,) = rows(paragraph)
    assert {name: row[name] for name in hard} == hard


def test_what_is_taught_alone(mark: Mark, rows: Rows) -> None:
    paragraph = mark(KING, topics=None, voices=None, narrator_labelled=False)
    masses = {
        NARRATOR_SPAN: (0.0, 0.125, 0.125, 0.0),
        (0, 5): (0.5, 0.25, 0.0, 0.0),
        (11, 19): (0.0, 0.0, 0.0, 0.5),
    }
    (row,) = rows(paragraph, soft=[taught(paragraph, 0.25, KING_VOICES, masses)])
    assert row["topic_labels"] == [X, X, X]
    assert row["voice_labels"] == [X] * 10
    assert row["mentions"] == [[0, 1], [1, 2], [3, 5]]
    assert row["stance_labels"] == [X, X, X]
    assert row["soft_topics"] == [0.25, 0.0, 1.0]
    assert in_rows(row["soft_voices"], 3) == KING_TOKENS
    assert in_rows(row["soft_stances"], 4) == [list(mass) for mass in masses.values()]


def test_the_teachers_mentions_stand_in_for_each_label_that_lacks(mark: Mark, rows: Rows) -> None:
    masses = {NARRATOR_SPAN: (0.0, 0.25, 0.0, 0.0), (11, 19): (0.0, 0.0, 0.0, 0.5)}
    no_voices = mark(KING, "a-0", voices=None)  # its narrator is labelled: there is none
    no_narrator = mark(KING, "a-1", narrator_labelled=False)
    first, second = rows(
        no_voices, no_narrator, soft=[taught(p, 0.25, KING_VOICES, masses) for p in (no_voices, no_narrator)]
    )
    assert (first["mentions"], first["stance_labels"]) == ([[3, 5]], [X])
    assert in_rows(first["soft_stances"], 4) == [[0.0, 0.0, 0.0, 0.5]]
    assert (second["mentions"], second["stance_labels"]) == ([[1, 2], [3, 5], [0, 1]], [0, 1, X])
    assert in_rows(second["soft_stances"], 4) == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0.25, 0, 0]]


def test_two_cuts_of_one_mention_count_together(mark: Mark, rows: Rows) -> None:
    masses = {(10, 19): (0.0, 0.25, 0.0, 0.0), (11, 19): (0.0, 0.25, 0.0, 0.125)}  # with and without the blank
    marked = mark(KING, "a-0")
    unmarked = mark(KING, "a-1", voices=None)
    first, second = rows(marked, unmarked, soft=[taught(p, 0.25, KING_VOICES, masses) for p in (marked, unmarked)])
    assert first["mentions"] == [[1, 2], [3, 5]]
    np.testing.assert_allclose(in_rows(first["soft_stances"], 4), [[0, 0, 0, 0], [0, 0.8, 0, 0.2]])
    assert second["mentions"] == [[3, 5]]
    assert in_rows(second["soft_stances"], 4) == [[0.0, 0.5, 0.0, 0.125]]


def test_a_paragraph_that_nobody_taught(mark: Mark, rows: Rows) -> None:
    other = mark("Rice was poor.", "b-0")
    row, plain = rows(mark(KING), other, soft=[taught(other, 0.0, [(0.0, 0.0)] * 4, {})])
    assert row["soft_topics"] == [-1.0, -1.0, -1.0]
    assert set(row["soft_voices"]) == {0.0}
    assert in_rows(row["soft_stances"], 4) == [[0.0] * 4] * 2
    assert plain["mentions"] == []
    assert in_rows(plain["soft_voices"], 3) == [[1.0, 0.0, 0.0]] * 5 + [[0.0, 0.0, 0.0]]
    assert in_rows(plain["soft_stances"], 4) == [[0.0] * 4]


def test_a_taught_paragraph_of_two_windows(mark: Mark, rows: Rows) -> None:
    text = "{{n|Varga}} said talks must go the {{p|king of Lindt}} said drills must stay."
    paragraph = mark(text, topics=("diplomacy",), voices=None, narrator_labelled=False)
    voices = [(0.0, 0.0)] * 14
    voices[0], voices[6], voices[7], voices[8] = (0.75, 0.0), (0.5, 0.0), (0.25, 0.5), (0.0, 0.75)
    masses = {
        NARRATOR_SPAN: (0.0, 0.25, 0.0, 0.0),
        (0, 5): (0.0, 0.0, 0.0, 0.75),
        (29, 42): (0.0, 0.5, 0.0, 0.0),
    }
    first, second = rows(paragraph, size=10, overlap=2, soft=[taught(paragraph, 0.25, voices, masses)])
    # [CLS] varga said talks must go the king of [SEP] and [CLS] king of lindt said drills must stay . [SEP]
    assert first["soft_topics"] == second["soft_topics"] == [-1.0, -1.0, -1.0]
    out = [1.0, 0.0, 0.0]
    assert in_rows(first["soft_voices"], 3) == [
        [0.75, 0.25, 0.0], [0.25, 0.75, 0.0], out, out, out, out, out, [0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0, 0, 0],
    ]  # fmt: skip
    assert in_rows(second["soft_voices"], 3) == [
        [0, 0, 0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.25, 0.0, 0.75], out, out, out, out, out, [0, 0, 0],
    ]  # fmt: skip
    assert first["mentions"] == [[0, 1], [1, 2]]
    assert in_rows(first["soft_stances"], 4) == [[0, 0.25, 0, 0], [0, 0, 0, 0.75]]
    assert second["mentions"] == [[1, 4]]
    assert in_rows(second["soft_stances"], 4) == [[0, 0.5, 0, 0]]


def test_probabilities_that_rounding_took_over_one(mark: Mark, rows: Rows) -> None:
    paragraph = mark("Varga.")
    (row,) = rows(paragraph, soft=[taught(paragraph, 1.0, [(0.75, 0.375), (0.0, 0.0)], {})])
    assert in_rows(row["soft_voices"], 3)[:2] == [[0.0, 1.0, 0.0], [0.0, 0.75, 0.375]]


def test_soft_labels_are_padded_with_nothing(mark: Mark, rows: Rows) -> None:
    first = mark(KING, "a-0")
    second = mark("Rice " * 15 + "was poor.", "b-0")
    third = mark("Varga.", "c-0", voices=None)
    made = rows(
        first,
        second,
        third,
        soft=[
            taught(first, 0.25, KING_VOICES, {(0, 5): (0.5, 0.0, 0.0, 0.0)}),
            taught(third, 0.0, [(0.5, 0.0), (0.0, 0.0)], {(0, 5): (0.0, 0.0, 0.5, 0.0)}),
        ],
    )
    batch = collate(made, pad_id=0)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items() if name.startswith("soft")} == {
        "soft_topics": (3, 3),
        "soft_voices": (3, 32, 3),
        "soft_stances": (3, 2, 4),
    }
    assert {tensor.dtype for name, tensor in batch.items() if name.startswith("soft")} == {torch.float32}
    assert batch["soft_topics"].tolist() == [[0.25, 0.0, 1.0], [-1.0, -1.0, -1.0], [0.25, 0.0, 1.0]]
    assert batch["soft_voices"][0].tolist() == KING_TOKENS + [[0.0, 0.0, 0.0]] * 22
    assert batch["soft_voices"][1].sum().item() == 0
    assert batch["soft_voices"][2, :3].tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    assert batch["mentions"][2].tolist() == [[1, 2], [0, 0]]
    assert batch["soft_stances"].tolist() == [
        [[1.0, 0.0, 0.0, 0.0], [0.0] * 4],
        [[0.0] * 4, [0.0] * 4],
        [[0.0, 0.0, 0.5, 0.0], [0.0] * 4],
    ]


def test_a_batch_without_any_mention(mark: Mark, rows: Rows) -> None:
    paragraph = mark("Rice was poor.")
    batch = collate(rows(paragraph, soft=[taught(paragraph, 0.0, [(0.0, 0.0)] * 4, {})]), pad_id=0)
    assert batch["soft_stances"].tolist() == [[[0.0, 0.0, 0.0, 0.0]]]
    assert batch["stance_labels"].tolist() == [[X]]


def test_soft_labels_of_other_label_sets(mark: Mark, rows: Rows) -> None:
    text = "Varga."
    topics = Codebook("t", (Label("sport"), Label("weather")), (), ())
    classes = Codebook("c", (), (Label("good"),), (Stance("plain"), Stance("nice", poles=("good",))))
    paragraph = mark(text, topics=None, voices=None, narrator_labelled=False)
    alone = taught(paragraph, 0.0, [(0.0, 0.0)] * 2, {}, topics=(0.5, 0.25), stances=0)
    batch = collate(rows(paragraph, codebook=topics, soft=[alone]), pad_id=0)
    assert batch["soft_topics"].tolist() == [[0.5, 0.25]]
    assert batch["soft_stances"].shape == (1, 1, 0)
    exclusive = taught(paragraph, 0.0, [(0.5, 0.0), (0.0, 0.0)], {(0, 5): (0.25, 0.25)}, topics=(), stances=2)
    batch = collate(rows(paragraph, codebook=classes, soft=[exclusive]), pad_id=0)
    assert batch["soft_topics"].shape == (1, 0)
    assert batch["soft_stances"].tolist() == [[[0.25, 0.25]]]


def test_an_empty_text_that_is_taught(mark: Mark, rows: Rows) -> None:
    paragraph = mark("", voices=None, narrator_labelled=False)
    (row,) = rows(paragraph, soft=[taught(paragraph, 0.5, (), {NARRATOR_SPAN: (0.5, 0.0, 0.0, 0.0)})])
    assert in_rows(row["soft_voices"], 3) == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    assert row["mentions"] == [[0, 1]]
