"""Other names in a text: what is swapped, what stays, where the mentions go, and how the change is counted."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.errors import DataError
from detente_training.annotation import LabelledParagraph, LabelledVoice
from detente_training.mentions import Mentions
from detente_training.naming import foreign_persons, names, persons, states
from detente_training.renaming import (
    KINDS,
    SwapCount,
    SwapReport,
    anglicise,
    render_swaps,
    swap_countries,
    swap_persons,
    swap_report,
)

if TYPE_CHECKING:
    from detente.tagger import Tagger

Mark = Callable[..., LabelledParagraph]


def mentions(paragraph: LabelledParagraph) -> list[str]:
    return [paragraph.text[voice.start : voice.end] for voice in paragraph.voices or ()]


# States


def test_a_state_goes_with_its_adjective_people_and_capital(mark: Mark) -> None:
    text = "{{p|Iran}} will attack, {{n|an Iranian official}} said; Iran's envoy left Tehran, Iran\u2019s capital."
    swapped = swap_countries(mark(text))
    assert swapped.text == ("Qatar will attack, a Qatari official said; Qatar's envoy left Doha, Qatar\u2019s capital.")
    assert mentions(swapped) == ["Qatar", "a Qatari official"]
    assert [voice.stance for voice in swapped.voices or ()] == ["pressure", "neutral"]


def test_the_two_koreas_go_together(mark: Mark) -> None:
    swapped = swap_countries(
        mark(
            "{{e|North Korea}} and South Koreans share the Korean Peninsula; the DPRK and the ROK, Pyongyang and Seoul."
        )
    )
    assert swapped.text == (
        "North Vietnam and South Vietnamese share the Vietnamese Peninsula; the DRV and the RVN, Hanoi and Saigon."
    )
    assert mentions(swapped) == ["North Vietnam"]


def test_abbreviations_stay_abbreviations(mark: Mark) -> None:
    swapped = swap_countries(
        mark("{{p|The United States}}, the U.S. Navy, US officials, Americans, America, Washington.")
    )
    assert swapped.text == "The United Arab Emirates, the U.A.E. Navy, UAE officials, Emiratis, Dubai, Abu Dhabi."
    assert mentions(swapped) == ["The United Arab Emirates"]


def test_capitals_stay_capitals(mark: Mark) -> None:
    swapped = swap_countries(mark("TEHRAN, Iran (AP) - {{n|IRAN}} said AN IRANIAN envoy left."))
    assert swapped.text == "DOHA, Qatar (AP) - QATAR said A QATARI envoy left."
    assert mentions(swapped) == ["QATAR"]


@pytest.mark.parametrize(
    "text",
    [
        "Read the Washington Post in New England, off New Mexico, in Washington, D.C.",
        "WASHINGTON, DC - LET US TALK.",
        "Latin Americans sail the South China Sea for US$5 million.",
        "Jordan left Georgia with @Iran and turkey; iran, china.",
        "The minister said the rice was poor.",
        "",
    ],
)
def test_other_names_are_left_alone(text: str, mark: Mark) -> None:
    paragraph = mark(text)
    assert swap_countries(paragraph) is paragraph


def test_a_people_is_told_from_an_adjective(mark: Mark) -> None:
    for document in "abcdefgh":
        swapped = swap_countries(mark("{{e|The Chinese}} want talks, the Chinese envoy said.", document=document))
        people, adjective = re.fullmatch(r"The (.+) want talks, the (.+) envoy said\.", swapped.text).groups()  # type: ignore[union-attr]
        assert [adjective, people] in [[forms[1][0], forms[2][0]] for forms in states()["plain"]]
        assert mentions(swapped) == [f"The {people}"]


def test_a_possessive_agrees(mark: Mark) -> None:
    others = {swap_countries(mark("{{p|The Philippines}}' fleet left.", document=f"d{d}")).text for d in range(50)}
    assert others == {
        "The Netherlands' fleet left.",
        "The Maldives' fleet left.",
        "The Czech Republic's fleet left.",
        "The Gambia's fleet left.",
        "The Dominican Republic's fleet left.",
    }
    (quoted,) = mentions(swap_countries(mark("He said 'we left {{p|the Philippines}}' and sat.", document="a-3")))
    assert quoted.startswith("the ")


def test_within_a_document_a_state_is_always_the_same_other_one(mark: Mark) -> None:
    first = swap_countries(mark("Iran wrote to Iraq.", "a-0"))
    second = swap_countries(mark("Iraq answered the Iranians: Iran, Iran.", "a-1"))
    iran, iraq = re.fullmatch(r"(.+) wrote to (.+)\.", first.text).groups()  # type: ignore[union-attr]
    assert second.text.startswith(f"{iraq} answered the ")
    assert second.text.endswith(f": {iran}, {iran}.")
    assert len({swap_countries(mark("Iran.", f"{document}-0")).text for document in "abcdefgh"}) > 4


@pytest.mark.parametrize("document", ["a", "b", "c"])
def test_no_two_states_become_one_and_none_stays(document: str, mark: Mark) -> None:
    every = [state[0][0] for members in states().values() for state in members]
    swapped = swap_countries(mark("; ".join(every), document=document)).text.split("; ")
    assert len(every) >= 45
    assert sorted(swapped) == sorted(every)
    assert all(old != new for old, new in zip(every, swapped, strict=True))


def test_the_file_of_names() -> None:
    for group, members in states().items():
        assert len(members) > 2, group
        assert len({len(state) for state in members}) == 1, group
        assert all(form.strip() for state in members for variants in state for form in variants), group
    owners: dict[str, tuple[str, int]] = {}
    for group, members in states().items():
        for number, state in enumerate(members):
            for form in {form for variants in state for form in variants}:
                assert owners.setdefault(form, (group, number)) == (group, number), form
    families = [name for origin in names()["become"].values() for name in origin["family"].split()]
    assert len(families) == len(set(families))
    assert not any(
        "-" in name for origin in names()["become"].values() for part in origin.values() for name in part.split()
    )


# Persons


def test_full_and_family_names_change_together(mark: Mark) -> None:
    swapped = swap_persons(
        mark("{{e|Barack Obama}} met Kim Jong-un; Obama\u2019s aides and Kim's aides sat. MR. CARNEY: No.")
    )
    assert swapped.text == (
        "Vivian Cooper met Sidney Simmons; Cooper\u2019s aides and Simmons's aides sat. MR. KO\u00c7AK: No."
    )
    assert mentions(swapped) == ["Vivian Cooper"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{n|Zeke Stokes}} left.", ["Zeke Stokes"]),  # a mention that looks like a name
        ("{{n|Secretary of State Zeke Stokes}} left.", ["Zeke Stokes"]),
        ("{{n|SPENCER-VALE}}: No.", ["SPENCER-VALE"]),  # a speaker's label
        ("Mr. Okri and Foreign Minister Marty Natale met.", ["Okri", "Marty Natale"]),  # after a title
        ("So Fiona B. Hale and Peter van der Aa left.", ["Fiona B. Hale", "Peter van der Aa"]),  # from a first name on
        ("The Trump administration left.", ["Trump"]),  # known by itself
        ("Xi Jinping met Moon Jae-in.", ["Xi Jinping", "Moon Jae-in"]),
        ("{{n|The White House}}, {{n|Amnesty International}} and {{n|North Korea}} agreed.", []),
        ("The Secretary General of the General Assembly, Mr. President, Prime Minister.", []),
        ("John Kerry Monday met David Cameron Said.", ["John Kerry", "David Cameron"]),
    ],
)
def test_what_is_a_name(text: str, found: list[str], mark: Mark) -> None:
    assert [" ".join(person.words) for person in persons(mark(text))] == found


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("John F. Kerry", "Kerry"),
        ("Ursula von der Leyen", "von der Leyen"),
        ("Bashar al-Assad", "al-Assad"),
        ("Kim Jong Un", "Kim"),
        ("Hu Jintao", "Hu"),
        ("Jae-in Moon", "Moon"),
        ("Mohammad Javad Zarif", "Zarif"),
    ],
)
def test_the_family_name(text: str, family: str, mark: Mark) -> None:
    (person,) = persons(mark(f"{{{{n|{text}}}}} left."))
    assert (" ".join(person.words), " ".join(person.family)) == (text, family)


def test_a_family_keeps_one_name_and_its_members_differ(mark: Mark) -> None:
    text = "John Kerry, Teresa Heinz Kerry and Mr. Kerry; Donald J. Trump and Donald Trump."
    swapped = re.fullmatch(
        r"(\S+) (\S+), (\S+) (\S+) (\S+) and Mr\. (\S+); (\S+) J\. (\S+) and (\S+) (\S+)\.",
        swap_persons(mark(text)).text,
    )
    assert swapped is not None
    john, kerry, teresa, _, other_kerry, mr_kerry, donald, trump, same_donald, same_trump = swapped.groups()
    assert kerry == other_kerry == mr_kerry != trump == same_trump
    assert john != teresa
    assert donald == same_donald


def test_names_that_are_words_too(mark: Mark) -> None:
    swapped = swap_persons(mark("In May, Theresa May left. {{n|May}} said so; Mrs. May, too. May is near.", "b-1"))
    new = mentions(swapped)[0]
    given = swapped.text.split()[2]
    assert swapped.text == f"In May, {given} {new} left. {new} said so; Mrs. {new}, too. May is near."


def test_a_name_becomes_the_same_in_other_paragraphs_of_its_document(mark: Mark) -> None:
    first = swap_persons(mark("{{e|Mr. Lavrov}} left.", "a-0"))
    second = swap_persons(mark("Sergei Lavrov and {{p|LAVROV}} stayed.", "a-1"))
    elsewhere = swap_persons(mark("{{e|Mr. Lavrov}} left.", "b-0"))
    assert mentions(second) == [mentions(first)[0].removeprefix("Mr. ").upper()]
    assert mentions(elsewhere) != mentions(first)


@given(st.lists(st.sampled_from(["Ash", "Birk", "Crane", "Dorn", "Elm", "Frey", "Grau", "Hoek", "Ives"]), min_size=1))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_two_persons_never_become_one(family_names: list[str]) -> None:
    full = [f"{first} {last}" for last in dict.fromkeys(family_names) for first in ("John", "Mary", "Li")]
    for swap in (swap_persons, anglicise):
        paragraph = LabelledParagraph("a-0", "a", "; ".join(full), (), (), None, True)
        assert len(set(swap(paragraph).text.split("; "))) == len(full)


def test_more_names_than_there_are_to_give(mark: Mark) -> None:
    ones, twos = ("Chol", "Dae", "Eun", "Gil", "Hak", "Il", "Jae", "Kuk", "Man"), ("sik", "su", "won", "ho")
    koreans = [f"Kim {one}-{two}" for one in ones for two in twos]
    swapped = anglicise(mark("; ".join(koreans))).text.split("; ")
    assert len(set(swapped)) == len(koreans) == 36


# Korean, Persian and Burmese names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Kim Jong Un, Kim Jong-il, KIM IL SUNG.", ["Kim Jong Un", "Kim Jong-il", "KIM IL SUNG"]),
        ("Park Geunhye met Ban Ki-moon and Jae-in Moon.", ["Park Geunhye", "Ban Ki-moon", "Jae-in Moon"]),
        ("President Kang and Mr. Lee met Kim.", ["Kang", "Lee", "Kim"]),
        ("No In-depth talks; So Seoul left Park Avenue. Lee Zeldin and Han Solo.", []),
        ("Hassan Rouhani, Mohammad Javad Zarif and Khamenei.", ["Hassan Rouhani", "Mohammad Javad Zarif", "Khamenei"]),
        ("Ali Tabrizzadeh and Nasrin Okri met Ali Smith.", ["Ali Tabrizzadeh", "Nasrin Okri"]),
        ("Min Aung Hlaing and U Thant met Daw Aung San Suu Kyi.", ["Min Aung Hlaing", "Thant", "Aung San Suu Kyi"]),
        ("Win Lin, San Su and John Smith.", []),
    ],
)
def test_what_is_a_korean_a_persian_or_a_burmese_name(text: str, found: list[str]) -> None:
    assert [" ".join(person.words) for person in foreign_persons(text)] == found


def test_english_names_take_their_place(mark: Mark) -> None:
    swapped = anglicise(
        mark(
            "{{e|Daw Aung San Suu Kyi}} spoke; Ms. Suu Kyi left. {{p|Kim Jong-un}}'s aides, Kim and John Kerry stayed."
        )
    )
    assert swapped.text == (
        "Ms. Lindsay Rowan Hawkins spoke; Ms. Hawkins left. Sidney Dawson's aides, Dawson and John Kerry stayed."
    )
    assert mentions(swapped) == ["Ms. Lindsay Rowan Hawkins", "Sidney Dawson"]
    english = names()["become"]["english"]
    assert {"Hawkins", "Dawson"} <= set(english["family"].split())
    assert {"Lindsay", "Rowan", "Sidney"} <= set(english["given"].split())


def test_western_names_are_not_anglicised(mark: Mark) -> None:
    paragraph = mark("{{e|Barack Obama}} met Emmanuel Macron in Seoul.")
    assert anglicise(paragraph) is paragraph


# Labels and offsets


@pytest.mark.parametrize("swap", KINDS.values(), ids=KINDS)
def test_a_text_without_names_is_untouched(swap: Callable[[LabelledParagraph], LabelledParagraph], mark: Mark) -> None:
    for paragraph in (mark("The rice was poor, {{n|the minister}} said."), mark("", voices=None)):
        assert swap(paragraph) is paragraph


def test_a_name_that_a_mention_cuts_is_left_as_it_is(mark: Mark) -> None:
    cut = mark("Saudi {{p|Arabia}} left, Saudi Arabia said.")
    swapped = swap_countries(cut)
    assert swapped.text.startswith("Saudi Arabia left, ")
    assert swapped.text != cut.text
    assert mentions(swapped) == ["Arabia"]


def test_what_is_not_labelled_stays_so(mark: Mark) -> None:
    paragraph = mark("Iran left.", voices=None, topics=None, narrator_labelled=False, style="news")
    assert swap_countries(paragraph) == replace(paragraph, text="Qatar left.")


PLAIN = ("talks", "said", "that", "must", "the", "minister", "go", "on", "and", "left", ",", ".")
NAMES = """
    Iran Iranian IRAN Iranians Tehran U.S. US Americans a an North Korea South Koreans Philippines' Iran's Saudi Arabia
    Chinese Mr. Kerry Barack Obama Kim Jong-un Jong Un Obama\u2019s Daw Suu Kyi Hassan Rouhani May
"""


@st.composite
def labelled(draw: st.DrawFn) -> LabelledParagraph:
    """Words of a small vocabulary, some marked as mentions, up to four words each."""
    words = draw(st.lists(st.sampled_from([*PLAIN, *NAMES.split()]), min_size=1, max_size=30))
    starts = [sum(len(word) + 1 for word in words[:number]) for number in range(len(words))]
    voices, number = [], 0
    while number < len(words):
        length = draw(st.integers(0, 4))
        last = min(number + length, len(words)) - 1
        if length and draw(st.booleans()):
            voices.append(LabelledVoice(starts[number], starts[last] + len(words[last]), draw(st.sampled_from("ab"))))
        number += length + 1
    document = draw(st.sampled_from("abcde"))
    return LabelledParagraph(f"{document}-0", document, " ".join(words), ("t",), tuple(voices), "a", True)


@given(labelled(), st.sampled_from(list(KINDS)))
@settings(deadline=None, derandomize=True)
def test_labels_and_other_words_stay(paragraph: LabelledParagraph, kind: str) -> None:
    swapped = KINDS[kind](paragraph)
    assert replace(swapped, text=paragraph.text, voices=paragraph.voices) == paragraph
    old, new = paragraph.voices or (), swapped.voices or ()
    assert [voice.stance for voice in new] == [voice.stance for voice in old]
    edges = [edge for voice in new for edge in (voice.start, voice.end)]
    assert edges == sorted(edges)
    assert all(0 <= voice.start < voice.end <= len(swapped.text) for voice in new)
    assert not any(Mentions(swapped.text).cuts(voice.start, voice.end) for voice in new)
    assert [word for word in swapped.text.split() if word in PLAIN] == [w for w in paragraph.text.split() if w in PLAIN]
    for mention, was in zip(mentions(swapped), mentions(paragraph), strict=True):
        assert [word for word in mention.split() if word in PLAIN] == [word for word in was.split() if word in PLAIN]
    assert (swapped is paragraph) == (swapped.text == paragraph.text)


# The report


def test_the_report_counts_what_was_touched(tagger: Tagger, mark: Mark) -> None:
    paragraphs = [
        mark("{{p|Iran}} said talks must go on, {{e|the envoy}} said.", "a-0", narrator="neutral"),
        mark("{{e|Kim Jong-un}} and {{p|Obama}} met in {{n|Seoul}}.", "a-1"),
        mark("Obama sailed on Monday.", "b-0"),
        mark("{{e|The minister}} said drills would go on.", "b-1", narrator="pressure"),
    ]
    done: list[int] = []
    report = swap_report(tagger.reader, paragraphs, done.append)
    assert (report.paragraphs, report.voices) == (4, 8)
    assert {kind: (count.paragraphs, count.voices) for kind, count in report.kinds.items()} == {
        "countries": (2, 6),
        "persons": (2, 3),
        "anglicised": (1, 3),
    }
    assert all(0 <= count.changed <= count.voices for count in report.kinds.values())
    assert done[-1] == 3 + 2 + 2 + 1  # the touched originals once, then each kind
    assert swap_report(tagger.reader, paragraphs) == report


def test_the_report_counts_what_changed(tagger: Tagger, mark: Mark) -> None:
    from detente_training.predict import predict

    paragraphs = [mark("{{p|Iran}} wrote to {{e|the U.S. envoy}} and {{n|Japan}}.", f"{d}-0") for d in "abcdefghijkl"]
    swapped = [swap_countries(paragraph) for paragraph in paragraphs]
    stances = [
        [
            max(voice, key=lambda name: voice[name])
            for found in predict(tagger.reader, read)
            for voice in found.gold_stances
        ]
        for read in (paragraphs, swapped)
    ]
    changed = sum(before != after for before, after in zip(*stances, strict=True))
    count = swap_report(tagger.reader, paragraphs).kinds["countries"]
    assert count == SwapCount(12, 36, changed)
    assert changed > 0  # random weights: the names decide


def test_nothing_is_touched(tagger: Tagger, mark: Mark) -> None:
    for paragraphs in ([], [mark("{{e|The minister}} left.")]):
        report = swap_report(tagger.reader, paragraphs)
        assert set(report.kinds.values()) == {SwapCount(0, 0, 0)}
        assert report.kinds["countries"].share.value is None


def test_the_share_has_a_wilson_interval() -> None:
    share = SwapCount(paragraphs=50, voices=100, changed=10).share
    assert (share.value, share.low, share.high) == pytest.approx((0.1, 0.0552, 0.1744), abs=1e-4)
    assert share.support == 100
    nothing, everything = SwapCount(5, 10, 0).share, SwapCount(5, 10, 10).share
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    assert (everything.value, everything.low, everything.high) == pytest.approx((1, 0.7225, 1), abs=1e-4)


REPORT = SwapReport(40, 90, {"countries": SwapCount(30, 80, 2), "persons": SwapCount(0, 0, 0)})


def test_a_report_is_read_back() -> None:
    data = json.loads(json.dumps(REPORT.to_dict()))
    assert data["kinds"]["countries"]["share"] == pytest.approx(0.025)
    assert data["kinds"]["persons"] == {
        "paragraphs": 0, "voices": 0, "changed": 0, "share": None, "low": None, "high": None
    }  # fmt: skip
    assert SwapReport.from_dict(data) == REPORT


@pytest.mark.parametrize(
    "data", [{}, {"paragraphs": 1, "voices": 2, "kinds": {"persons": {"voices": 1}}}, {"kinds": []}]
)
def test_another_file_is_no_report(data: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"this is no report of name swaps .* Give what `SwapReport.to_dict` made"):
        SwapReport.from_dict(data)


def test_the_table() -> None:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=100).print(render_swaps(REPORT))
    assert out.getvalue().splitlines()[0] == "Name swaps: stances that change, of 40 paragraphs and 90 voices"
    assert re.search(r"countries +30 +80 +2 +\.025 \[\.007 \.087\]", out.getvalue())
    assert re.search(r"persons +0 +0 +0 +-", out.getvalue())
