"""Fitting temperatures and thresholds on validation documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader

from detente.calibration import Calibration
from detente.decoding import Reading
from detente.network import NARRATOR_TOKEN, DetenteModel
from detente.reader import Reader
from detente_training.dataset import IGNORED, collate, training_windows
from detente_training.labelled import LabelledParagraph
from detente_training.matching import match_mentions
from detente_training.objective import class_loss, topic_loss
from detente_training.predict import prediction, read_labelled_paragraphs
from detente_training.stance_weights import fit_stance_weights

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
TEMPERATURES = np.geomspace(0.2, 5.0, 161)  # 2% steps; a model that needs more than this is broken


def fit_calibration(
    model: DetenteModel,
    reader: Reader,
    paragraphs: Sequence[LabelledParagraph],
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Temperatures that minimise each head's loss, thresholds that maximise each F1 under them, then stance weights.

    Args:
        model: the trained network.
        reader: a reader over the same network; its calibration is ignored.
        paragraphs: labelled validation paragraphs, none of them trained on.
        progress: called with the number of windows read.

    Returns:
        The calibration. A head or topic without labels in `paragraphs` keeps temperature 1 and threshold 0.5.
    """
    reader = replace(reader, calibration=fit_temperatures(model, reader, paragraphs))
    read = read_labelled_paragraphs(reader, paragraphs, progress)
    calibration = fit_thresholds(reader, paragraphs, [reading for reading, _ in read])
    predictions = [prediction(reading, marked, reader.codebook, calibration) for reading, marked in read]
    return replace(calibration, stance_weights=fit_stance_weights(paragraphs, predictions, reader.codebook))


@torch.inference_mode()
def fit_temperatures(model: DetenteModel, reader: Reader, paragraphs: Sequence[LabelledParagraph]) -> Calibration:
    """One temperature for each head and one for the narrator, by minimum negative log-likelihood (Guo et al. 2017)."""
    rows = training_windows(paragraphs, reader.tokenizer, reader.codebook, reader.window_tokens, reader.overlap_tokens)
    rows = rows.select(np.argsort(rows["length"], kind="stable"))
    pad_id = reader.tokenizer.pad_token_id or 0
    pairs: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {
        k: [] for k in ("topic", "voice", "narrator", "stance")
    }
    model.eval()  # type: ignore[no-untyped-call]
    for batch in DataLoader(rows, batch_size=32, collate_fn=partial(collate, pad_id=pad_id)):
        inputs = {k: batch[k].to(model.device) for k in ("input_ids", "attention_mask", "mentions")}
        output = model(**inputs)
        narrator = batch["voice_labels"][:, NARRATOR_TOKEN].clone()
        batch["voice_labels"][:, NARRATOR_TOKEN] = IGNORED
        for name, logits, labels in (
            ("topic", output.topics, batch["topic_labels"]),
            ("voice", output.voices.flatten(0, 1), batch["voice_labels"].flatten()),
            ("narrator", output.voices[:, NARRATOR_TOKEN], narrator),
            ("stance", output.stances.flatten(0, 1), batch["stance_labels"].flatten()),
        ):
            pairs[name].append((logits.float().cpu(), labels))
    return Calibration(
        topic_temperature=best_temperature(pairs["topic"], topic_loss),
        voice_temperature=best_temperature(pairs["voice"], class_loss),
        narrator_temperature=best_temperature(pairs["narrator"], class_loss),
        stance_temperature=best_temperature(pairs["stance"], class_loss),
    )


def best_temperature(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], loss: Loss) -> float:
    """The temperature at which batches of (logits, labels) have the least loss; 1 where nothing is labelled."""
    logits, labels = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
    if not (labels != IGNORED).any():
        return 1.0
    values = [float(loss(logits / t, labels)) for t in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(values))]), 4)


def fit_thresholds(reader: Reader, paragraphs: Sequence[LabelledParagraph], readings: Sequence[Reading]) -> Calibration:
    """For each topic, for the voices and for the narrator the threshold with the best F1.

    Args:
        reader: the reader that read them; thresholds are added to its calibration.
        readings: what it read in each paragraph.
    """
    topic_thresholds = {}
    for column, topic in enumerate(reader.codebook.topic_names):
        labelled = [
            (r.topics[column], topic in p.topics)
            for r, p in zip(readings, paragraphs, strict=True)
            if p.topics is not None
        ]
        topic_thresholds[topic] = best_threshold(labelled, sum(gold for _, gold in labelled))
    voices: list[tuple[float, bool]] = []
    narrators: list[tuple[float, bool]] = []
    gold_voices = gold_narrators = 0
    for reading, paragraph in zip(readings, paragraphs, strict=True):
        if paragraph.narrator_labelled:
            gold_narrators += paragraph.narrator is not None
            narrators += [(c.presence, paragraph.narrator is not None) for c in reading.candidates if c.start is None]
        if paragraph.voices is not None:
            spans = [
                (c.start, c.end, c.presence) for c in reading.candidates if c.start is not None and c.end is not None
            ]
            likeliest_first = sorted(range(len(spans)), key=lambda i: -spans[i][2])
            gold = [(v.start, v.end) for v in paragraph.voices]
            matched = {m.found for m in match_mentions(paragraph.text, gold, [s[:2] for s in spans], likeliest_first)}
            gold_voices += len(gold)
            voices += [(span[2], i in matched) for i, span in enumerate(spans)]
    return replace(
        reader.calibration,
        topic_thresholds=topic_thresholds,
        voice_threshold=best_threshold(voices, gold_voices),
        narrator_threshold=best_threshold(narrators, gold_narrators),
    )


def best_threshold(scored: Sequence[tuple[float, bool]], gold: int) -> float:
    """The probability from which on saying yes gives the best F1.

    Args:
        scored: for each case its probability and whether it is right.
        gold: how many right cases there are, those without a score included.

    Returns:
        The midpoint between the last case let in and the first left out; 0.5 where there is nothing to fit on.
    """
    if not gold or not any(right for _, right in scored):
        return 0.5
    ordered = sorted(scored, key=lambda case: -case[0])
    scores = np.array([score for score, _ in ordered])
    hits = np.cumsum([right for _, right in ordered])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + gold)
    f1[np.append(scores[1:] == scores[:-1], False)] = -1  # equal scores cannot be told apart
    last = int(np.argmax(f1))
    below = scores[last + 1] if last + 1 < len(scores) else 0.0
    middle = float((scores[last] + below) / 2)
    short = round(middle, 4)
    return short if below < short <= scores[last] else middle
