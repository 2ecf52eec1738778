"""A model's predictions for labelled paragraphs, in the form that evaluation takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.decoding import Candidate, Reading, decide, found, paragraph_stance
from detente.reader import NARRATOR_SPAN, Reader
from detente_training.labelled import LabelledParagraph
from detente_training.predictions import PredictedVoice, Prediction


def read_labelled_paragraphs(
    reader: Reader, paragraphs: Sequence[LabelledParagraph], progress: Callable[[int], None] | None = None
) -> list[tuple[Reading, list[list[float]]]]:
    """Reads each paragraph; beside its reading stand the stance probabilities of its gold voices.

    The gold narrator, if there is one, comes first, then the gold voices in text order.
    """
    marks = [
        ([NARRATOR_SPAN] if p.narrator is not None else []) + sorted((v.start, v.end) for v in p.voices or ())
        for p in paragraphs
    ]
    return reader.read([p.text for p in paragraphs], marks, progress)


def _predicted(candidate: Candidate, codebook: Codebook, calibration: Calibration) -> PredictedVoice:
    return PredictedVoice(
        start=candidate.start,
        end=candidate.end,
        narrator=candidate.start is None,
        presence=candidate.presence,
        stance=decide(candidate.stances, codebook, calibration),
        stances=dict(zip(codebook.stance_names, candidate.stances.tolist(), strict=True)),
    )


def prediction(
    reading: Reading, marked: Sequence[Sequence[float]], codebook: Codebook, calibration: Calibration
) -> Prediction:
    """Applies the thresholds to a reading."""
    topics = dict(zip(codebook.topic_names, reading.topics.tolist(), strict=True))
    voices = tuple(_predicted(c, codebook, calibration) for c in found(reading, calibration))
    return Prediction(
        topics=tuple(name for name, p in topics.items() if p >= calibration.topic_threshold(name)),
        topic_probabilities=topics,
        voices=voices,
        candidates=tuple(_predicted(c, codebook, calibration) for c in reading.candidates),
        stance=codebook.union(v.stance for v in voices),
        stance_probabilities=paragraph_stance(reading.candidates, codebook),
        gold_stances=tuple(dict(zip(codebook.stance_names, row, strict=True)) for row in marked),
        gold_decisions=tuple(decide(row, codebook, calibration) for row in marked),
    )


def predict(
    reader: Reader, paragraphs: Sequence[LabelledParagraph], progress: Callable[[int], None] | None = None
) -> list[Prediction]:
    """Predictions for labelled paragraphs, in order."""
    return [
        prediction(reading, marked, reader.codebook, reader.calibration)
        for reading, marked in read_labelled_paragraphs(reader, paragraphs, progress)
    ]
