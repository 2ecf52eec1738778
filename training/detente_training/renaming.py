"""The name-swap test: other names of states and persons in a text must not change the stances read in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from detente.errors import DataError
from detente_training.annotation import LabelledParagraph
from detente_training.estimates import Figure, share
from detente_training.naming import (
    BEFORE,
    Person,
    after_title,
    as_written,
    foreign_persons,
    just_before,
    names,
    one_of,
    persons,
    state_forms,
    states,
    word_list,
)
from detente_training.predictions import decided_stances, gold_mention_stances
from detente_training.text_edits import Edit, edited

if TYPE_CHECKING:
    from rich.console import RenderableType

    from detente.reader import Reader

ADJECTIVE, PEOPLE = 1, 2  # places among a state's forms
# what stands after "the Chinese" where they are the people and it is no adjective
_AFTER_PEOPLE = re.compile(
    r"['\u2019]|\s*(?:[^\s\w-]|$)|\s(?:and|are|were|have|had|will|would|who|want|say|said|do|did)\b"
)


def swap_countries(paragraph: LabelledParagraph) -> LabelledParagraph:
    """The paragraph with other states: their names, adjectives, peoples, capitals and abbreviations.

    In one document a state always becomes the same other one, and two never become one. The two Koreas go
    together: "North Korea" becomes the north of another country. The same object where no state is named.
    """
    pattern, forms = state_forms()
    text, edits = paragraph.text, []
    for match in pattern.finditer(text):
        old = match[0]
        if old not in forms or (old == "US" and _is_pronoun(text, match)):
            continue
        group, number, place = forms[old]
        state, other = states()[group][number], _other_states(group, paragraph.document)[number]
        if place == ADJECTIVE and state[ADJECTIVE] == state[PEOPLE] and _is_people(text, match):
            place = PEOPLE
        new = other[place][0]
        edits.append(Edit(*match.span(), new if old in state[place] else new.upper()))
    return edited(paragraph, edits)


def swap_persons(paragraph: LabelledParagraph) -> LabelledParagraph:
    """The paragraph with invented names for its persons; full name and family name change together.

    `naming.persons` says what a person's name is. In a document a name becomes the same other one unless it has
    to make way: in one paragraph two names never become one, and no new name stood there before. The same object
    where nobody is named.
    """
    return _renamed(paragraph, persons(paragraph), tuple(names()["become"]))


def anglicise(paragraph: LabelledParagraph) -> LabelledParagraph:
    """The paragraph with English names for Korean, Persian and Burmese ones, in the way of `swap_persons`."""
    return _renamed(paragraph, foreign_persons(paragraph.text), ("english",))


KINDS: Mapping[str, Callable[[LabelledParagraph], LabelledParagraph]] = {
    "countries": swap_countries,
    "persons": swap_persons,
    "anglicised": anglicise,
}


def _digest(document: str, name: str) -> int:
    return int.from_bytes(hashlib.sha1(f"{document}\n{name}".encode(), usedforsecurity=False).digest()[:8], "big")


@lru_cache(maxsize=64)
def _other_states(group: str, document: str) -> dict[int, list[list[str]]]:
    """For each state of a group another one: the next in an order that the document decides."""
    members = states()[group]
    order = sorted(range(len(members)), key=lambda number: _digest(document, members[number][0][0]))
    return {number: members[following] for number, following in zip(order, [*order[1:], order[0]], strict=True)}


def _is_pronoun(text: str, match: re.Match[str]) -> bool:
    """Whether the capitals of "US" are those of a sentence: "LET US TALK"."""
    loud_before = re.search(r"\b[A-Z]{2,}\W{1,3}\Z", text[max(0, match.start() - 20) : match.start()])
    return loud_before is not None and re.match(r"\W{1,3}\w*[a-z]", text[match.end() :]) is None


def _is_people(text: str, match: re.Match[str]) -> bool:
    return text[: match.start()][-4:].lower() == "the " and _AFTER_PEOPLE.match(text, match.end()) is not None


def _renamed(paragraph: LabelledParagraph, people: Sequence[Person], origins: Sequence[str]) -> LabelledParagraph:
    if not people:
        return paragraph
    text, forms = paragraph.text, _new_names(paragraph, people, origins)
    in_capitals = {form.upper(): new.upper() for form, new in forms.items()}
    mentions = {(voice.start, voice.end) for voice in paragraph.voices or ()}
    addresses: dict[str, str] = names()["burmese"]["titles"]
    edits = []
    for match in re.finditer(rf"{BEFORE}{one_of({*forms, *in_capitals})}(?!\w)", text):
        titled = after_title().search(just_before(text, match.start()))
        if as_written(match[0]) in word_list("people", "words") and titled is None and match.span() not in mentions:
            continue  # "May", "the House": rather a word than somebody's name
        edits.append(Edit(*match.span(), forms.get(match[0]) or in_capitals[match[0]]))
        if titled and titled["address"]:
            edits.append(
                Edit(match.start() - 1 - len(titled["address"]), match.start() - 1, addresses[titled["address"]])
            )
    return edited(paragraph, edits)


def _new_names(paragraph: LabelledParagraph, people: Sequence[Person], origins: Sequence[str]) -> dict[str, str]:
    """For each full name, and for each family name by itself, what it becomes."""
    become = {origin: {part: words.split() for part, words in names()["become"][origin].items()} for origin in origins}
    origin_of = {name: origin for origin in origins for name in become[origin]["family"]}
    new_words: dict[tuple[str, str], str] = {}  # (origin of a given name, or "" for a family name; old) -> new
    forms: dict[str, str] = {}

    def new_word(origin: str, old: str, pool: Sequence[str]) -> str:
        key = (origin, old.casefold())
        if key not in new_words:
            start = _digest(paragraph.document, old.casefold()) % len(pool)
            turned = [*pool[start:], *pool[:start]]
            candidates = chain(turned, (f"{one}-{other}" for one, other in product(turned, turned)))
            taken = set(new_words.values())
            new_words[key] = next(new for new in candidates if new not in taken and new not in paragraph.text)
        return new_words[key]

    for person in people:
        bare = re.sub(r"^[AaEe]l-", "", person.family[-1])
        family = new_word("", bare, list(origin_of))
        origin = origin_of[family.split("-")[0]]
        given = [
            word if word.endswith(".") else new_word(origin, word, become[origin]["given"])
            for word in person.given
            if word[0].isupper()  # no particles
        ]
        full = " ".join([*given[:2], family])
        if full in forms.values():
            full = " ".join([*given, family])
        forms.setdefault(as_written(" ".join(person.words)), full)
        forms.setdefault(as_written(" ".join(person.family)), family)
        forms.setdefault(as_written(bare), family)
    return forms


@dataclass(frozen=True, slots=True)
class SwapCount:
    """What one kind of swap touched, and what it changed.

    Attributes:
        paragraphs: those whose text changed.
        voices: gold voices in them, narrators included.
        changed: of these voices, those whose stance is decided otherwise in the swapped text.
    """

    paragraphs: int
    voices: int
    changed: int

    @property
    def share(self) -> Figure:
        """Share of the voices that changed, with its 95% Wilson interval; undefined without voices."""
        return share(self.changed, self.voices) if self.voices else Figure(None, None, None, 0)


@dataclass(frozen=True, slots=True)
class SwapReport:
    """How many stances other names change.

    Attributes:
        paragraphs, voices: of the whole set, touched or not; narrators are voices.
        kinds: for each of KINDS its counts.
    """

    paragraphs: int
    voices: int
    kinds: Mapping[str, SwapCount]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, ready for JSON; beside the counts of a kind stand their share, its low and high."""
        kinds = {
            kind: {**asdict(count), "share": count.share.value, "low": count.share.low, "high": count.share.high}
            for kind, count in self.kinds.items()
        }
        return {"paragraphs": self.paragraphs, "voices": self.voices, "kinds": kinds}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SwapReport:
        """Reads back what `to_dict` wrote; other keys are ignored.

        Raises:
            DataError: a key is missing, so that this is no report of name swaps.
        """
        try:
            kinds = {k: SwapCount(c["paragraphs"], c["voices"], c["changed"]) for k, c in data["kinds"].items()}
            return cls(data["paragraphs"], data["voices"], kinds)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"this is no report of name swaps ({error}): it has `paragraphs`, `voices` and `kinds`, and each kind "
                "has `paragraphs`, `voices` and `changed`. Give what `SwapReport.to_dict` made"
            ) from error


def swap_report(
    reader: Reader, paragraphs: Sequence[LabelledParagraph], progress: Callable[[int], None] | None = None
) -> SwapReport:
    """Reads the paragraphs that a swap changes, as they are and swapped, and compares the stances of gold voices.

    Args:
        progress: called with the number of windows read so far, after each batch.
    """
    from detente_training.predict import predict  # here, because it loads transformers

    swapped = {
        kind: {number: new for number, old in enumerate(paragraphs) if (new := swap(old)) is not old}
        for kind, swap in KINDS.items()
    }
    touched = sorted(set().union(*swapped.values()))
    read = [paragraphs[number] for number in touched]
    read += [new for of_kind in swapped.values() for new in of_kind.values()]
    stances = iter([decided_stances(prediction, reader.codebook) for prediction in predict(reader, read, progress)])
    before = {number: next(stances) for number in touched}
    kinds = {}
    for kind, of_kind in swapped.items():
        same = [was == now for number in of_kind for was, now in zip(before[number], next(stances), strict=True)]
        kinds[kind] = SwapCount(len(of_kind), len(same), same.count(False))
    return SwapReport(len(paragraphs), sum(len(gold_mention_stances(paragraph)) for paragraph in paragraphs), kinds)


def render_swaps(report: SwapReport) -> RenderableType:
    """One row for each kind of swap: what it touched, and the share of the stances that changed."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from detente_training.tables import show

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("names swapped")
    for column in ("paragraphs", "voices", "changed", r"share \[95%]"):
        table.add_column(column, justify="right")
    for kind, count in report.kinds.items():
        table.add_row(kind, str(count.paragraphs), str(count.voices), str(count.changed), show(count.share))
    title = f"Name swaps: stances that change, of {report.paragraphs} paragraphs and {report.voices} voices"
    return Group(Text(title, style="bold"), table, "")
