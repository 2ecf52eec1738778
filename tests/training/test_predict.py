"""Predictions for labelled paragraphs: what evaluation is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detente.calibration import Calibration
from detente.tagger import Tagger
from detente_training.annotation import LabelledParagraph, LabelledVoice
from detente_training.metrics import evaluate
from detente_training.predict import predict, read_labelled_paragraphs
from detente_training.report import headline

if TYPE_CHECKING:
    from detente.reader import Reader

Mark = Callable[..., LabelledParagraph]


@pytest.fixture(scope="module")
def tagger(trained: Path) -> Tagger:
    return Tagger.from_pretrained(trained, device="cpu")


@pytest.fixture(scope="module")
def reader(tagger: Tagger) -> Reader:
    return tagger.reader


def test_a_prediction_is_what_the_tagger_says(tagger: Tagger, corpus: list[LabelledParagraph]) -> None:
    predictions = predict(tagger.reader, corpus)
    tags = tagger.tag_paragraphs([p.text for p in corpus])
    assert len(predictions) == len(corpus)
    for found, tag in zip(predictions, tags, strict=True):
        assert found.topics == tag.topics
        assert found.topic_probabilities == tag.topic_probabilities
        assert found.stance == tag.stance
        # stances of gold mentions are asked for in the same pass, which may change how sums are rounded
        assert found.stance_probabilities == pytest.approx(tag.stance_probabilities, abs=1e-6)
        assert [(v.start, v.end, v.narrator, v.presence, v.stance) for v in found.voices] == [
            (v.start, v.end, v.narrator, v.presence, v.stance) for v in tag.voices
        ]
        for one, other in zip(found.voices, tag.voices, strict=True):
            assert one.stances == pytest.approx(other.stances, abs=1e-6)


def test_the_tiny_model_has_learned(reader: Reader, corpus: list[LabelledParagraph]) -> None:
    train = [p for p in corpus if p.split == "train"]
    figures = headline(evaluate(train, predict(reader, train), reader.codebook))
    assert figures["topics_f1"] > 0.85
    assert figures["voices_f1"] > 0.9
    assert figures["voice_stance_f1"] > 0.8


def test_gold_mentions_have_stances_narrator_first(reader: Reader, mark: Mark) -> None:
    paragraph = mark("{{e|Varga}} said talks must go on, {{p|Okoro}} said.", narrator="mixed")
    shuffled = replace(paragraph, id="a-1", voices=tuple(reversed(paragraph.voices or ())))
    nothing = mark("Rice was poor.", "a-2", voices=None, narrator_labelled=False)
    first, second, third = predict(reader, [paragraph, shuffled, nothing])
    assert len(first.gold_stances) == 3
    assert list(first.gold_stances[0]) == ["engagement", "pressure", "mixed", "neutral"]
    assert all(sum(row.values()) == pytest.approx(1) for row in first.gold_stances)
    assert [list(row.values()) for row in second.gold_stances] == [
        pytest.approx(list(row.values())) for row in first.gold_stances
    ]  # text order, whatever the record's
    assert third.gold_stances == ()


def test_a_found_voice_and_a_gold_voice_at_the_same_place_agree(reader: Reader, mark: Mark) -> None:
    (found,) = predict(reader, [mark("{{e|Varga}} said talks must go on.")])
    (voice,) = (v for v in found.candidates if (v.start, v.end) == (0, 5))
    assert dict(voice.stances) == pytest.approx(dict(found.gold_stances[0]))


def test_thresholds_are_applied(reader: Reader, corpus: list[LabelledParagraph]) -> None:
    everything = replace(
        reader,
        calibration=replace(
            reader.calibration,
            topic_thresholds=dict.fromkeys(reader.codebook.topic_names, 0.0),
            voice_threshold=0.0,
            narrator_threshold=0.0,
        ),
    )
    nothing = replace(
        reader,
        calibration=replace(
            reader.calibration,
            topic_thresholds=dict.fromkeys(reader.codebook.topic_names, 1.0),
            voice_threshold=1.0,
            narrator_threshold=1.0,
        ),
    )
    for all_of, none_of in zip(predict(everything, corpus), predict(nothing, corpus), strict=True):
        assert all_of.topics == ("human_rights", "military_tension", "diplomacy")
        assert all_of.voices == all_of.candidates == none_of.candidates
        assert (none_of.topics, none_of.voices, none_of.stance) == ((), (), "neutral")
        assert none_of.stance_probabilities == all_of.stance_probabilities  # over candidates, not over what is printed


def test_windows_are_counted_as_they_are_read(reader: Reader, mark: Mark) -> None:
    done: list[int] = []
    long = mark("Talks must go on. " * 30)
    readings = read_labelled_paragraphs(replace(reader, batch_tokens=64), [long, mark("Rice.", "a-1")], done.append)
    assert [reading.windows for reading, _ in readings] == [5, 1]
    assert done == sorted(done)
    assert done[-1] == 6


def test_a_mention_that_every_window_cuts_has_a_stance_still(reader: Reader, mark: Mark) -> None:
    narrow = replace(reader, window_tokens=10, overlap_tokens=0, calibration=Calibration())
    cut = mark("Varga said talks must go on {{p|the king of Lindt}} said.")  # eight tokens to a window
    whole = mark("{{p|Varga}} said.", "a-1")
    first, second = predict(narrow, [cut, whole])
    assert sum(first.gold_stances[0].values()) == pytest.approx(1)
    assert sum(second.gold_stances[0].values()) == pytest.approx(1)


def test_a_mention_longer_than_the_window(reader: Reader) -> None:
    text = "The king " * 10 + "said."
    long = LabelledParagraph("a-0", "a", text, (), (LabelledVoice(0, 89, "neutral"),), None, True)
    (found,) = predict(replace(reader, window_tokens=10, overlap_tokens=4), [long])
    assert sum(found.gold_stances[0].values()) == pytest.approx(1)


def test_a_mention_that_the_tokenizer_does_not_see(reader: Reader) -> None:
    unseen = LabelledParagraph("a-0", "a", "\u200b said.", (), (LabelledVoice(0, 1, "neutral"),), None, True)
    (found,) = predict(reader, [unseen])
    assert sum(found.gold_stances[0].values()) == pytest.approx(1)


def test_nothing_to_predict(reader: Reader) -> None:
    assert predict(reader, []) == []
