"""Documents, paragraphs and frames in, tags out, over a tiny network with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente import ParagraphTags, Tagger
from detente.documents import Paragraph, article_from_text
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
            ["said ", "Envoy ", "talks", ", ", "e\u0301", "\U0001f468\u200d\U0001f469", "\u202e", "\u200b", "\x00", "\ud800", "\n", "“", "İ"]
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
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))  # type: ignore[operator]


def test_blank_and_empty_texts_are_read_too(tagger: Tagger) -> None:
    assert tagger.tag_paragraphs([]) == []
    assert [t.tagged for t in tagger.tag_paragraphs(["", "   "])] == [True, True]


def test_what_is_no_text_is_refused(tagger: Tagger) -> None:
    with pytest.raises(DataError, match="item 1 is int, not a text; give strings or detente's `Paragraph`s"):
        tagger.tag_paragraphs(["Talks resumed.", 7])  # type: ignore[list-item]


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


def test_surnames_are_resolved_within_their_document_only(tagger: Tagger) -> None:
    rows = [Paragraph("Marzuki Darusman arrived.", "0", "a", 0), Paragraph("Darusman left.", "1", "a", 1)]
    tags = tagger.tag_paragraphs([*rows, Paragraph("Darusman left.", "2", "b", 0)])
    assert {v.speaker for v in tags[1].voices if v.mention == "Darusman"} <= {"Marzuki Darusman"}
    assert {v.speaker for v in tags[2].voices} <= {None}


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
    assert len(tagger.tag_frame(frame.iloc[:0], text="body")) == 0


def test_a_frame_without_the_column_is_refused(tagger: Tagger) -> None:
    with pytest.raises(DataError, match="the frame has no column `text`; it has: body"):
        tagger.tag_frame(pd.DataFrame({"body": TEXTS}))


def test_threads_may_share_a_tagger(tagger: Tagger) -> None:
    expected = tagger.tag_paragraphs(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda _: tagger.tag_paragraphs(TEXTS), range(8)))
