"""The report of an evaluation: every figure with its interval and support, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from detente.errors import DataError
from detente_training.estimates import Figure

NOTHING = "(none)"  # column of a confusion table for paragraphs to which no stance was given


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1, each with the number of gold items as its support."""

    precision: Figure
    recall: Figure
    f1: Figure


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of (gold, predicted): `counts[i][j]` items of gold label `rows[i]` were given `columns[j]`."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TopicReport:
    """Support: gold paragraphs with the label; of `macro`, labelled paragraphs; of `ece`, probabilities."""

    labels: Mapping[str, Scores]
    macro: Scores
    ece: Figure


@dataclass(frozen=True, slots=True)
class VoiceReport:
    """Voices, micro-averaged. Support: gold voices; of `ece`, candidates.

    Attributes:
        overlap: a match shares a word (the narrator matches the narrator).
        exact: a match has the same first and last word.
        with_stance: a match by overlap that also has the right stance: the headline figure.
        mentions, narrator: `overlap` for marked mentions alone and for narrators alone.
        found: number of voices found.
        ece: calibration of `presence` over all candidates, see `evaluate`.
    """

    overlap: Scores
    exact: Scores
    with_stance: Scores
    mentions: Scores
    narrator: Scores
    found: int
    ece: Figure


@dataclass(frozen=True, slots=True)
class StanceReport:
    """One stance for each item. Support: items; of `labels`, gold items with that stance."""

    labels: Mapping[str, Scores]
    macro_f1: Figure
    accuracy: Figure
    ece: Figure
    confusion: Confusion


@dataclass(frozen=True, slots=True)
class Report:
    """All figures; a task that is labelled nowhere, or not in the codebook, is None.

    Attributes:
        stance: stance on gold mentions, narrators included.
        paragraph_stance: stance of paragraphs, gold by the codebook's rule.
        resamples, seed: of the bootstrap by document.
    """

    paragraphs: int
    documents: int
    resamples: int
    seed: int
    topics: TopicReport | None
    voices: VoiceReport | None
    stance: StanceReport | None
    paragraph_stance: StanceReport | None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists, ready for JSON."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Reads back what `to_dict` wrote; other keys are ignored.

        Raises:
            DataError: a key is missing, so that this is no report.
        """
        report: Report = _made(cls, data)
        return report


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def headline(report: Report) -> dict[str, float]:
    """The five figures that training watches; a figure that is undefined has no key.

    Keys: `topics_f1` (macro), `voices_f1` (overlap), `voice_stance_f1`, `stance_f1` (macro, on gold mentions)
    and `paragraph_stance_f1` (macro).
    """
    figures = {
        "topics_f1": report.topics.macro.f1 if report.topics else None,
        "voices_f1": report.voices.overlap.f1 if report.voices else None,
        "voice_stance_f1": report.voices.with_stance.f1 if report.voices else None,
        "stance_f1": report.stance.macro_f1 if report.stance else None,
        "paragraph_stance_f1": report.paragraph_stance.macro_f1 if report.paragraph_stance else None,
    }
    return {name: item.value for name, item in figures.items() if item is not None and item.value is not None}


def _made(kind: Any, data: Any) -> Any:
    """A dataclass, or a mapping of names to one, from plain data; None and numbers stay as they are."""
    if get_origin(kind) is UnionType:
        return None if data is None else _made(get_args(kind)[0], data)
    if get_origin(kind) is Mapping:
        return {name: _made(get_args(kind)[1], item) for name, item in data.items()}
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], item) for item in data)
    if not is_dataclass(kind):
        return data
    kinds = get_type_hints(kind)
    absent = [name for name in kinds if not isinstance(data, Mapping) or name not in data]
    if absent:
        raise DataError(
            f"this is no report of an evaluation: {', '.join(absent)} missing. "
            "Give a file that `detente evaluate --json` wrote"
        )
    return cast(Any, kind)(**{name: _made(item, data[name]) for name, item in kinds.items()})
