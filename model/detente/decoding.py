"""Logits -> probabilities -> candidate voices -> tags.

Softmax and sigmoid are applied here and nowhere else. The formulas for a paragraph take its voices as independent:
with d_v the probability that voice v is there and s_v its distribution over stances, the poles present in the
paragraph all lie in a set A with probability

    P(poles within A) = prod_v (1 - d_v + d_v * sum of s_v over the stances whose poles lie within A)

and the probability of each exact set follows by inclusion and exclusion. For the built-in codebook that is: neutral =
P(within {}), engagement = P(within {e}) - neutral, pressure likewise, mixed = the rest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.encoding import Window, words
from detente.tags import NARRATOR, Voice

Floats = npt.NDArray[np.float64]
_AFTER_A_MENTION = frozenset(',;:!?"\u201d\u00bb')  # signs that a mention never ends in


@dataclass(frozen=True, slots=True)
class Mention:
    """A candidate voice in one window: tokens [first, end), and the probability that it is there."""

    first: int
    end: int
    presence: float


@dataclass(frozen=True, slots=True)
class WindowLogits:
    """What the network says of one window.

    Attributes:
        topics: topic logits, (K,).
        mentions: the candidate voices; the narrator, if it is one, is first.
        stances: stance logits, a row for each mention, (M, S).
    """

    topics: Floats
    mentions: tuple[Mention, ...]
    stances: Floats


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate voice of a paragraph, by character offsets; the narrator has none. `stances` sums to 1, (S,)."""

    start: int | None
    end: int | None
    presence: float
    stances: Floats


@dataclass(frozen=True, slots=True)
class Reading:
    """Probabilities for one paragraph.

    Attributes:
        topics: of each topic, (K,).
        candidates: its candidate voices, narrator first, then in text order.
        windows: in how many windows it was read.
    """

    topics: Floats
    candidates: tuple[Candidate, ...]
    windows: int


def sigmoid(logits: npt.ArrayLike) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.asarray(logits, dtype=np.float64)))


def softmax(logits: npt.ArrayLike) -> Floats:
    """Softmax over the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    exp = np.exp(values - values.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def find_mentions(voice_logits: npt.ArrayLike, window: Window, calibration: Calibration) -> tuple[Mention, ...]:
    """Candidate voices of one window, from the voice head's logits (T, 3); T may include padding.

    A candidate begins at a word whose probability of `begin` reaches the floor, and goes on while the next word is
    more likely inside it than not, given that it is there. Overlapping candidates are rival readings of one mention:
    the likelier one stays and takes the others' probability.
    """
    logits = np.asarray(voice_logits, dtype=np.float64)
    found: list[Mention] = []
    if window.part == 0:
        presence = float(1.0 - softmax(logits[0] / calibration.narrator_temperature)[0])
        if presence >= calibration.candidate_floor:
            found.append(Mention(0, 1, presence))
    heads = np.flatnonzero(window.heads)
    if not len(heads):
        return tuple(found)
    _, begin, inside = softmax(logits[heads] / calibration.voice_temperature).T
    tokens = np.flatnonzero(window.offsets[:, 1] > window.offsets[:, 0])  # those that cover text
    last_of_word = tokens[np.searchsorted(tokens, np.append(heads[1:], len(window)), side="left") - 1]
    candidates: list[Mention] = []  # in words, both ends included
    for first in np.flatnonzero(begin >= calibration.candidate_floor).tolist():
        last = first
        while last + 1 < len(heads) and inside[last + 1] >= max(begin[last + 1], begin[first] / 2):
            last += 1
        candidates.append(Mention(first, last, float(begin[first])))
    kept: list[Mention] = []
    for candidate in sorted(candidates, key=lambda c: (-c.presence, c.first)):
        rival = next((i for i, k in enumerate(kept) if candidate.first <= k.end and k.first <= candidate.end), None)
        if rival is None:
            kept.append(candidate)
        else:
            kept[rival] = replace(kept[rival], presence=min(1.0, kept[rival].presence + candidate.presence))
    found += [
        Mention(int(heads[c.first]), int(last_of_word[c.end]) + 1, c.presence)
        for c in sorted(kept, key=lambda c: c.first)
    ]
    return tuple(found)


def _reach(window: Window) -> tuple[float, float]:
    """First and last character (exclusive) that a window holds; infinite where the paragraph begins and ends."""
    covered = window.offsets[window.offsets[:, 1] > window.offsets[:, 0]]
    left = -np.inf if window.part == 0 else float(covered[0, 0]) if len(covered) else np.inf
    right = np.inf if window.part == window.parts - 1 else float(covered[-1, 1]) if len(covered) else -np.inf
    return left, right


def margin(window: Window, start: int, end: int) -> float:
    """Characters between a span and the nearest edge of the window inside its paragraph; below 0 if not held."""
    left, right = _reach(window)
    return min(start - left, right - end)


def _whole_words(text: str, spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """Token offsets -> those of the words (`spans`, in order) that they touch, without closing signs; None if none.

    Byte-level tokens carry blanks, a token may end in punctuation, and a window's edge may cut a word.
    """
    first = bisect_right(spans, start, key=lambda span: span[1])
    last = bisect_left(spans, end, key=lambda span: span[0]) - 1
    while last > first and text[spans[last][0]] in _AFTER_A_MENTION:
        last -= 1
    return (spans[first][0], spans[last][1]) if first <= last else None


def read_paragraph(text: str, parts: Sequence[tuple[Window, WindowLogits]], calibration: Calibration) -> Reading:
    """Merges the windows of one paragraph into probabilities.

    Topics: maximum of the probability over the windows. Narrator: the first window. Other voices: by character
    offset, from the window in which the mention stands furthest from an edge. A model without stances (a codebook
    of topics alone) has no voices.
    """
    topics = np.max([sigmoid(logits.topics / calibration.topic_temperature) for _, logits in parts], axis=0)
    narrator: list[Candidate] = []
    spans: dict[tuple[int, int], tuple[float, Candidate]] = {}
    word_spans = words(text)
    lefts, rights = np.array([_reach(window) for window, _ in parts]).T
    for window, logits in parts:
        if not logits.stances.size:
            continue
        probabilities = softmax(logits.stances / calibration.stance_temperature)
        for mention, stances in zip(logits.mentions, probabilities, strict=True):
            if mention.first == 0 and mention.end == 1 and not window.heads[0]:
                narrator.append(Candidate(None, None, mention.presence, stances))
                continue
            offsets = int(window.offsets[mention.first, 0]), int(window.offsets[mention.end - 1, 1])
            span = _whole_words(text, word_spans, *offsets)
            if span is None:
                continue
            distance = margin(window, *span)
            if np.minimum(span[0] - lefts, rights - span[1]).max() > distance:
                continue  # another window sees more of what is around it
            if span not in spans or spans[span][0] < distance:
                spans[span] = (distance, Candidate(*span, mention.presence, stances))
    kept: list[tuple[int, int, Candidate]] = []  # in text order
    for (start, end), (_, candidate) in sorted(spans.items(), key=lambda item: (-item[1][1].presence, item[0])):
        # Two windows may cut one mention differently; the likelier reading stays.
        place = bisect_left(kept, start, key=lambda other: other[0])
        if (place == 0 or kept[place - 1][1] <= start) and (place == len(kept) or end <= kept[place][0]):
            kept.insert(place, (start, end, candidate))
    return Reading(topics, (*narrator, *(candidate for _, _, candidate in kept)), len(parts))


def paragraph_stance(candidates: Sequence[Candidate], codebook: Codebook) -> dict[str, float]:
    """Probability of each stance of the paragraph over all candidate voices, by the formula above.

    Sums to 1 when every set of poles has a stance in the codebook; sets without one keep their share to themselves.
    """
    presence = np.array([c.presence for c in candidates])
    stances = np.array([c.stances for c in candidates]).reshape(len(candidates), len(codebook.stances))
    sets = [frozenset(stance.poles) for stance in codebook.stances]

    def within(poles: frozenset[str]) -> float:
        allowed = np.array([s <= poles for s in sets])
        return float(np.prod(1 - presence + presence * stances[:, allowed].sum(axis=1)))

    result = {}
    for stance, poles in zip(codebook.stances, sets, strict=True):
        subsets = [frozenset(c) for size in range(len(poles) + 1) for c in combinations(sorted(poles), size)]
        total = sum((-1) ** (len(poles) - len(subset)) * within(subset) for subset in subsets)
        result[stance.name] = min(1.0, max(0.0, total))
    return result


def pole_lean(candidates: Sequence[Candidate], codebook: Codebook) -> float | None:
    """P(second pole present) - P(first pole present), in [-1, 1]; None unless the codebook has two poles.

    With the built-in codebook: pressure minus engagement. For a single voice give it a presence of 1.
    """
    if len(codebook.poles) != 2:
        return None
    present = []
    for pole in codebook.poles:
        lacking = np.array([pole.name not in stance.poles for stance in codebook.stances])
        present.append(1 - np.prod([1 - c.presence + c.presence * c.stances[lacking].sum() for c in candidates]))
    return float(present[1] - present[0])


def decide(stances: Sequence[float] | Floats, codebook: Codebook, calibration: Calibration) -> str:
    """The stance of a voice with these probabilities (S): the largest after the fitted weights; the first of equals."""
    names = codebook.stance_names
    weights = [calibration.stance_weights.get(name, 1.0) for name in names]
    return names[int(np.argmax(np.asarray(stances) * weights))]


def voice(candidate: Candidate, text: str, codebook: Codebook, calibration: Calibration) -> Voice:
    """The public form of a candidate."""
    is_narrator = candidate.start is None
    return Voice(
        mention=NARRATOR if is_narrator else text[candidate.start : candidate.end],
        start=candidate.start,
        end=candidate.end,
        narrator=is_narrator,
        speaker=None,
        presence=candidate.presence,
        stance=decide(candidate.stances, codebook, calibration),
        stances=dict(zip(codebook.stance_names, map(float, candidate.stances), strict=True)),
        lean=pole_lean([Candidate(None, None, 1.0, candidate.stances)], codebook),
    )


def found(reading: Reading, calibration: Calibration) -> tuple[Candidate, ...]:
    """The candidates whose presence reaches the threshold."""
    return tuple(
        c
        for c in reading.candidates
        if c.presence >= (calibration.narrator_threshold if c.start is None else calibration.voice_threshold)
    )
