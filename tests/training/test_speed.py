"""The shape of the benchmark's result; no time is asserted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from detente.errors import DataError, DetenteError
from detente.tagger import Tagger
from detente_training.annotation import LabelledParagraph
from detente_training.speed import Speed, measure_speed, sample

Mark = Callable[..., LabelledParagraph]


@pytest.fixture
def paragraphs(mark: Mark) -> list[LabelledParagraph]:
    return [mark(f"The envoy said talks must resume on day {n}.", f"d-{n}") for n in (3, 1, 0, 2, 4)]


def test_the_sample_is_spread_over_the_data_whatever_their_order(paragraphs: list[LabelledParagraph]) -> None:
    assert [p.id for p in sample(paragraphs, 3)] == ["d-0", "d-1", "d-3"]
    assert sample(paragraphs[::-1], 3) == sample(paragraphs, 3)
    assert [p.id for p in sample(paragraphs)] == ["d-0", "d-1", "d-2", "d-3", "d-4"]
    assert sample([]) == []


def test_the_result(tagger: Tagger, paragraphs: list[LabelledParagraph]) -> None:
    chosen = sample(paragraphs, 4)
    speed = measure_speed(tagger, chosen, rounds=2)
    assert (speed.paragraphs, speed.rounds, speed.device) == (4, 2, "cpu")
    assert speed.tokens == sum(len(tagger.reader.tokenizer(p.text).input_ids) for p in chosen)
    assert speed.paragraphs_per_second > 0
    assert speed.ratio > 0
    assert speed.threads >= 1
    assert Speed.from_dict(speed.to_dict()) == speed


def test_in_words() -> None:
    speed = Speed(256, 25600, 80.0, 1.05, 3, "cpu", 2)
    assert speed.to_dict()["place"] == "2 CPU threads"
    assert replace(speed, threads=1).place == "1 CPU thread"
    assert replace(speed, device="cuda").place == "one device `cuda`"


def test_what_cannot_be_measured(tagger: Tagger, paragraphs: list[LabelledParagraph]) -> None:
    with pytest.raises(DataError, match="no paragraphs to measure the speed on"):
        measure_speed(tagger, [])
    other = Tagger(replace(tagger.reader, runtime=object()))  # type: ignore[arg-type]
    with pytest.raises(DetenteError, match="only where PyTorch computes"):
        measure_speed(other, sample(paragraphs))
    with pytest.raises(DataError, match="no benchmark of speed: they lack ratio, rounds"):
        Speed.from_dict({"paragraphs": 1, "tokens": 1, "paragraphs_per_second": 1.0, "device": "cpu", "threads": 1})
