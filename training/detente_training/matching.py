"""Which found voice is which gold voice: one to one, by the words that their mentions share."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """A pair of a gold and a found mention that share a word.

    Attributes:
        gold: index into the gold spans given.
        found: index into the found spans given.
        exact: whether both begin at the same word and end at the same word.
    """

    gold: int
    found: int
    exact: bool


def _word_range(starts: Sequence[int], ends: Sequence[int], span: tuple[int, int]) -> tuple[int, int]:
    """First and last word that the characters [start, end) touch; first > last where they touch none."""
    return bisect_right(ends, span[0]), bisect_left(starts, span[1]) - 1


def match_mentions(
    text: str,
    gold: Sequence[tuple[int, int]],
    found: Sequence[tuple[int, int]],
    order: Sequence[int] | None = None,
) -> list[Match]:
    """Pairs found mentions with gold mentions, one to one.

    The found mentions are taken in text order, and each takes the first gold mention in text order that is
    still free and shares a word with it. Where neither side overlaps itself, no pairing has more pairs.

    Args:
        text: the paragraph that the spans count in.
        gold: character offsets [start, end) of the gold mentions.
        found: character offsets of the found mentions.
        order: the order in which the found mentions choose, instead of text order.

    Returns:
        The pairs, in text order of the gold mentions.
    """
    if not gold or not found:
        return []
    from detente.encoding import words  # imports transformers

    spans = words(text)
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    gold_words = [_word_range(starts, ends, span) for span in gold]
    found_words = [_word_range(starts, ends, span) for span in found]
    free = sorted((i for i, (first, last) in enumerate(gold_words) if first <= last), key=lambda i: gold[i])
    if order is None:
        order = sorted(range(len(found)), key=lambda i: found[i])
    matches: list[Match] = []
    for candidate in order:
        first, last = found_words[candidate]
        if first > last:
            continue
        for target in free:
            if gold_words[target][0] <= last and first <= gold_words[target][1]:
                free.remove(target)
                matches.append(Match(target, candidate, gold_words[target] == found_words[candidate]))
                break
    return sorted(matches, key=lambda match: gold[match.gold])
