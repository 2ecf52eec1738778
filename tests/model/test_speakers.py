from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.documents import read_article
from detente.speakers import full_names

EXAMPLES = Path(__file__).parents[2] / "examples"

STORY = (
    "The envoy, Marzena Dorval, arrived on Monday. “Talks come first,” Dorval said.",
    "Mr. Oduya-Lind, the mediator, disagreed. Samuel Oduya-Lind had been in the country for a year.",
    "President Barack Obama and Secretary of State John Kerry welcomed the visit of Park Geun-hye.",
    "Officials in Seoul and at the White House said the Security Council would meet. The Foreign Ministry",
    "agreed. North Korea and the United States were silent. The envoy praised Bashar al-Assad\u2019s reply.",
    "They blamed the Kim Jong Un regime, and later Kim Jong Un himself.",
)


@pytest.mark.parametrize(
    ("mention", "name"),
    [
        ("Dorval", "Marzena Dorval"),
        ("Ms. Dorval", "Marzena Dorval"),
        ("Dorval\u2019s", "Marzena Dorval"),
        ("DORVAL", "Marzena Dorval"),
        ("Oduya-Lind", "Samuel Oduya-Lind"),
        ("Obama", "Barack Obama"),
        ("President Obama", "Barack Obama"),
        ("president Obama", "Barack Obama"),
        ("Kerry", "John Kerry"),
        ("Park", "Park Geun-hye"),
        ("Kim", "Kim Jong Un"),
        ("Assad", "Bashar al-Assad"),
        ("al-Assad", "Bashar al-Assad"),
    ],
)
def test_a_surname_is_the_one_full_name_that_has_it(mention: str, name: str) -> None:
    assert full_names(STORY).resolve(mention) == name


@pytest.mark.parametrize(
    "mention",
    [
        "Seoul", "State", "Korea", "House", "Ministry", "Council", "States", "White House", "the White House",
        "Marzena Dorval", "Marzena", "John", "he", "He", "They", "We", "the envoy", "Officials", "UN", "U.N.",
        "", " ", "President", "Mr.", "Washington", "Smith", "narrator", "Dorval and Kerry", "😀", "\0",
    ],
)  # fmt: skip
def test_what_is_no_surname_stays_unresolved(mention: str) -> None:
    assert full_names(STORY).resolve(mention) is None


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("In Seoul they said no. Officials in Seoul agreed.", "Seoul"),
        ("President Obama spoke, and Mr. Obama left.", "Obama"),
        ("Meanwhile Obama spoke.", "Obama"),
        ("Addressing Obama, they said no.", "Obama"),
        ("Envoy Urges Dorval Government to Keep Calm", "Dorval"),
        ("He met the Revolutionary Guard. The Revolutionary Guard agreed.", "Guard"),
        ("They cited the Lantern Gazette. Lantern Gazette denied it.", "Gazette"),
        ("They spoke of Ilse Brandt and of Otto Brandt.", "Brandt"),
        ("Kim Jong Un met Kim Yo Jong at the pier.", "Kim"),
        ("Q. They left? A. They left.", "They"),
        ("Senator Dorval said no. President-elect Dorval said yes.", "Dorval"),
        ("Analysts Dorval and Kerry said no.", "Dorval"),
        ("It was shown by Kyodo News and Radio Free Asia.", "News"),
        ("It snowed in New York and in South Africa.", "York"),
    ],
)
def test_false_friends(text: str, mention: str) -> None:
    assert full_names([text]).resolve(mention) is None


def test_shorter_forms_of_a_name_do_not_compete() -> None:
    names = full_names(["He met George Bush. Later George W. Bush spoke.", "Yesterday George W. Bush left."])
    assert names.names == (("George", "W.", "Bush"),)
    assert names.resolve("Bush") == "George W. Bush"


def test_particles() -> None:
    names = full_names(["It was led by Staffan de Mistura, and seen by Osama bin Laden and Ludwig van Beethoven."])
    assert names.resolve("de Mistura") == "Staffan de Mistura"
    assert names.resolve("Mistura") == "Staffan de Mistura"
    assert names.resolve("bin Laden") == "Osama bin Laden"
    assert names.resolve("van Mistura") is None


def test_names_do_not_run_over_sentences_or_commas() -> None:
    names = full_names(["He saw Dorval. Kerry left.", "It was for Dorval, Kerry and Lindqvist."])
    assert names.names == ()


def test_a_name_that_opens_a_sentence() -> None:
    assert full_names(["Rhea Solberg said no."]).resolve("Solberg") == "Rhea Solberg"
    assert full_names(["But Rhea Solberg said no."]).resolve("Solberg") == "Rhea Solberg"


def test_the_transcript_of_the_examples() -> None:
    names = full_names([p.text for p in read_article(EXAMPLES / "transcript.txt").paragraphs])
    assert names.resolve("KOWALSKI") == "Adam Kowalski"
    assert names.resolve("MS. ADEYEMI") == "Ruth Adeyemi"
    assert names.resolve("Ms. Benedek") == "Clara Benedek"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=60), max_size=4), st.text(max_size=20))
def test_any_text_and_mention(texts: list[str], mention: str) -> None:
    names = full_names(texts)
    assert names.resolve(mention) is None or mention.strip()


_PIECES = st.sampled_from(
    ["Ada", "Brandt", "Kim", "Jong", "Un", "de", "al-Sadr", "the", "The", "said", ".", ",", "Mr.", "W."]
)


@settings(deadline=None, derandomize=True)
@given(st.lists(_PIECES, max_size=20), st.sampled_from(["Brandt", "Kim", "Sadr", "Ada", "Un"]))
def test_a_resolved_name_stands_in_the_text_and_holds_the_surname(pieces: list[str], mention: str) -> None:
    text = " ".join(pieces)
    name = full_names([text]).resolve(mention)
    if name is not None:
        assert name in text
        assert mention in name
        assert len(name.split()) >= 2
