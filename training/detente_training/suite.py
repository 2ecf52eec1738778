"""Minimal pairs: two paragraphs that differ in little and are labelled apart; a model must read both right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.estimates import Figure, share
from detente_training.labelled import LabelledParagraph, Problem, read_labelled
from detente_training.matching import match_mentions
from detente_training.predictions import Prediction, decided_stances, gold_stances_to_compare, mention_spans
from detente_training.rows import files_at, rows
from detente_training.tables import show

_SHOWN = 10  # mistakes that are listed; the rest are counted


@dataclass(frozen=True, slots=True)
class Pair:
    """The two paragraphs of one document; in both, voices and narrator are labelled.

    Attributes:
        id: the document's.
        phenomenon: what the pair tests.
    """

    id: str
    phenomenon: str
    sides: tuple[LabelledParagraph, LabelledParagraph]


@dataclass(frozen=True, slots=True)
class SuiteScores:
    """Shares of pairs with both sides right, each with a Wilson interval; their support is `pairs`.

    Attributes:
        pairs: how many.
        in_question: the stance on every labelled voice that the pair is about is right, see `in_question`.
        on_gold_mentions: the stance on every labelled voice is right, see `right_on_gold_mentions`.
        end_to_end: the labelled voices and no others are found, with their stances, see `right_end_to_end`.
    """

    pairs: int
    in_question: Figure
    on_gold_mentions: Figure
    end_to_end: Figure


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """The scores of each phenomenon, in the order of the suite, and of all pairs together."""

    phenomena: Mapping[str, SuiteScores]
    all: SuiteScores

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries, ready for JSON."""
        return {"phenomena": {name: asdict(scores) for name, scores in self.phenomena.items()}, "all": asdict(self.all)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SuiteReport:
        """Reads back what `to_dict` wrote; other keys beside `phenomena` and `all` are ignored.

        Raises:
            DataError: something is missing, so that this is no report.
        """
        try:
            return cls(
                {name: _read_scores(item) for name, item in data["phenomena"].items()}, _read_scores(data["all"])
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                "this is no report of a suite. Give what `detente evaluate --suite SUITE --json FILE` wrote "
                "under the key `suite`"
            ) from error


def _read_scores(data: Mapping[str, Any]) -> SuiteScores:
    return SuiteScores(
        data["pairs"], Figure(**data["in_question"]), Figure(**data["on_gold_mentions"]), Figure(**data["end_to_end"])
    )


def read_suite(path: str | Path, codebook: Codebook) -> list[Pair]:
    """Reads minimal pairs: a labelled file, or a folder for every *.jsonl in it.

    The two sides of a pair are labelled records with the same `document`; beside the columns of a labelled
    record, both name what they test in the column `phenomenon`. The order is that of first sides.

    Raises:
        DataError: mistakes in the records (`labelled.read_labelled`); or a pair that has not two sides, or
            does not name one phenomenon, or has a side without labels for voices and narrator.
    """
    paragraphs = read_labelled([path], codebook)
    # Without a mistake, every row has become one paragraph, in the same order.
    lines = chain.from_iterable(((file, row) for row in rows(file)) for file in files_at(Path(path)))
    members: dict[str, list[_Side]] = {}
    for paragraph, (file, row) in zip(paragraphs, lines, strict=True):
        named = (row.values or {}).get("phenomenon")
        phenomenon = named.strip() if isinstance(named, str) else ""
        members.setdefault(paragraph.document, []).append(_Side(str(file), row.line, paragraph, phenomenon))
    problems = [problem for sides in members.values() for problem in _problems(sides)]
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems[:_SHOWN])
        if len(problems) > _SHOWN:
            listed += f"\n  - and {len(problems) - _SHOWN:,} more"
        raise DataError(
            f"{path} is no suite of minimal pairs:{listed}\n"
            "The two sides of a pair are two labelled records with the same `document` and the same `phenomenon`; "
            "docs/evaluation.md shows one."
        )
    return [
        Pair(document, first.phenomenon, (first.paragraph, second.paragraph))
        for document, (first, second) in members.items()
    ]


@dataclass(frozen=True, slots=True)
class _Side:
    file: str
    line: int | None
    paragraph: LabelledParagraph
    phenomenon: str  # empty where the record names none


def _problems(sides: Sequence[_Side]) -> list[Problem]:
    """What is wrong with the records of one document as the sides of a pair."""
    first, pair = sides[0], f"the pair `{sides[0].paragraph.document}`"
    told: list[tuple[_Side, str]] = []
    for side in sides:
        if not side.phenomenon:
            told.append((side, f"`{side.paragraph.id}` names no `phenomenon`"))
        if side.paragraph.voices is None or not side.paragraph.narrator_labelled:
            told.append((side, f"`{side.paragraph.id}` must be labelled with `voices` and `narrator`"))
    names = dict.fromkeys(f"`{side.phenomenon}`" for side in sides if side.phenomenon)
    if len(names) > 1:
        told.append((first, f"{pair} names more than one phenomenon: {', '.join(names)}"))
    if len(sides) != 2:
        ids = ", ".join(f"`{side.paragraph.id}`" for side in sides)
        told.append((first, f"{pair} must have two sides, not {len(sides)}: {ids}"))
    return [Problem(side.file, side.line, message) for side, message in told]


def paragraphs_of(pairs: Sequence[Pair]) -> list[LabelledParagraph]:
    """Both sides of every pair, in order: what `evaluate_suite` wants predictions for."""
    return [side for pair in pairs for side in pair.sides]


def in_question(pair: Pair) -> tuple[list[bool], list[bool]]:
    """For each side, which of its labelled voices (narrator first, then in text order) the pair is about.

    Those that the other side does not have with the same mention and stance; where both sides have the same, all.
    """
    sides = []
    for side in pair.sides:
        voices = sorted(side.voices or (), key=lambda voice: (voice.start, voice.end))
        narrator = [(None, side.narrator)] if side.narrator is not None else []
        sides.append([*narrator, *((side.text[voice.start : voice.end], voice.stance) for voice in voices)])
    first, second = sides
    apart = [voice not in second for voice in first], [voice not in first for voice in second]
    return apart if any(chain(*apart)) else ([True] * len(first), [True] * len(second))


def right_on_gold_mentions(
    paragraph: LabelledParagraph, prediction: Prediction, codebook: Codebook, asked: Sequence[bool] | None = None
) -> bool:
    """Whether the stance decided on each labelled voice, the narrator included, is the labelled one.

    Args:
        asked: which of the voices count; None: all.

    Raises:
        DataError: there is not one prediction for each labelled voice.
    """
    gold = gold_stances_to_compare(paragraph, prediction)
    decided = decided_stances(prediction, codebook)
    counted = asked or [True] * len(gold)
    return all(right == given for right, given, counts in zip(gold, decided, counted, strict=True) if counts)


def right_end_to_end(paragraph: LabelledParagraph, prediction: Prediction) -> bool:
    """Whether exactly the labelled voices are found, the narrator included, each with the labelled stance.

    A found mention is a labelled one if they share a word, one to one (`matching.match_mentions`).
    """
    narrators = [voice.stance for voice in prediction.voices if voice.narrator]
    if narrators != ([] if paragraph.narrator is None else [paragraph.narrator]):
        return False
    gold, found = paragraph.voices or (), mention_spans(prediction.voices)
    spans = [(voice.start, voice.end) for voice in gold]
    matches = match_mentions(paragraph.text, spans, [span for _, span in found])
    return len(matches) == len(gold) == len(found) and all(
        gold[match.gold].stance == found[match.found][0].stance for match in matches
    )


def evaluate_suite(pairs: Sequence[Pair], predictions: Sequence[Prediction], codebook: Codebook) -> SuiteReport:
    """Scores predictions for both sides of every pair, in the order of `paragraphs_of`.

    Raises:
        DataError: no pair, or not one prediction for each side and each labelled voice.
    """
    if not pairs:
        raise DataError("there is nothing to evaluate: no pair was given")
    if len(predictions) != 2 * len(pairs):
        raise DataError(f"{len(pairs)} pairs but {len(predictions)} predictions; give one for each side")
    outcomes: dict[str, list[tuple[bool, bool, bool]]] = {}  # of each pair, in the order of `SuiteScores`
    for pair, read in zip(pairs, zip(predictions[::2], predictions[1::2], strict=True), strict=True):
        sides = list(zip(pair.sides, read, strict=True))
        outcome = (
            all(
                right_on_gold_mentions(*side, codebook, asked)
                for side, asked in zip(sides, in_question(pair), strict=True)
            ),
            all(right_on_gold_mentions(side, prediction, codebook) for side, prediction in sides),
            all(right_end_to_end(side, prediction) for side, prediction in sides),
        )
        outcomes.setdefault(pair.phenomenon, []).append(outcome)
    return SuiteReport(
        phenomena={name: _scores(made) for name, made in outcomes.items()},
        all=_scores(list(chain.from_iterable(outcomes.values()))),
    )


def _scores(outcomes: Sequence[tuple[bool, bool, bool]]) -> SuiteScores:
    return SuiteScores(len(outcomes), *(share(sum(right), len(outcomes)) for right in zip(*outcomes, strict=True)))


def render_suite(report: SuiteReport, title: str = "Minimal pairs") -> RenderableType:
    """One row for each phenomenon and one for all pairs: the shares with both sides right."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("both sides right")
    for heading in (r"in question \[95%]", r"all voices \[95%]", r"end to end \[95%]", "pairs"):
        table.add_column(heading, justify="right")
    for name, scores in (*report.phenomena.items(), ("all", report.all)):
        if scores is report.all:
            table.add_section()
        shares = (scores.in_question, scores.on_gold_mentions, scores.end_to_end)
        table.add_row(escape(name), *map(show, shares), str(scores.pairs))
    return Group(Text(title, style="bold"), table, "")
