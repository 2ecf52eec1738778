"""Texts of any length -> probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from detente.calibration import Calibration
from detente.decoding import Reading, sigmoid, softmax
from detente.encoding import token_span, windows
from detente.reader import NARRATOR_SPAN, Reader

if TYPE_CHECKING:
    from detente.tagger import Tagger

TEXTS = [
    "The envoy urged the government to keep up the pressure, while opposition groups wanted reconciliation.",
    "“Accountability must come first,” said Marzuki Darusman, the U.N. rapporteur.",
    "",
    "Pyongyang has denied the abuses but has refused to let inspectors in.",
    "The minister said drills would go on while the hotline stayed open. " * 8,
    "These groups say trade and contact would give the North reasons to open up.",
]
LONG = TEXTS[4]


@pytest.fixture(scope="module")
def reader(tagger: Tagger) -> Reader:
    """A reader that takes many candidates: windows of 64 tokens, random weights."""
    return replace(tagger.reader, calibration=Calibration(stance_temperature=1.5, topic_temperature=2.0))


def alike(one: Reading, two: Reading) -> None:
    assert one.windows == two.windows
    np.testing.assert_allclose(one.topics, two.topics, atol=1e-5)
    assert [(c.start, c.end) for c in one.candidates] == [(c.start, c.end) for c in two.candidates]
    for a, b in zip(one.candidates, two.candidates, strict=True):
        assert a.presence == pytest.approx(b.presence, abs=1e-5)
        np.testing.assert_allclose(a.stances, b.stances, atol=1e-5)


def test_nothing_to_read(reader: Reader) -> None:
    assert reader.read([]) == []
    assert reader.read([], marked=[]) == []


def test_a_reading_does_not_depend_on_its_neighbours(reader: Reader) -> None:
    together = reader.read(TEXTS)
    assert sum(len(reading.candidates) for reading, _ in together) > 10
    for text, (reading, _) in zip(TEXTS, together, strict=True):
        alike(reading, reader.read([text])[0][0])
    backwards = reader.read(TEXTS[::-1])[::-1]
    in_small_batches = replace(reader, batch_tokens=16).read(TEXTS)
    for (one, _), (two, _), (three, _) in zip(together, backwards, in_small_batches, strict=True):
        alike(one, two)
        alike(one, three)


def test_a_long_text_is_read_in_several_windows(reader: Reader) -> None:
    reader = replace(reader, calibration=replace(reader.calibration, candidate_floor=1e-4))
    ((long, _),) = reader.read([LONG])
    cut = windows([LONG], reader.tokenizer, 64, 16)
    assert long.windows == len(cut) > 2
    network = reader.runtime.model  # type: ignore[attr-defined]
    with torch.inference_mode():
        outputs = [network(torch.from_numpy(w.input_ids)[None]) for w in cut]
    highest = np.max([sigmoid(output.topics[0].double().numpy() / 2.0) for output in outputs], axis=0)
    np.testing.assert_allclose(long.topics, highest, atol=1e-5)
    narrator = 1 - softmax(outputs[0].voices[0, 0].double().numpy())[0]
    assert [c.presence for c in long.candidates if c.start is None] == [pytest.approx(narrator, abs=1e-5)]
    assert [c.start for c in long.candidates[1:]] == sorted(c.start for c in long.candidates[1:])
    assert max(c.end for c in long.candidates[1:]) > len(LONG) * 3 // 4  # voices to the end of the text


def test_a_text_that_fits_one_window_reads_the_same_in_a_wider_one(reader: Reader) -> None:
    wide = replace(reader, window_tokens=512)
    ((whole, _),) = wide.read([LONG])
    assert whole.windows == 1
    ((short, _),) = wide.read([TEXTS[0]])
    alike(short, reader.read([TEXTS[0]])[0][0])


def test_marked_mentions_have_the_stance_of_their_tokens(reader: Reader) -> None:
    text = TEXTS[1]
    start = text.index("Marzuki")
    span = (start, start + len("Marzuki Darusman"))
    ((_, stances), (_, none)) = reader.read([text, TEXTS[3]], marked=[[NARRATOR_SPAN, span], []])
    assert none == []
    (window,) = windows([text], reader.tokenizer, 64, 16)
    tokens = token_span(window, *span)
    assert tokens is not None
    with torch.inference_mode():
        logits = reader.runtime.model(  # type: ignore[attr-defined]
            torch.from_numpy(window.input_ids)[None], mentions=torch.tensor([[[0, 1], tokens]])
        ).stances[0]
    np.testing.assert_allclose(stances, softmax(logits.double().numpy() / 1.5), atol=1e-5)


def test_marking_does_not_change_the_reading(reader: Reader) -> None:
    marked = [[(0, 3), NARRATOR_SPAN] if text else [] for text in TEXTS]
    for (one, stances), (two, _) in zip(reader.read(TEXTS, marked), reader.read(TEXTS), strict=True):
        alike(one, two)
        assert all(sum(row) == pytest.approx(1) for row in stances)


def test_every_mark_is_answered_wherever_it_stands(reader: Reader) -> None:
    everywhere = [(place, place + 8) for place in range(0, len(LONG) - 8, 40)]
    longer_than_a_window = (0, len(LONG))
    without_a_token = (5, 6)
    ((_, of_long), (_, of_nul)) = reader.read(
        [LONG, "said \0 so"], marked=[[*everywhere, longer_than_a_window], [without_a_token]]
    )
    assert len(of_long) == len(everywhere) + 1
    for row in (*of_long, *of_nul):
        assert len(row) == 4
        assert sum(row) == pytest.approx(1)


def test_progress_counts_windows(reader: Reader) -> None:
    seen: list[int] = []
    replace(reader, batch_tokens=64).read([LONG, TEXTS[0]], progress=seen.append)
    total = len(windows([LONG, TEXTS[0]], reader.tokenizer, 64, 16))
    assert seen == sorted(seen)
    assert seen[-1] == total
    assert len(seen) > 1
