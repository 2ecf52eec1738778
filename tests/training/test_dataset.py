"""Labels brought down to tokens, and rows padded to batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from detente.codebook import Codebook, Label, Stance
from detente_training.annotation import LabelledParagraph
from detente_training.dataset import IGNORED, collate, training_windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

X = IGNORED
Mark = Callable[..., LabelledParagraph]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(tiny_tokenizer: PreTrainedTokenizerBase) -> Rows:
    def made(
        *paragraphs: LabelledParagraph, size: int = 48, overlap: int = 12, codebook: Codebook | None = None
    ) -> list[dict[str, Any]]:
        return training_windows(paragraphs, tiny_tokenizer, codebook or Codebook.default(), size, overlap).to_list()

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
