"""Where the words of a text begin and end, and which marked mentions cut through one."""

from __future__ import annotations

_REST = 3  # letters: what runs on this long after a name is a word of its own ("Unsaid"), less is an ending


class Mentions:
    """The mentions of one text, seen against its words (`detente.encoding.words`).

    An offset inside a word is a mistake, except where the source has glued two words. It counts as glued if
      - the cut lies between a lower-case and an upper-case letter, or between a letter and a digit
        ("Comrade|Ro", "and|3 others"); or
      - a mention of several words ends in a capitalised one, and three or more lower-case letters run on
        ("Ana Reyes|said", but neither "North Korea|n" nor "the|m").
    """

    def __init__(self, text: str) -> None:
        from detente.encoding import words  # here, because it loads transformers

        self.text = text
        self._inside = {place for start, end in words(text) for place in range(start + 1, end)}

    def cuts(self, start: int, end: int) -> list[tuple[str, bool]]:
        """The edges of the mention inside a word: ("begins" or "ends", whether it is glued there)."""
        found = []
        if start in self._inside:
            found.append(("begins", self._parted(start)))
        if end in self._inside:
            found.append(("ends", self._parted(end) or self._runs_on(start, end)))
        return found

    def quote(self, start: int, end: int) -> str:
        """The mention with the letters around it, as `t[he]m`."""
        mention = self.text[start:end]
        if len(mention) > 60:
            mention = f"{mention[:40]}…{mention[-19:]}"
        return repr(f"{self.text[max(0, start - 12) : start]}[{mention}]{self.text[end : end + 12]}")

    def _parted(self, place: int) -> bool:
        left, right = self.text[place - 1], self.text[place]
        if left.isalpha() and right.isalpha():
            return left.islower() and right.isupper()
        return (left.isalpha() and right.isdigit()) or (left.isdigit() and right.isalpha())

    def _runs_on(self, start: int, end: int) -> bool:
        mention = self.text[start:end].split()
        rest = self.text[end : end + _REST]
        own_word = len(rest) == _REST and rest.isalpha() and rest.islower()
        return len(mention) > 1 and mention[-1][0].isupper() and own_word
