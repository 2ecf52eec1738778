import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente_training.sayings import speakers


def found(text):
    return [text[start:end] for start, end in speakers(text)]


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("The minister said talks would go on.", ["The minister"]),
        ("Marta Oyelaran, the envoy for the lakes, also warned of delays.", ["Marta Oyelaran"]),
        ("The head of the mission has repeatedly urged calm.", ["the mission"]),
        ("Officials say little, but she denied it.", ["Officials", "she"]),
        ("Aid workers said food ran out; diplomats added nothing.", ["workers", "diplomats"]),
        ("“We will not wait,” said the foreign minister of the north.", ["the foreign minister"]),
        ("According to Reuters, nothing moved.", ["Reuters"]),
        ("He said so. Later he said no.", ["He"]),
        ("The convoy crossed the bridge at night.", []),
        ("", []),
    ],
)
def test_a_noun_phrase_or_pronoun_beside_a_verb_of_saying(text, mentions):
    assert found(text) == mentions


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet="Aahe sTtd,.\u2019\u201c\u201d'", max_size=60).map("He said {} she added.".format))
def test_mentions_are_in_order_and_do_not_overlap(text):
    spans = list(speakers(text))
    assert spans[0] == (0, 2)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)


@pytest.mark.parametrize("text", ["The " * 5000, "Aa " * 5000, "x" * 50_000, ", he, " * 5000, "A'" * 10_000])
def test_no_text_takes_long(text):
    start = time.perf_counter()
    assert found(text) == []
    assert time.perf_counter() - start < 3
