"""Distillation (Hinton et al. 2015), the teacher's side: soft labels for paragraphs that nobody has labelled."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detente.decoding import Mention, find_mentions, margin, sigmoid, softmax
from detente.documents import Paragraph
from detente.encoding import Window, batches, windows, words
from detente.errors import DetenteError
from detente.reader import NARRATOR_SPAN, Reader, Span
from detente_training.soft_labels import SoftLabels, write_soft_labels
from detente_training.whole_files import whole_file

PART = 1024  # paragraphs of one file, so of the work that an interruption costs
MANIFEST = "manifest.json"
FLOOR = 0.1  # presence under which a candidate is no mention worth learning from


def soft_labels(reader: Reader, paragraphs: Sequence[Paragraph]) -> list[SoftLabels]:
    """A model's calibrated probabilities for each paragraph, in order.

    A word that several windows hold, and a mention, are read in the window in which they stand furthest from an edge.
    """
    calibration = reader.calibration
    cut = windows([p.text for p in paragraphs], reader.tokenizer, reader.window_tokens, reader.overlap_tokens)
    of_paragraph: list[list[Window]] = [[] for _ in paragraphs]
    for window in cut:
        of_paragraph[window.paragraph].append(window)
    spans = [np.array(words(p.text), dtype=np.int64).reshape(-1, 2) for p in paragraphs]
    voices = [np.zeros((len(span), 2), dtype=np.float32) for span in spans]
    margins = [np.full(len(span), -np.inf) for span in spans]
    narrator = np.zeros(len(paragraphs))
    topics = np.zeros((len(paragraphs), len(reader.codebook.topics)))
    mentions: list[dict[Span, npt.NDArray[np.float64]]] = [{} for _ in paragraphs]

    def find(logits: npt.NDArray[np.float32], window: Window) -> Sequence[Mention]:
        number = window.paragraph
        if window.part == 0:
            narrator[number] = 1 - softmax(logits[0] / calibration.narrator_temperature)[0]
        probabilities = softmax(logits[: len(window)][window.heads] / calibration.voice_temperature)[:, 1:]
        word = np.searchsorted(spans[number][:, 1], window.offsets[window.heads, 0], side="right")
        distance = np.array([margin(window, *spans[number][w]) for w in word])
        better = distance > margins[number][word] if len(word) else np.zeros(0, dtype=bool)
        voices[number][word[better]] = probabilities[better]
        margins[number][word[better]] = distance[better]
        return [m for m in find_mentions(logits, window, calibration) if m.presence >= FLOOR]

    for batch in batches(cut, reader.tokenizer.pad_token_id or 0, reader.batch_tokens):
        for window, logits in zip(batch.windows, reader.runtime.forward(batch, find), strict=True):
            number = window.paragraph
            seen = sigmoid(logits.topics / calibration.topic_temperature)
            topics[number] = np.maximum(topics[number], seen)
            if not logits.stances.size:  # no mentions, or a codebook of topics alone
                continue
            stances = softmax(logits.stances / calibration.stance_temperature)
            for mention, row in zip(logits.mentions, stances, strict=True):
                if mention.first == 0 and not window.heads[0]:
                    mentions[number][NARRATOR_SPAN] = row * mention.presence
                    continue
                span = int(window.offsets[mention.first, 0]), int(window.offsets[mention.end - 1, 1])
                if margin(window, *span) == max(margin(other, *span) for other in of_paragraph[number]):
                    mentions[number][span] = row * mention.presence
    made = []
    for number, paragraph in enumerate(paragraphs):
        found = sorted(mentions[number])
        mass = np.array([mentions[number][span] for span in found]).reshape(len(found), len(reader.codebook.stances))
        made.append(
            SoftLabels(
                paragraph.id,
                paragraph.document,
                paragraph.text,
                topics[number].astype(np.float16),
                float(np.float16(narrator[number])),
                voices[number].astype(np.float16),
                tuple(found),
                mass.astype(np.float16),
            )
        )
    return made


def distil(
    reader: Reader,
    paragraphs: Iterable[Paragraph],
    folder: Path,
    teacher: str,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Writes a model's soft labels to `folder`, a file for every 1,024 paragraphs; gives their number.

    Files that an interrupted run has written are kept and not made again: they depend on their own paragraphs alone.

    Args:
        teacher: what identifies the model's weights and calibration (the hash of its manifest).
        progress: called with the number of paragraphs done.

    Raises:
        DetenteError: the folder holds the soft labels of another model or of other paragraphs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / MANIFEST
    if described.exists():
        before = json.loads(described.read_text(encoding="utf-8"))
    else:
        before = {"teacher": teacher, "parts": {}}
    if before["teacher"] != teacher:
        raise DetenteError(f"{folder} holds the soft labels of another model; name another folder")
    done = 0
    rows = iter(paragraphs)
    for number in itertools.count():
        part = list(itertools.islice(rows, PART))
        if not part:
            break
        name = f"part-{number:05d}.parquet"
        content = hashlib.sha256(json.dumps([(p.id, p.document, p.text) for p in part]).encode()).hexdigest()
        if before["parts"].get(name, content) != content:
            raise DetenteError(f"{folder} holds the soft labels of other paragraphs; name another folder")
        if name not in before["parts"] or not (folder / name).is_file():
            beside = folder / f".{name}.making"  # readers take every *.parquet
            try:
                write_soft_labels(beside, soft_labels(reader, part), reader.codebook)
                beside.replace(folder / name)
            finally:
                beside.unlink(missing_ok=True)
            before["parts"][name] = content
            with whole_file(described) as file:
                file.write(json.dumps(before, indent=1))
        done += len(part)
        if progress is not None:
            progress(done)
    if len(before["parts"]) > number:
        raise DetenteError(f"{folder} holds the soft labels of more paragraphs; name another folder")
    return done
