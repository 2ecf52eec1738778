import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente_training.matching import Match, match_mentions

TEXT = "The foreign ministry said so; Kim Jong Un's envoy did not."


def test_mentions_that_share_a_word_match_and_exact_ones_are_marked():
    assert match_mentions(TEXT, [(0, 20), (30, 41)], [(12, 20), (30, 41)]) == [
        Match(0, 0, exact=False),
        Match(1, 1, exact=True),
    ]


def test_exact_counts_words_so_part_of_a_word_is_the_whole_word():
    assert match_mentions(TEXT, [(0, 20)], [(1, 15)]) == [Match(0, 0, exact=True)]


def test_neighbours_without_a_common_word_do_not_match():
    assert match_mentions(TEXT, [(0, 3)], [(4, 11)]) == []
    assert match_mentions(TEXT, [(0, 3)], [(3, 4)]) == []  # a blank touches no word


def test_one_found_mention_matches_one_gold_mention_the_first():
    assert match_mentions(TEXT, [(4, 11), (12, 20)], [(0, 20)]) == [Match(0, 0, exact=False)]


def test_one_gold_mention_takes_one_found_mention_the_first_in_text_order():
    assert match_mentions(TEXT, [(0, 20)], [(12, 20), (0, 3)]) == [Match(0, 1, exact=False)]
    assert match_mentions(TEXT, [(0, 20)], [(12, 20), (0, 3)], order=[0, 1]) == [Match(0, 0, exact=False)]


def test_an_early_mention_leaves_the_later_gold_one_to_the_next():
    assert match_mentions(TEXT, [(4, 11), (12, 20)], [(4, 20), (12, 20)]) == [
        Match(0, 0, exact=False),
        Match(1, 1, exact=True),
    ]


spans = st.lists(st.tuples(st.integers(0, 58), st.integers(1, 20)), max_size=6).map(
    lambda items: [(start, min(start + length, len(TEXT))) for start, length in items]
)


@settings(deadline=None, derandomize=True)
@given(spans, spans)
def test_pairs_are_one_to_one_and_overlap(gold: list[tuple[int, int]], found: list[tuple[int, int]]):
    matches = match_mentions(TEXT, gold, found)
    assert len({m.gold for m in matches}) == len(matches) == len({m.found for m in matches})
    assert [gold[m.gold] for m in matches] == sorted(gold[m.gold] for m in matches)
    for m in matches:
        # no word is longer than 8 characters, so two spans that share one are never further apart
        assert gold[m.gold][0] < found[m.found][1] + 8
        assert found[m.found][0] < gold[m.gold][1] + 8


@settings(deadline=None, derandomize=True)
@given(spans)
def test_every_mention_that_holds_a_word_matches_itself(mentions: list[tuple[int, int]]):
    alone = [match_mentions(TEXT, [span], [span]) for span in mentions]
    held = [bool(TEXT[start:end].strip()) for start, end in mentions]
    assert alone == [[Match(0, 0, exact=True)] if holds else [] for holds in held]


@pytest.mark.parametrize(("gold", "found"), [([], [(0, 3)]), ([(0, 3)], []), ([], [])])
def test_nothing_matches_nothing(gold, found):
    assert match_mentions(TEXT, gold, found) == []
