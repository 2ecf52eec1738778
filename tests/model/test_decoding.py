"""Logits -> voices -> probabilities of a paragraph, against numbers worked out by hand and by enumeration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.decoding import (
    Candidate,
    Mention,
    Reading,
    WindowLogits,
    decide,
    find_mentions,
    found,
    margin,
    paragraph_stance,
    pole_lean,
    read_paragraph,
    sigmoid,
    softmax,
    voice,
)
from detente.encoding import Window, words
from detente.tags import Voice

DEFAULT = Codebook.default()  # stances in order: engagement, pressure, mixed, neutral
THREE_POLES = Codebook.from_dict(
    {
        "version": 1,
        "topics": [{"name": "water"}],
        "poles": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "stances": [
            {"name": "none", "poles": []},
            {"name": "a", "poles": ["a"]},
            {"name": "b", "poles": ["b"]},
            {"name": "c", "poles": ["c"]},
            {"name": "ab", "poles": ["b", "a"]},
            {"name": "abc", "poles": ["a", "b", "c"]},
        ],
    }
)
NO_POLES = Codebook.from_dict({"version": 1, "topics": [], "poles": [], "stances": [{"name": "speaks"}]})
ONLY_TOPICS = Codebook.from_dict({"version": 1, "topics": [{"name": "water"}], "poles": [], "stances": []})
PLAIN = Calibration(candidate_floor=0.1)
NEVER, ALWAYS = (0.98, 0.01, 0.01), (0.01, 0.98, 0.01)


def window(*tokens: tuple[int, int], heads: Sequence[int] | None = None, part: int = 0, parts: int = 1) -> Window:
    """Text tokens at these character offsets between two special tokens; each begins a word unless `heads` says."""
    offsets = np.array([(0, 0), *tokens, (0, 0)], dtype=np.int64)
    marked = np.zeros(len(offsets), dtype=bool)
    marked[list(range(1, len(tokens) + 1) if heads is None else heads)] = True
    return Window(0, part, parts, np.arange(len(offsets)), offsets, marked)


def logits(*probabilities: tuple[float, float, float]) -> np.ndarray:
    """Voice logits whose softmax is these rows of outside, begin, inside."""
    return np.log(np.array(probabilities))


def rounded(mentions: Sequence[Mention]) -> list[tuple[int, int, float]]:
    return [(m.first, m.end, round(m.presence, 6)) for m in mentions]


def candidate(presence: float, *stances: float, start: int | None = None, end: int | None = None) -> Candidate:
    return Candidate(start, end, presence, np.array(stances))


def test_softmax_and_sigmoid() -> None:
    assert sigmoid([0.0, math.log(3)]).tolist() == pytest.approx([0.5, 0.75])
    assert softmax([[0.0, math.log(3)], [1000.0, 1000.0]]).tolist() == [
        pytest.approx([0.25, 0.75]),
        pytest.approx([0.5, 0.5]),
    ]


# --- voices of a window


def test_a_voice_goes_on_while_the_next_word_is_inside() -> None:
    of = window((0, 3), (4, 9), (10, 14), (15, 20))
    rows = logits(NEVER, (0.95, 0.03, 0.02), (0.08, 0.9, 0.02), (0.25, 0.05, 0.7), (0.9, 0.05, 0.05), NEVER)
    assert rounded(find_mentions(rows, of, PLAIN)) == [(2, 4, 0.9)]


def test_a_voice_has_all_tokens_of_its_last_word() -> None:
    of = window((0, 3), (4, 6), (6, 9), (9, 11), (12, 15), heads=[1, 2, 5])
    rows = logits(NEVER, NEVER, ALWAYS, (0.1, 0.1, 0.8), (0.3, 0.3, 0.4), NEVER, NEVER)
    assert rounded(find_mentions(rows, of, PLAIN)) == [(2, 5, 0.98)]


def test_a_voice_may_end_with_the_window() -> None:
    rows = logits(NEVER, ALWAYS, (0.05, 0.05, 0.9), NEVER)
    assert rounded(find_mentions(rows, window((0, 3), (4, 9)), PLAIN)) == [(1, 3, 0.98)]


def test_voices_side_by_side() -> None:
    rows = logits(NEVER, ALWAYS, ALWAYS, (0.4, 0.3, 0.3), NEVER)
    assert rounded(find_mentions(rows, window((0, 3), (4, 9), (10, 12)), PLAIN)) == [
        (1, 2, 0.98),
        (2, 3, 0.98),
        (3, 4, 0.3),
    ]


def test_rivals_for_one_mention_share_its_probability() -> None:
    # "The | envoy": begins at "The" (.5) or at "envoy" (.4); the first reading goes on over both words.
    rows = logits(NEVER, (0.49, 0.5, 0.01), (0.1, 0.4, 0.5), NEVER, NEVER)
    of = window((0, 3), (4, 9), (10, 14))
    assert rounded(find_mentions(rows, of, PLAIN)) == [(1, 3, 0.9)]
    # The other way round the likelier reading is the short one; and no probability is over 1.
    rows = logits(NEVER, (0.39, 0.6, 0.01), (0.02, 0.48, 0.5), NEVER, NEVER)
    assert rounded(find_mentions(rows, of, PLAIN)) == [(1, 3, 1.0)]
    rows = logits(NEVER, (0.69, 0.3, 0.01), (0.02, 0.44, 0.54), NEVER, NEVER)
    assert rounded(find_mentions(rows, of, PLAIN)) == [(2, 3, 0.74)]


def test_under_the_floor_is_no_candidate() -> None:
    rows = logits((0.91, 0.04, 0.05), (0.91, 0.09, 0.001), (0.89, 0.11, 0.001), NEVER)
    assert [m.first for m in find_mentions(rows, window((0, 3), (4, 9)), PLAIN)] == [2]
    assert [m.first for m in find_mentions(rows, window((0, 3), (4, 9)), replace(PLAIN, candidate_floor=0.08))] == (
        [0, 1, 2]
    )


def test_the_narrator_is_the_first_token_of_the_first_window() -> None:
    rows = logits((0.3, 0.5, 0.2), NEVER, NEVER)
    assert rounded(find_mentions(rows, window((0, 3)), PLAIN)) == [(0, 1, 0.7)]
    assert find_mentions(rows, window((0, 3), part=1, parts=2), PLAIN) == ()


def test_each_head_has_its_temperature() -> None:
    rows = logits((0.64, 0.18, 0.18), (0.64, 0.18, 0.18), NEVER)
    # Divided by 2, logits become square roots of probabilities: .8, .424264, .424264; sum 1.648528.
    warm = replace(PLAIN, narrator_temperature=2.0)
    assert rounded(find_mentions(rows, window((0, 3)), warm)) == [(0, 1, 0.514719), (1, 2, 0.18)]
    warm = replace(PLAIN, voice_temperature=2.0)
    assert rounded(find_mentions(rows, window((0, 3)), warm)) == [(0, 1, 0.36), (1, 2, 0.257359)]


def test_padding_and_windows_without_words() -> None:
    rows = logits(NEVER, ALWAYS, NEVER, ALWAYS, ALWAYS)
    assert rounded(find_mentions(rows, window((0, 3)), PLAIN)) == [(1, 2, 0.98)]
    assert find_mentions(rows, window(), PLAIN) == ()
    assert find_mentions(rows, window((0, 1), heads=[]), PLAIN) == ()


# --- windows of a paragraph

#                 0    5    10   15   20   25
LETTERS = "aaaa bbbb cccc dddd eeee ffff"
LEFT = window((0, 4), (5, 9), (10, 14), (15, 19), part=0, parts=2)
RIGHT = window((10, 14), (15, 19), (20, 24), (25, 29), part=1, parts=2)
TOWARDS_E, TOWARDS_P = np.log([0.7, 0.1, 0.1, 0.1]), np.log([0.2, 0.6, 0.1, 0.1])


def said(*mentions: Mention, topics: Sequence[float] = (0.0, 0.0, 0.0), stance: np.ndarray = TOWARDS_E) -> WindowLogits:
    return WindowLogits(np.array(topics), mentions, np.tile(stance, (len(mentions), 1)))


def spans(reading: Reading) -> list[tuple[int | None, int | None, float]]:
    return [(c.start, c.end, c.presence) for c in reading.candidates]


def test_margin_counts_characters_to_the_nearest_edge_inside_the_paragraph() -> None:
    assert margin(LEFT, 10, 14) == 5
    assert margin(LEFT, 0, 4) == 15
    assert margin(RIGHT, 10, 14) == 0
    assert margin(RIGHT, 25, 29) == 15
    assert margin(LEFT, 20, 24) == -5
    assert margin(RIGHT, 5, 14) == -5
    assert margin(window((0, 4)), 0, 4) == math.inf
    assert margin(window(part=1, parts=3), 0, 4) == -math.inf


def test_topics_have_the_highest_probability_of_any_window() -> None:
    parts = [(LEFT, said(topics=(0.0, math.log(3), -9.0))), (RIGHT, said(topics=(math.log(4), 0.0, -9.0)))]
    reading = read_paragraph(LETTERS, parts, Calibration())
    assert reading.topics.tolist() == pytest.approx([0.8, 0.75, 0.000123394576])
    assert reading.windows == 2
    assert reading.candidates == ()
    warm = read_paragraph(LETTERS, parts, Calibration(topic_temperature=2.0))
    assert warm.topics[0] == pytest.approx(2 / 3)


def test_a_mention_is_taken_from_the_window_where_it_stands_furthest_from_an_edge() -> None:
    cccc_left, cccc_right, dddd_left, dddd_right = (
        Mention(3, 4, 0.9),
        Mention(1, 2, 0.8),
        Mention(4, 5, 0.7),
        Mention(2, 3, 0.6),
    )
    parts = [
        (LEFT, said(cccc_left, dddd_left)),
        (RIGHT, said(cccc_right, dddd_right, stance=TOWARDS_P)),
    ]
    reading = read_paragraph(LETTERS, parts, Calibration())
    assert spans(reading) == [(10, 14, 0.9), (15, 19, 0.6)]
    assert reading.candidates[0].stances.tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1])
    assert reading.candidates[1].stances.tolist() == pytest.approx([0.2, 0.6, 0.1, 0.1])


def test_what_the_better_window_does_not_find_is_not_there() -> None:
    parts = [(LEFT, said(Mention(4, 5, 0.7))), (RIGHT, said())]
    assert spans(read_paragraph(LETTERS, parts, Calibration())) == []


def test_of_readings_that_overlap_the_likelier_stays() -> None:
    # "cccc" stands best in the left window; "cccc dddd" touches an edge of both.
    parts = [(LEFT, said(Mention(3, 4, 0.4))), (RIGHT, said(Mention(1, 3, 0.6), Mention(4, 5, 0.5)))]
    assert spans(read_paragraph(LETTERS, parts, Calibration())) == [(10, 19, 0.6), (25, 29, 0.5)]
    parts = [(LEFT, said(Mention(3, 4, 0.7))), (RIGHT, said(Mention(1, 3, 0.6)))]
    assert spans(read_paragraph(LETTERS, parts, Calibration())) == [(10, 14, 0.7)]


def test_the_narrator_comes_first_and_from_the_first_window() -> None:
    parts = [(LEFT, said(Mention(0, 1, 0.6), Mention(1, 2, 0.9))), (RIGHT, said(stance=TOWARDS_P))]
    reading = read_paragraph(LETTERS, parts, Calibration(stance_temperature=1.0))
    assert spans(reading) == [(None, None, 0.6), (0, 4, 0.9)]


def test_stances_have_their_temperature() -> None:
    reading = read_paragraph(LETTERS, [(LEFT, said(Mention(1, 2, 0.9)))], Calibration(stance_temperature=2.0))
    # Square roots .83666, .316228 (thrice); sum 1.785344.
    assert reading.candidates[0].stances.tolist() == pytest.approx([0.468627, 0.177124, 0.177124, 0.177124], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "token", "mention"),
    [
        ("then Darusman, the", (4, 14), "Darusman"),  # a token with its blank and a comma
        ("“Officials” hope", (0, 11), "“Officials"),
        ("the U.N. said", (3, 8), "U.N."),  # a full stop may belong to a name
        ("Pyongyang said", (5, 9), "Pyongyang"),  # cut by a window without overlap
        ("said:\u202e", (4, 5), ":"),  # signs alone are kept as they are
        ("one  two", (3, 5), None),
    ],
)
def test_mentions_are_whole_words_without_closing_signs(text: str, token: tuple[int, int], mention: str | None) -> None:
    reading = read_paragraph(text, [(window(token), said(Mention(1, 2, 0.9)))], Calibration())
    assert [text[c.start : c.end] for c in reading.candidates] == ([] if mention is None else [mention])


def test_a_codebook_of_topics_alone_has_no_voices() -> None:
    parts = [
        (window((0, 4)), WindowLogits(np.array([0.0]), (Mention(0, 1, 0.9), Mention(1, 2, 0.9)), np.empty((2, 0))))
    ]
    reading = read_paragraph("aaaa", parts, Calibration())
    assert reading.topics.tolist() == [0.5]
    assert reading.candidates == ()
    assert paragraph_stance(reading.candidates, ONLY_TOPICS) == {}
    assert pole_lean(reading.candidates, ONLY_TOPICS) is None


@settings(deadline=None, derandomize=True)
@given(st.text("ab ,.\u0301é\n", max_size=40), st.data())
def test_any_reading_gives_mentions_that_are_whole_words_and_apart(text: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    tokens = [(i, min(i + size, len(text))) for i in range(0, len(text), size)]
    of = window(*tokens)
    rows = data.draw(st.lists(st.tuples(*[st.floats(-4, 4)] * 3), min_size=len(of), max_size=len(of)).map(np.array))
    mentions = find_mentions(rows, of, PLAIN)
    reading = read_paragraph(text, [(of, said(*mentions))], PLAIN)
    starts, ends = {start for start, _ in words(text)}, {end for _, end in words(text)}
    previous = 0
    for c in reading.candidates:
        if c.start is not None and c.end is not None:
            assert c.start in starts
            assert c.end in ends
            assert previous <= c.start < c.end
            previous = c.end
        assert 0.1 <= c.presence <= 1
        assert c.stances.sum() == pytest.approx(1)


# --- the paragraph


def test_paragraph_stance_by_hand() -> None:
    # d = .9, .5; P(neutral) = (.1 + .9 x .1)(.5 + .5 x .2) = .19 x .6
    # P(only e) = (.1 + .9 x .8)(.5 + .5 x .4) - P(neutral) = .82 x .7 - .114; P(only p) = .28 x .9 - .114
    voices = [candidate(0.9, 0.7, 0.1, 0.1, 0.1), candidate(0.5, 0.2, 0.6, 0.0, 0.2)]
    assert paragraph_stance(voices, DEFAULT) == pytest.approx(
        {"engagement": 0.46, "pressure": 0.138, "mixed": 0.288, "neutral": 0.114}
    )
    # P(p there) = 1 - .82 x .7; P(e there) = 1 - .28 x .9
    assert pole_lean(voices, DEFAULT) == pytest.approx(0.426 - 0.748)


def test_a_paragraph_without_candidates_is_neutral() -> None:
    assert paragraph_stance([], DEFAULT) == {"engagement": 0.0, "pressure": 0.0, "mixed": 0.0, "neutral": 1.0}
    assert pole_lean([], DEFAULT) == 0.0


def test_a_certain_voice_gives_the_paragraph_its_stances() -> None:
    certain = [candidate(1.0, 0.4, 0.3, 0.2, 0.1)]
    assert paragraph_stance(certain, DEFAULT) == pytest.approx(
        {"engagement": 0.4, "pressure": 0.3, "mixed": 0.2, "neutral": 0.1}
    )
    assert pole_lean(certain, DEFAULT) == pytest.approx(0.5 - 0.6)


def test_opposite_voices_make_a_mixed_paragraph() -> None:
    opposite = [candidate(1.0, 1.0, 0.0, 0.0, 0.0), candidate(1.0, 0.0, 1.0, 0.0, 0.0)]
    assert paragraph_stance(opposite, DEFAULT) == {"engagement": 0.0, "pressure": 0.0, "mixed": 1.0, "neutral": 0.0}
    assert pole_lean(opposite, DEFAULT) == 0.0


def test_three_poles() -> None:
    # none, a, b, c, ab, abc; the sets {a, c} and {b, c} have no stance and keep their share.
    voices = [candidate(1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0), candidate(0.5, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)]
    assert paragraph_stance(voices, THREE_POLES) == {
        "none": 0.0,
        "a": 0.25,
        "b": 0.25,
        "c": 0.0,
        "ab": 0.0,
        "abc": 0.0,
    }
    assert pole_lean(voices, THREE_POLES) is None


def test_no_poles() -> None:
    voices = [candidate(0.3, 1.0)]
    assert paragraph_stance(voices, NO_POLES) == {"speaks": 1.0}
    assert pole_lean(voices, NO_POLES) is None


def enumerated(voices: Sequence[Candidate], codebook: Codebook) -> tuple[dict[str, float], dict[str, float]]:
    """P(stance of the paragraph) and P(pole present), by going through every way in which the voices could be."""
    stances = {frozenset(s.poles): s.name for s in codebook.stances}
    paragraph = dict.fromkeys(codebook.stance_names, 0.0)
    present = {pole.name: 0.0 for pole in codebook.poles}
    for chosen in product([None, *codebook.stance_names], repeat=len(voices)):
        probability = 1.0
        union: frozenset[str] = frozenset()
        for one, stance in zip(voices, chosen, strict=True):
            if stance is None:
                probability *= 1 - one.presence
            else:
                probability *= one.presence * one.stances[codebook.stance_names.index(stance)]
                union |= codebook.poles_of(stance)
        if union in stances:
            paragraph[stances[union]] += probability
        for pole in union:
            present[pole] += probability
    return paragraph, present


@pytest.mark.parametrize("codebook", [DEFAULT, THREE_POLES, NO_POLES], ids=["default", "three poles", "no poles"])
def test_the_formula_is_the_sum_over_every_way_the_voices_could_be(codebook: Codebook) -> None:
    size = len(codebook.stances)
    stances = st.lists(st.floats(0.01, 1), min_size=size, max_size=size).map(lambda s: np.array(s) / sum(s))
    voices = st.lists(st.builds(Candidate, st.none(), st.none(), st.floats(0, 1), stances), max_size=4)

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(voices)
    def check(voices: list[Candidate]) -> None:
        paragraph, present = enumerated(voices, codebook)
        computed = paragraph_stance(voices, codebook)
        assert computed == pytest.approx(paragraph, abs=1e-9)
        assert all(0 <= p <= 1 for p in computed.values())
        if codebook is not THREE_POLES:  # every set of poles has its stance
            assert sum(computed.values()) == pytest.approx(1)
        lean = pole_lean(voices, codebook)
        if codebook is DEFAULT:
            assert lean == pytest.approx(present["pressure"] - present["engagement"], abs=1e-9)
            assert -1 <= lean <= 1
        else:
            assert lean is None

    check()


# --- what a user gets


def test_a_voice() -> None:
    made = voice(candidate(0.8, 0.7, 0.1, 0.15, 0.05, start=4, end=9), "The envoy said", DEFAULT, PLAIN)
    assert made == Voice(
        mention="envoy",
        start=4,
        end=9,
        narrator=False,
        speaker=None,
        presence=0.8,
        stance="engagement",
        stances={"engagement": 0.7, "pressure": 0.1, "mixed": 0.15, "neutral": 0.05},
        lean=made.lean,
    )
    assert made.lean == pytest.approx(-0.6)  # (.1 + .15) - (.7 + .15); its presence does not count


def test_the_narrator_has_no_place() -> None:
    made = voice(candidate(0.8, 0.1, 0.7, 0.1, 0.1), "We must act.", DEFAULT, PLAIN)
    assert (made.mention, made.start, made.end, made.narrator) == ("narrator", None, None, True)
    assert made.stance == "pressure"


def test_fitted_weights_move_the_decision_and_not_the_probabilities() -> None:
    weighted = Calibration(stance_weights={"mixed": 3})
    made = voice(candidate(0.8, 0.5, 0.1, 0.2, 0.2, start=4, end=9), "The envoy said", DEFAULT, weighted)
    assert (made.stance, made.stances["engagement"], made.stances["mixed"]) == ("mixed", 0.5, 0.2)
    assert decide((0.25, 0.25, 0.25, 0.25), DEFAULT, PLAIN) == "engagement"  # the first of equals
    assert decide((0.5, 0.1, 0.1, 0.3), DEFAULT, Calibration(stance_weights={"engagement": 0.5})) == "neutral"


def test_voices_from_their_thresholds_on_are_found() -> None:
    narrator, low, high = (
        candidate(0.6, 0.25, 0.25, 0.25, 0.25),
        candidate(0.3, 0.25, 0.25, 0.25, 0.25, start=0, end=3),
        candidate(0.4, 0.25, 0.25, 0.25, 0.25, start=4, end=9),
    )
    reading = Reading(np.zeros(3), (narrator, low, high), 1)
    assert found(reading, Calibration(voice_threshold=0.4, narrator_threshold=0.6)) == (narrator, high)
    assert found(reading, Calibration(voice_threshold=0.2, narrator_threshold=0.61)) == (low, high)
