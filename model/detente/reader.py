"""The reader: texts of any length in, probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.decoding import Mention, Reading, WindowLogits, find_mentions, margin, read_paragraph, softmax
from detente.encoding import Window, batches, token_span, tokens_on, windows
from detente.runtime import Runtime

Span = tuple[int, int]
NARRATOR_SPAN: Span = (-1, -1)  # stands for the narrator among marked mentions
BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Reader:
    """A network with everything that reading needs: texts in, probabilities out."""

    runtime: Runtime
    tokenizer: PreTrainedTokenizerBase
    codebook: Codebook
    calibration: Calibration
    window_tokens: int
    overlap_tokens: int
    batch_tokens: int = BATCH_TOKENS

    def read(
        self,
        texts: Sequence[str],
        marked: Sequence[Sequence[Span]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Reading, list[list[float]]]]:
        """Reads paragraphs of any length.

        Args:
            texts: the paragraphs.
            marked: for each text, mentions [start, end) (characters) whose stance is wanted whether or not the model
                finds them; NARRATOR_SPAN is the narrator.
            progress: called with the number of windows read so far, after each batch.

        Returns:
            For each text its reading, and the stance probabilities (S) of each of its marked mentions.
        """
        parts: list[list[tuple[Window, WindowLogits]]] = [[] for _ in texts]
        stances: list[dict[Span, tuple[float, npt.NDArray[np.float64]]]] = [{} for _ in texts]
        cut = windows(texts, self.tokenizer, self.window_tokens, self.overlap_tokens)
        wanted = _place(cut, marked) if marked else [{} for _ in cut]
        place = {id(window): i for i, window in enumerate(cut)}

        def find(logits: npt.NDArray[np.float32], window: Window) -> list[Mention]:
            return [*find_mentions(logits, window, self.calibration), *wanted[place[id(window)]].values()]

        done = 0
        for batch in batches(cut, self.tokenizer.pad_token_id or 0, self.batch_tokens):
            for window, logits in zip(batch.windows, self.runtime.forward(batch, find), strict=True):
                asked = wanted[place[id(window)]]
                count = len(logits.mentions) - len(asked)
                for row, span in enumerate(asked, start=count):
                    distance = np.inf if span == NARRATOR_SPAN else margin(window, *span)
                    if span not in stances[window.paragraph] or stances[window.paragraph][span][0] < distance:
                        probabilities = softmax(logits.stances[row] / self.calibration.stance_temperature)
                        stances[window.paragraph][span] = (distance, probabilities)
                own = WindowLogits(logits.topics, logits.mentions[:count], logits.stances[:count])
                parts[window.paragraph].append((window, own))
            done += len(batch.windows)
            if progress is not None:
                progress(done)
        readings = []
        for index, text in enumerate(texts):
            ordered = sorted(parts[index], key=lambda part: part[0].part)
            reading = read_paragraph(text, ordered, self.calibration)
            asked_for = marked[index] if marked else ()
            readings.append((reading, [stances[index][span][1].tolist() for span in asked_for]))
        return readings


def _place(cut: Sequence[Window], marked: Sequence[Sequence[Span]]) -> list[dict[Span, Mention]]:
    """For each window the marked mentions to read in it: those that it holds.

    A mention that every window cuts is read where most of it stands; one without a token, from the paragraph alone.
    """
    wanted = [_marks_in(window, marked[window.paragraph]) for window in cut]
    held = {(window.paragraph, span) for window, marks in zip(cut, wanted, strict=True) for span in marks}
    of_paragraph: dict[int, list[int]] = {}
    for i, window in enumerate(cut):
        of_paragraph.setdefault(window.paragraph, []).append(i)
    for paragraph, spans in enumerate(marked):
        for span in spans:
            if (paragraph, span) not in held:
                covered = {i: tokens_on(cut[i], *span) for i in of_paragraph[paragraph]}
                most = max(covered, key=lambda i: len(covered[i]))
                first, end = (int(covered[most][0]), int(covered[most][-1]) + 1) if len(covered[most]) else (0, 0)
                wanted[most][span] = Mention(first, end, 1.0)
    return wanted


def _marks_in(window: Window, spans: Sequence[Span]) -> dict[Span, Mention]:
    """The marked mentions that this window holds, as token spans."""
    held: dict[Span, Mention] = {}
    for span in spans:
        if span == NARRATOR_SPAN:
            if window.part == 0:
                held[span] = Mention(0, 1, 1.0)
        elif (tokens := token_span(window, *span)) is not None:
            held[span] = Mention(*tokens, 1.0)
    return held
