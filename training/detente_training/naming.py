"""Names in a text: the forms of states, and persons by the form of their names. The words are in names.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

import yaml

from detente_training.annotation import LabelledParagraph

BEFORE = r"(?<![\w@#/])"  # where a name may begin: whole words, and no part of a handle or an address
MOST_WORDS = 4  # of a person's name, initials and particles apart
CAPITALISED = r"(?:(?:[Aa]l|[Ee]l)-)?[A-ZÀ-ÖØ-ÞČĆĐŁŚŞŠŽİ]\w+(?:[-'\u2019](?![sS]\b)[^\W\d_]\w*)*"
_CAPITALISED_WORD = re.compile(rf"{BEFORE}{CAPITALISED}(?!\w)")


class StateForm(NamedTuple):
    """A form of a state's name: the state's group and its number there, and which form of it this is."""

    group: str
    number: int
    place: int


class Person(NamedTuple):
    """The words of a person's name as they are written; those of the family name are [start, end)."""

    words: tuple[str, ...]
    start: int
    end: int

    @property
    def family(self) -> tuple[str, ...]:
        return self.words[self.start : self.end]

    @property
    def given(self) -> tuple[str, ...]:
        return self.words[: self.start] + self.words[self.end :]


@cache
def names() -> dict[str, Any]:
    """The file of names as it stands."""
    text = resources.files("detente_training").joinpath("names.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@cache
def word_list(*path: str) -> frozenset[str]:
    """The words of one list in the file of names."""
    found: Any = names()
    for key in path:
        found = found[key]
    return frozenset(found.split())


def one_of(words: Iterable[str]) -> str:
    """A pattern of any of the words, the longest first."""
    return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + ")"


def as_written(name: str) -> str:
    """A name in capitals as it is written elsewhere: "KIM JONG UN" -> "Kim Jong Un"."""
    return name.title() if name.isupper() else name


@cache
def states() -> dict[str, list[list[list[str]]]]:
    """Group -> its states -> their forms -> the variants of each form."""
    return {
        group: [[form.split("|") for form in state.split(", ")] for state in members]
        for group, members in names()["states"].items()
    }


@cache
def state_forms() -> tuple[re.Pattern[str], dict[str, StateForm]]:
    """A pattern of every form, also in capitals, and of the names to leave alone; what each form is."""
    forms: dict[str, StateForm] = {}
    for group, members in states().items():
        for number, state in enumerate(members):
            for place, variants in enumerate(state):
                for variant in variants:
                    forms.setdefault(variant, StateForm(group, number, place))
                    forms.setdefault(variant.upper(), StateForm(group, number, place))
    others = names()["not_states"]
    return re.compile(rf"{BEFORE}{one_of({*forms, *others, *map(str.upper, others)})}(?![\w$])"), forms


@cache
def title() -> re.Pattern[str]:
    """A pattern of a title and the space after it."""
    words = {*word_list("people", "titles"), *names()["people"]["long_titles"]}
    return re.compile(rf"{BEFORE}{one_of({*words, *map(str.upper, words)})}\.? ")


@cache
def after_title() -> re.Pattern[str]:
    """A pattern of a title at the end of what stands before a name; in Burma it may be a particle (`address`)."""
    return re.compile(rf"(?:{title().pattern}|\b(?P<address>{one_of(names()['burmese']['titles'])}) )\Z")


def just_before(text: str, start: int) -> str:
    """As much of the text before an offset as a title takes."""
    return text[max(0, start - 40) : start]


def persons(paragraph: LabelledParagraph) -> list[Person]:
    """Everybody named in a paragraph, in the order of the text, each name once.

    A name is a mention that looks like one, a speaker's label, the words after a title, those from a common
    first name on, whatever `foreign_persons` finds, or a family name that everybody knows.
    """
    text = paragraph.text
    found = {start: person for start, person in _foreign(text) if len(person.words) > 1}

    def add(start: int, end: int, fewest: int, whole: bool = False) -> None:
        words = _name_at(text, start, end)
        inside = any(other <= start < other + len(" ".join(person.words)) for other, person in found.items())
        if not inside and sum(map(_is_full, words)) >= fewest and not (whole and " ".join(words) != text[start:end]):
            found[start] = _person(words)

    for voice in paragraph.voices or ():
        start = voice.start
        while titled := title().match(text, start, voice.end):
            start = titled.end()
        add(start, voice.end, 2, whole=True)
        if text[voice.start : voice.end].isupper() and text[voice.end : voice.end + 1] == ":":
            add(voice.start, voice.end, 1, whole=True)
    first, known = _beginnings()
    for match in title().finditer(text):
        add(match.end(), len(text), 1)
    for match in first.finditer(text):
        add(match.start(), len(text), 2)
    for match in known.finditer(text):
        found.setdefault(match.start(), _person((match[0],)))
    return _each_once(person for _, person in sorted(found.items()))


def foreign_persons(text: str) -> list[Person]:
    """The Korean, Persian and Burmese names in a text, in its order, each once."""
    return _each_once(person for _, person in _foreign(text))


@cache
def _beginnings() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of the words with which a full name begins, and of known family names."""
    first = word_list("people", "first_names") | word_list("people", "family_first")
    known = word_list("people", "known")
    return (
        re.compile(rf"{BEFORE}(?<!-){one_of({*first, *map(str.upper, first)})}(?= )"),
        re.compile(rf"{BEFORE}{one_of({*known, *map(str.upper, known)})}(?!\w)"),
    )


@cache
def _not_names() -> frozenset[str]:
    """Words, in capitals, at which a name ends."""
    of_states = [word for form in state_forms()[1] for word in form.split()]
    words = {*of_states, *word_list("people", "not_names"), *word_list("people", "titles")}
    return frozenset(word.upper() for word in words - word_list("people", "first_names"))


@cache
def _next_word() -> re.Pattern[str]:
    return re.compile(rf"({one_of(word_list('people', 'particles'))}(?= )|{CAPITALISED}(?!\w)|[A-Z]\.)( ?)")


def _name_at(text: str, start: int, end: int) -> tuple[str, ...]:
    """The words of the name that begins at an offset; () if none does."""
    words: list[str] = []
    while (match := _next_word().match(text, start, end)) and sum(map(_is_full, words)) < MOST_WORDS:
        louder = len(match[1]) > 2 and match[1].isupper() and bool(words) and not words[0].isupper()
        if louder or match[1].upper() in _not_names():
            break
        words.append(match[1])
        start = match.end()
        if not match[2]:
            break
    while words and not _is_full(words[-1]):
        words.pop()
    return tuple(words)


def _is_full(word: str) -> bool:
    """Whether a word is neither an initial nor a particle."""
    return not word.endswith(".") and word not in word_list("people", "particles")


def _person(words: tuple[str, ...]) -> Person:
    """A name by its words; the family name comes last, with the particles before it, or first in the Far East."""
    if len(words) > 1 and as_written(words[0]) in word_list("people", "family_first") | word_list("korean", "family"):
        return Person(words, 0, 1)
    start = len(words) - 1
    while start > 1 and words[start - 1] in word_list("people", "particles"):
        start -= 1
    return Person(words, start, len(words))


def _each_once(people: Iterable[Person]) -> list[Person]:
    """Each name once; where another name ends in it ("Suu Kyi"), it is that one's family name."""
    named = {tuple(map(str.casefold, person.words)): person for person in people}
    longer: dict[tuple[str, ...], Person] = {}
    short = set()
    for words, person in named.items():
        ends = [other for other in named if len(other) < len(words) and words[-len(other) :] == other]
        short.update(ends)
        start = len(words) - max(map(len, ends), default=len(words))
        longer[words] = Person(person.words, start, len(words)) if ends else person
    return [person for words, person in longer.items() if words not in short]


def _foreign(text: str) -> list[tuple[int, Person]]:
    """Korean, Persian and Burmese names, each with the offset where it begins."""
    found: list[tuple[int, Person]] = []
    last = 0
    places = list(_CAPITALISED_WORD.finditer(text))
    for number, place in enumerate(places):
        if place.start() < last:
            continue
        run = takewhile(lambda pair: text[pair[0].end() : pair[1].start()] == " ", pairwise(places[number:]))
        words = (place[0], *(after[0] for _, after in run))
        titled = after_title().search(just_before(text, place.start())) is not None
        person = _korean(words, titled) or _persian(words) or _burmese(words, titled)
        if person:
            found.append((place.start(), person))
            last = place.start() + len(" ".join(person.words))
    return found


@cache
def _korean_given() -> re.Pattern[str]:
    """Two syllables: "Jae-in", "Jaein", "Jae In"."""
    syllable = one_of(word_list("korean", "syllables"))
    return re.compile(f"{syllable}[- ]?{syllable}", re.IGNORECASE)


def _korean(words: tuple[str, ...], titled: bool) -> Person | None:
    families, given = word_list("korean", "family"), _korean_given()
    one, two, three = (as_written(word) for word in (*words, "", "")[:3])
    if one in families:
        if given.fullmatch(two):
            return Person(words[:2], 0, 1)
        if given.fullmatch(f"{two} {three}"):
            return Person(words[:3], 0, 1)
        if one in word_list("korean", "alone") or (titled and not two):
            return Person(words[:1], 0, 1)
    if two in families and "-" in one and given.fullmatch(one):
        return Person(words[:2], 1, 2)
    return None


def _persian(words: tuple[str, ...]) -> Person | None:
    families, endings = word_list("persian", "family"), tuple(word_list("persian", "endings"))
    written = [as_written(word) for word in words[:MOST_WORDS]]
    if written[0] in word_list("persian", "given"):
        for place, word in enumerate(written[1:], start=1):
            if word in families or word.endswith(endings):
                return Person(words[: place + 1], place, place + 1)
        if len(words) > 1 and written[0] in word_list("persian", "given_alone"):
            return Person(words[:2], 1, 2)
    return Person(words[:1], 0, 1) if written[0] in families else None


def _burmese(words: tuple[str, ...], titled: bool) -> Person | None:
    own, others = word_list("burmese", "words"), word_list("burmese", "other_words")
    name = tuple(takewhile(lambda word: as_written(word) in own | others, words[:MOST_WORDS]))
    if own.isdisjoint(map(as_written, name)) or len(name) + titled < 2:
        return None
    return Person(name, len(name) - 1, len(name))
