"""A rule for voices: the noun phrase or pronoun beside a verb of saying. What a trained model has to beat."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SAYING = """
    said says say told tells added adds announced announces argued argues argue insisted insists warned
    warns urged urges demanded wants stressed stresses noted notes stated claimed claims declared declares
    denied denies accused accuses condemned condemns pledged pledges vowed vows promised threatened
    proposed suggested suggests recommended rejected rejects refused refuses emphasized emphasised
    reiterated acknowledged concluded replied wrote believes believe agreed agrees expressed reported
    reports hopes supports explained seeks sought asked called calls tweeted described criticized
    criticised
"""
_DETERMINERS = """
    the a an his her its their our my some many several both these those most one two three other
"""
_AUXILIARIES = """
    has have had also then later again still once do does did not would will must is are was were been
    further both already to be
"""


def _one_of(words: str) -> str:
    return "(?:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


# every repetition is bounded, so that no text takes long
_DETERMINER = rf"(?i:{_one_of(_DETERMINERS)})\b"
_PHRASE = rf"{_DETERMINER}(?: (?!{_DETERMINER})\w[\w'\u2019.-]{{0,30}})"
_CAPITALISED = r"[A-Z][\w'\u2019-]{0,30}\.?"
_NAME = rf"{_CAPITALISED}(?: (?:of |for |and |bin |al-)?{_CAPITALISED}){{0,7}}"
_PRONOUN = r"(?i:he|she|they)\b"
_PLURAL = r"[a-z]{1,30}s"  # "officials", without an article
_NOUNS = rf"\b(?:{_PRONOUN}|{_PHRASE}%s|{_NAME}|{_PLURAL})"
_ASIDE = r"(?:, [^,.;:\"\u201c\u201d]{1,80},)?"
_ADVERBS = rf"(?: (?:{_one_of(_AUXILIARIES)}|[a-z]{{1,20}}ly)){{0,3}}"
_QUOTE_END = r"(?:[,?!][\"\u201d\u2019]?|[\"\u201d])"
_SAID = "(?:said|says|say|added|adds|wrote|told|asked|warned|argued|explained|noted)"

_BEFORE = re.compile(rf"(?P<voice>{_NOUNS % '{1,4}?'}){_ASIDE}{_ADVERBS} {_one_of(_SAYING)}\b")
_AFTER = re.compile(rf"(?:{_QUOTE_END} {_SAID}|\b[Aa]ccording to) (?P<voice>{_NOUNS % '{1,2}'})")


def speakers(text: str) -> Iterator[tuple[int, int]]:
    """Character offsets of the mentions beside a verb of saying, in text order, each wording once."""
    seen: set[str] = set()
    last = 0
    for start, end in sorted({m.span("voice") for rule in (_BEFORE, _AFTER) for m in rule.finditer(text)}):
        if start >= last and text[start:end].casefold() not in seen:
            seen.add(text[start:end].casefold())
            last = end
            yield start, end
