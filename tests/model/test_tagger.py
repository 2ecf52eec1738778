"""Documents, paragraphs and frames in, tags out, over a tiny network with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente import ParagraphTags, Tagger
from detente.calibration import Calibration
from detente.decoding import Mention, WindowLogits
from detente.documents import Article, Paragraph, article_from_text
from detente.encoding import Batch
from detente.errors import DataError

TEXTS = [
    "The envoy urged the government to keep up the pressure, officials said.",
    "Pyongyang has denied the abuses.",
    "Two soldiers were wounded by landmines at the border in August.",
]
ARTICLE = """Border talks

Marzuki Darusman said accountability must come first, and Darusman stayed.

Border talks

Officials hope that talks will resume; nobody spoke of sanctions.
"""


@dataclass(frozen=True)
class ByRule:
    """A runtime that knows what to say: each known token begins a voice with this presence and these stances."""

    tokens: Mapping[int, tuple[float, Sequence[float]]]

    def forward(self, batch: Batch, find: Callable[..., Sequence[Mention]]) -> list[WindowLogits]:
        made = []
        for window, ids in zip(batch.windows, batch.input_ids, strict=True):
            begin = np.array([self.tokens.get(int(i), (1e-9, ()))[0] for i in ids])
            mentions = tuple(find(np.log(np.stack([1 - begin, begin, np.full_like(begin, 1e-9)], axis=1)), window))
            stances = [self.tokens[int(ids[m.first])][1] for m in mentions]
            made.append(WindowLogits(np.zeros(3), mentions, np.log(np.reshape(stances, (len(mentions), 4)))))
        return made


@pytest.fixture
def by_rule(tagger: Tagger) -> Callable[..., Tagger]:
    """Makes a tagger that finds the words given, each with its presence and stances."""

    def make(**words: tuple[float, Sequence[float]]) -> Tagger:
        tokenizer = tagger.reader.tokenizer
        known = {tokenizer(word, add_special_tokens=False)["input_ids"][0]: said for word, said in words.items()}
        return Tagger(replace(tagger.reader, runtime=ByRule(known), calibration=Calibration()))

    return make


ENGAGED = (0.97, 0.01, 0.01, 0.01)
TORN = (0.49, 0.49, 0.01, 0.01)


def values(tags: ParagraphTags) -> list[float]:
    voices = [p for v in tags.voices for p in (v.presence, *v.stances.values())]
    return [*tags.topic_probabilities.values(), *tags.stance_probabilities.values(), *voices]


def test_an_article_keeps_its_headings_untagged(tagger: Tagger) -> None:
    tags = tagger.tag(ARTICLE)
    assert [(t.kind, t.tagged) for t in tags] == [
        ("heading", False),
        ("paragraph", True),
        ("repeat", False),
        ("paragraph", True),
    ]
    assert [t.paragraph for t in tags] == [0, 1, 2, 3]
    assert tags[0].topics == ()
    assert tags[0].stance is None
    assert all(t.tagged for t in tagger.tag(ARTICLE, everything=True))


def test_a_text_and_its_article_give_the_same(tagger: Tagger) -> None:
    assert tagger.tag(ARTICLE) == tagger.tag(article_from_text(ARTICLE, "article"))


@pytest.mark.parametrize("text", ["", " \n\n\t ", "\u200b"])
def test_an_article_without_a_paragraph_is_refused(tagger: Tagger, text: str) -> None:
    with pytest.raises(DataError, match="there is no paragraph in `article`, nothing but blanks"):
        tagger.tag(text)
    with pytest.raises(DataError, match="there is no paragraph in `mine`"):
        tagger.tag(Article("mine", ()))


@pytest.mark.parametrize("what", [Path("article.txt"), ["a text"], None])
def test_what_is_no_article_is_refused(tagger: Tagger, what: Any) -> None:
    with pytest.raises(DataError, match=f"an article is a text or an `Article`, not {type(what).__name__}"):
        tagger.tag(what)


def test_tags_in_full(by_rule: Callable[..., Tagger]) -> None:
    article = "Marzuki Darusman said accountability must come first.\n\nOfficials hope that Darusman comes."
    said = by_rule(darusman=(0.9, (0.1, 0.7, 0.1, 0.1)), officials=(0.4, ENGAGED))
    tags = said.tag(article)[1]
    assert (tags.id, tags.document, tags.paragraph, tags.kind) == ("article#1", "article", 1, "paragraph")
    assert tags.text == "Officials hope that Darusman comes."
    assert tags.topics == ("human_rights", "military_tension", "diplomacy")  # each has exactly one half
    (voice,) = tags.voices  # the officials stay under the threshold, but count in the probabilities
    assert (voice.mention, voice.start, voice.end, voice.speaker) == ("Darusman", 20, 28, "Marzuki Darusman")
    assert voice.presence == pytest.approx(0.9)
    assert voice.stances == pytest.approx({"engagement": 0.1, "pressure": 0.7, "mixed": 0.1, "neutral": 0.1})
    assert voice.lean == pytest.approx(0.6)
    assert tags.stance == "pressure"
    # Neutral (.1 + .9 x .1)(.6 + .4 x .01); only p (.1 + .9 x .8)(.6 + .4 x .02) and only e (.28)(.992) less that.
    assert tags.stance_probabilities == pytest.approx(
        {"neutral": 0.11476, "pressure": 0.3838, "engagement": 0.163, "mixed": 0.33844}, abs=1e-6
    )
    assert tags.lean == pytest.approx((1 - 0.28 * 0.992) - (1 - 0.82 * 0.608))
    assert tags.flags == ("low_confidence",)


def test_flags_say_where_rule_and_probability_differ(by_rule: Callable[..., Tagger]) -> None:
    (tags,) = by_rule(officials=(0.4, ENGAGED), minister=(0.4, ENGAGED)).tag_paragraphs(["Officials hope, minister"])
    assert (tags.voices, tags.stance) == ((), "neutral")  # neither is likely there; that one of them is, is
    assert tags.stance_probabilities["engagement"] > 0.6
    assert tags.flags == ("rule_and_probability_differ",)


def test_flags_say_where_no_stance_is_likely(by_rule: Callable[..., Tagger]) -> None:
    (tags,) = by_rule(officials=(0.45, TORN), minister=(0.45, TORN)).tag_paragraphs(["Officials hope, minister"])
    assert max(tags.stance_probabilities.values()) < 0.5
    assert tags.flags == ("low_confidence",)


def test_probabilities_are_complete_and_add_up(tagger: Tagger) -> None:
    for tags in tagger.tag_paragraphs(TEXTS):
        assert list(tags.topic_probabilities) == ["human_rights", "military_tension", "diplomacy"]
        assert sum(tags.stance_probabilities.values()) == pytest.approx(1)
        assert tags.lean == pytest.approx(
            tags.stance_probabilities["pressure"] - tags.stance_probabilities["engagement"], abs=1e-9
        )
        for voice in tags.voices:
            assert sum(voice.stances.values()) == pytest.approx(1)
            assert voice.stance == max(voice.stances, key=voice.stances.__getitem__)
        assert tags.stance == tagger.codebook.union(v.stance for v in tags.voices)


def test_a_tag_does_not_depend_on_its_neighbours(tagger: Tagger) -> None:
    together = tagger.tag_paragraphs([*TEXTS, "Talks. " * 90])
    for text, tags in zip(TEXTS, together, strict=False):
        (alone,) = tagger.tag_paragraphs([text])
        assert values(alone) == pytest.approx(values(tags), abs=1e-5)
        assert [(v.start, v.end) for v in alone.voices] == [(v.start, v.end) for v in tags.voices]


def test_a_long_paragraph_is_read_in_windows_to_its_end(tagger: Tagger) -> None:
    text = " ".join(f"Speaker {i} of the group said that talks must resume." for i in range(60))
    (tags,) = tagger.tag_paragraphs([text])
    assert "windowed" in tags.flags
    assert "windowed" not in tagger.tag_paragraphs(TEXTS)[0].flags
    ends = [v.end for v in tags.voices if v.end is not None]
    assert max(ends) > len(text) * 0.9
    assert ends == sorted(ends)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    text=st.lists(
        st.sampled_from(
            [
                "said ",
                "Envoy ",
                "talks",
                ", ",
                "e\u0301",
                "\U0001f468\u200d\U0001f469",
                "\u202e",
                "\u200b",
                "\x00",
                "\ud800",
                "\n",
                "“",
                "İ",
            ]
        ),
        min_size=1,
        max_size=40,
    ).map("".join)
)
def test_mentions_are_the_words_at_their_offsets(tagger: Tagger, text: str) -> None:
    (tags,) = tagger.tag_paragraphs([text])
    assert len(tags.text) == len(text)
    assert ("characters_replaced" in tags.flags) == ("\ud800" in text)
    spans = [(v.start, v.end) for v in tags.voices if not v.narrator]
    for voice, span in zip([v for v in tags.voices if not v.narrator], spans, strict=True):
        assert voice.mention == tags.text[slice(*span)] != ""
        assert voice.mention.strip() == voice.mention
    assert all(a[1] <= b[0] for a, b in pairwise(spans))  # type: ignore[operator]


def test_blank_and_empty_texts_are_read_too(tagger: Tagger) -> None:
    assert tagger.tag_paragraphs([]) == []
    assert [t.tagged for t in tagger.tag_paragraphs(["", "   "])] == [True, True]


def test_what_is_no_text_is_refused(tagger: Tagger) -> None:
    with pytest.raises(DataError, match="item 1 is int, not a text; give strings or detente's `Paragraph`s"):
        tagger.tag_paragraphs(["Talks resumed.", 7])  # type: ignore[list-item]
    with pytest.raises(DataError, match="give a list of texts, not one text"):
        tagger.tag_paragraphs("Talks resumed.")


def test_streaming_is_lazy_and_keeps_the_order(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detente.tagger.CHUNK", 2)
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for text in TEXTS * 2:
            taken += 1
            yield text

    stream = tagger.stream(texts())
    assert next(stream).text == TEXTS[0]
    assert taken == 3  # one more than a chunk, to see where its last document ends
    assert [t.text for t in stream] == (TEXTS * 2)[1:]


def test_surnames_are_resolved_within_their_document_only(
    by_rule: Callable[..., Tagger], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = by_rule(darusman=(0.9, ENGAGED))
    document = [Paragraph("Darusman left.", str(i), "a", i) for i in range(5)]
    document.append(Paragraph("Marzuki Darusman arrived.", "5", "a", 5))
    rows = [*document, Paragraph("Darusman left.", "6", "b", 0)]
    expected = ["Marzuki Darusman"] * 6 + [None]
    assert [t.voices[0].speaker for t in tagger.tag_paragraphs(rows)] == expected
    monkeypatch.setattr("detente.tagger.CHUNK", 2)  # a document is not cut
    assert [t.voices[0].speaker for t in tagger.tag_paragraphs(rows)] == expected
    monkeypatch.setattr("detente.tagger.LONGEST_CHUNK", 4)  # unless it is longer than this
    assert [t.voices[0].speaker for t in tagger.tag_paragraphs(rows)] == [None] * 4 + expected[4:]


def test_a_frame_keeps_its_rows_columns_and_index(tagger: Tagger) -> None:
    frame = pd.DataFrame(
        {"body": [TEXTS[0], None, "  ", TEXTS[1]], "outlet": ["A", "B", "C", "D"], "stance": [1, 2, 3, 4]},
        index=[9, 7, 5, 3],
    )
    tagged = tagger.tag_frame(frame, text="body")
    assert list(tagged.index) == [9, 7, 5, 3]
    assert tagged["outlet"].tolist() == ["A", "B", "C", "D"]
    assert tagged["input_stance"].tolist() == [1, 2, 3, 4]
    assert tagged["tagged"].tolist() == [True, False, False, True]
    assert tagged["stance"].notna().tolist() == [True, False, False, True]
    assert tagged["topic_diplomacy"].between(0, 1).tolist() == [True, False, False, True]
    assert "text" not in tagged


TAG_COLUMNS = [
    *("tagged", "topics", "topic_human_rights", "topic_military_tension", "topic_diplomacy", "stance"),
    *("stance_engagement", "stance_pressure", "stance_mixed", "stance_neutral", "lean", "voices", "flags"),
]


@pytest.mark.parametrize("cells", [[], [None, 7, float("nan"), "", " \u200b\n"], TEXTS])
def test_a_frame_has_the_same_columns_whatever_is_in_it(tagger: Tagger, cells: list[Any]) -> None:
    tagged = tagger.tag_frame(pd.DataFrame({"text": pd.Series(cells, dtype=object)}))
    assert list(tagged.columns) == ["text", *TAG_COLUMNS]
    assert len(tagged) == len(cells)
    assert tagged["topic_diplomacy"].dtype == tagged["lean"].dtype == np.float64
    assert tagged["tagged"].tolist() == [cell in TEXTS for cell in cells]


def test_a_frame_has_the_tags_of_its_paragraphs(tagger: Tagger) -> None:
    texts = [*TEXTS, "said \ud800"]
    tagged = tagger.tag_frame(pd.DataFrame({"text": pd.Series(texts, dtype=object)}))
    for row, tags in zip(tagged.to_dict("records"), tagger.tag_paragraphs(texts), strict=True):
        assert {name: row[name] for name in TAG_COLUMNS} == {name: tags.to_dict()[name] for name in TAG_COLUMNS}


def test_columns_with_the_name_of_a_tag_are_kept_aside(tagger: Tagger) -> None:
    columns = {"text": TEXTS, "stance": [1, 2, 3], "input_stance": [4, 5, 6], "lean": [7, 8, 9]}
    frame = pd.DataFrame(columns, index=[0, 0, 1])
    tagged = tagger.tag_frame(frame)
    assert list(tagged.columns) == ["text", "input_input_stance", "input_stance", "input_lean", *TAG_COLUMNS]
    assert tagged["input_input_stance"].tolist() == [1, 2, 3]
    assert tagged["input_stance"].tolist() == [4, 5, 6]
    assert list(tagged.index) == [0, 0, 1]
    assert list(frame.columns) == list(columns)  # the caller's frame is as it was


def test_a_frame_resolves_surnames_within_its_documents(by_rule: Callable[..., Tagger]) -> None:
    left, came = "Darusman left.", "Marzuki Darusman arrived."
    frame = pd.DataFrame({"text": [left, left, left, came, left], "url": ["a", None, "b", "a", None]})
    tagger = by_rule(darusman=(0.9, ENGAGED))
    speakers = [voices[0]["speaker"] for voices in tagger.tag_frame(frame, document="url")["voices"]]
    assert speakers == ["Marzuki Darusman", None, None, "Marzuki Darusman", None]
    speakers = [voices[0]["speaker"] for voices in tagger.tag_frame(frame)["voices"]]
    assert speakers == [None, None, None, "Marzuki Darusman", None]


def test_a_frame_with_two_columns_of_that_name_is_refused(tagger: Tagger) -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(DataError, match="the frame has more than one column `text`; rename all but one"):
        tagger.tag_frame(frame)


def test_a_frame_without_the_column_is_refused(tagger: Tagger) -> None:
    with pytest.raises(DataError, match="the frame has no column `text`; it has: body"):
        tagger.tag_frame(pd.DataFrame({"body": TEXTS}))


def test_threads_may_share_a_tagger(tagger: Tagger, tiny_bundle: Path) -> None:
    work = [TEXTS, TEXTS[::-1], [ARTICLE * 5], ["", *TEXTS]]
    expected = [tagger.tag_paragraphs(texts) for texts in work]
    fresh, start = Tagger.from_pretrained(tiny_bundle, device="cpu"), Barrier(4)

    def read(texts: list[str]) -> list[ParagraphTags]:
        start.wait()
        return [tags for _ in range(3) for tags in fresh.tag_paragraphs(texts)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, work)) == [tags * 3 for tags in expected]
