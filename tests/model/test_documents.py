from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.documents import (
    Paragraph,
    article_from_html,
    article_from_text,
    clean,
    decode,
    is_blank,
    read_article,
)
from detente.errors import DataError

EXAMPLES = Path(__file__).parents[2] / "examples"

AWKWARD = st.sampled_from(
    [
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200d",
        "\ufeff",
        "e\u0301",
        "👩‍👩‍👧",
        "🇰🇷",
        "\0",
        "\ud800",
        "\udfff",
        "\u2028",
        "א",
        "한",
    ]
)
TEXTS = st.lists(st.text(max_size=20) | AWKWARD, max_size=12).map("".join)

TALKS = "The minister said that talks would go on, whatever happened at the border."


def kinds(text: str) -> list[tuple[str, str]]:
    return [(p.kind, p.text) for p in article_from_text(text, "d").paragraphs]


# --- characters


def test_clean_replaces_lone_surrogates_one_for_one() -> None:
    assert clean("a\ud800b\udfff\udc00") == ("a\ufffdb\ufffd\ufffd", True)
    assert clean("plain 👩‍👩‍👧 \0 \u202e") == ("plain 👩‍👩‍👧 \0 \u202e", False)


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters()) | TEXTS)
def test_clean_keeps_every_offset(text: str) -> None:
    cleaned, replaced = clean(text)
    assert len(cleaned) == len(text)
    cleaned.encode("utf-8")
    assert replaced == (cleaned != text)
    assert all(a == b or ("\ud800" <= b <= "\udfff" and a == "\ufffd") for a, b in zip(cleaned, text, strict=True))


def test_blank_means_nothing_to_see() -> None:
    assert is_blank("")
    assert is_blank(" \n\t\u200b\u202e\ufeff\0\u00a0")
    assert not is_blank("\u200b.")


# --- plain text


def test_paragraphs_are_split_at_blank_lines_and_wrapped_lines_are_joined() -> None:
    text = "First line of it,\nsecond line of it.\n\n  Another paragraph.  \r\n \t\r\n\u200b\r\nA third one."
    assert kinds(text) == [
        ("paragraph", "First line of it, second line of it."),
        ("paragraph", "Another paragraph."),
        ("paragraph", "A third one."),
    ]


def test_a_text_without_blank_lines_is_split_at_line_ends() -> None:
    assert kinds("\nOne of them spoke.\nThe other did not.\n\n") == [
        ("paragraph", "One of them spoke."),
        ("paragraph", "The other did not."),
    ]


def test_long_lines_inside_a_block_are_paragraphs_of_their_own() -> None:
    long = "The committee met in the morning and again in the afternoon, " * 3 + "and agreed."
    assert kinds(f"Title\n\n{long}\n{TALKS}\n") == [
        ("heading", "Title"),
        ("paragraph", long),
        ("paragraph", TALKS),
    ]


def test_ids_and_places() -> None:
    article = article_from_text("One spoke.\n\nTwo spoke.", "doc")
    assert article.id == "doc"
    assert article.paragraphs == (
        Paragraph("One spoke.", "doc#0", "doc", 0),
        Paragraph("Two spoke.", "doc#1", "doc", 1),
    )


@pytest.mark.parametrize(
    "line",
    [
        "Accessibility links",
        "Breaking News",
        "Ministers Meet in the Capital After Border Talks Collapse",
        "By Anna Meyer",
        "FILE - The minister speaks at a conference.",
        "Photo: The minister at the border.",
        "Related:",
        "* * *",
        "2031",
    ],
)
def test_chrome_is_a_heading(line: str) -> None:
    assert kinds(f"{line}\n\n{TALKS}")[0] == ("heading", line)


@pytest.mark.parametrize(
    "line",
    [
        "They agreed.",
        "“We will talk,” she said.",
        "“We will talk.”",
        "Are we to pay twice?",
        "Will you go? [Laughter.]",
        "No deal…",
        "Recalling its earlier resolutions,",
        "The two sides settled on the following three points:",
        "MR. KOWALSKI: Not today",
        "Q: Will you go",
        "كلا، لن نذهب؟",
        "我们愿意谈判。",
        "A line that goes on well beyond what any headline would need and never comes to a full stop, "
        "as cut-off texts often do in archives",
    ],
)
def test_sentences_and_turns_of_speech_are_paragraphs(line: str) -> None:
    assert kinds(f"{line}\n\n{TALKS}")[0] == ("paragraph", line)


def test_markdown_headings_lose_their_marks() -> None:
    assert kinds(f"## What happened next?\n\n{TALKS}") == [
        ("heading", "What happened next?"),
        ("paragraph", TALKS),
    ]


def test_a_repeated_paragraph_is_a_repeat_whatever_its_blanks() -> None:
    assert kinds(f"{TALKS}\n\nThey left.\n\n{TALKS.replace(' ', '  ')}") == [
        ("paragraph", TALKS),
        ("paragraph", "They left."),
        ("repeat", TALKS.replace(" ", "  ")),
    ]


def test_a_caption_given_twice_on_two_lines() -> None:
    caption = "The envoy at the airport of the capital."
    assert kinds(f"Top\n\n{caption}\n{caption}\n\n{TALKS}") == [
        ("heading", "Top"),
        ("paragraph", caption),
        ("repeat", caption),
        ("paragraph", TALKS),
    ]


def test_lone_surrogates_are_marked_in_their_paragraph_alone() -> None:
    first, second = article_from_text("They \ud800 spoke.\n\nThey left.", "d").paragraphs
    assert (first.text, first.replaced, second.replaced) == ("They \ufffd spoke.", True, False)


@settings(deadline=None, derandomize=True)
@given(TEXTS)
def test_any_text_keeps_its_visible_characters(text: str) -> None:
    article = article_from_text(text, "d")
    assert [p.index for p in article.paragraphs] == list(range(len(article.paragraphs)))
    assert not any(is_blank(p.text) for p in article.paragraphs)
    made = "".join(p.text for p in article.paragraphs)
    made.encode("utf-8")
    seen = [char for char in clean(text)[0] if not is_blank(char) and char != "#"]
    assert [char for char in made if not is_blank(char) and char != "#"] == seen


# --- HTML


def test_the_saved_page_of_the_examples() -> None:
    article = read_article(EXAMPLES / "saved_page.html")
    assert [p.kind for p in article.paragraphs].count("heading") == 3
    text = "\n".join(p.text for p in article.paragraphs)
    assert "school gymnasium" in text
    assert "She said this was the last chance for a settlement" in text  # inline tags leave no gap
    for chrome in ("cookies", "Subscribe", "Related stories", "Ten recipes", "rights reserved", "script"):
        assert chrome not in text


def test_breaks_part_paragraphs_in_old_pages() -> None:
    page = f"<html><body><div>{TALKS}<br><br>The army denied it.<br>It said so twice.</div></body></html>"
    assert [p.text for p in article_from_html(page, "d").paragraphs] == [
        TALKS,
        "The army denied it. It said so twice.",
    ]


def test_a_declared_encoding_holds_for_html() -> None:
    body = "<p>The minister\u2019s café stayed shut, he said.</p>"
    page = f'<html><head><meta charset="iso-8859-1"></head><body>{body}</body></html>'
    (paragraph,) = article_from_html(page.encode("cp1252"), "d").paragraphs
    assert paragraph.text == "The minister\u2019s café stayed shut, he said."


def test_lone_surrogates_in_html() -> None:
    (paragraph,) = article_from_html(f"<html><body><p>{TALKS} \ud800</p></body></html>", "d").paragraphs
    assert paragraph.text == f"{TALKS} \ufffd"


@pytest.mark.parametrize("page", ["", "<html></html>", b"<html><body><p> </p></body></html>"])
def test_a_page_without_an_article(page: str | bytes) -> None:
    with pytest.raises(DataError, match="no article was found in this page"):
        article_from_html(page, "empty.html")


# --- files


def test_the_envoy_of_the_examples() -> None:
    article = read_article(EXAMPLES / "envoy.txt")
    found = [p.kind for p in article.paragraphs]
    assert (found.count("paragraph"), found.count("heading"), found.count("repeat")) == (13, 6, 1)
    assert article.paragraphs[4].kind == "repeat"
    assert all(p.text.endswith((".", "”")) for p in article.paragraphs if p.kind == "paragraph")


def test_the_transcript_of_the_examples() -> None:
    article = read_article(EXAMPLES / "transcript.txt", "briefing")
    assert [p.kind for p in article.paragraphs[:4]] == ["heading", "heading", "paragraph", "paragraph"]
    assert {p.kind for p in article.paragraphs[2:]} == {"paragraph"}
    assert article.paragraphs[3].id == "briefing#3"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes("“Genève” said no.".encode(encoding))
    (paragraph,) = read_article(path).paragraphs
    assert (paragraph.text, paragraph.id) == ("“Genève” said no.", "note#0")


def test_html_is_known_by_its_first_tag(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_text(f"<!-- saved -->\n<!DOCTYPE html><html><body><p>{TALKS}</p></body></html>")
    assert [p.text for p in read_article(path).paragraphs] == [TALKS]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "no paragraph in it"),
        (b"\x00\x01\x02\x03" * 50, "binary data, not text"),
        (b"%PDF-1.7 ...", "a PDF file, not text"),
        (b"PK\x03\x04 docx", "a ZIP archive"),
        ("Genève said no.".encode("latin-1"), r"not UTF-8 \(byte 0xe8 in line 1\); convert it first"),
        (b"\xff\xfeA\x00B", "opens as UTF-16, but byte"),
        (b"\xef\xbb\xbfab\xff", "opens as UTF-8, but byte"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_article(path)
    assert str(path) in str(caught.value)


def test_bounds(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 400_000)
    with pytest.raises(DataError, match="paragraph 0 has 1,999,999 characters, allowed are 500,000"):
        read_article(path)
    assert len(read_article(path, max_characters=None).paragraphs) == 1
    with pytest.raises(DataError, match="more than 1,000 bytes for one document"):
        read_article(path, max_bytes=1000)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*: No such file"):
        read_article(tmp_path / "none.txt")


def test_one_nul_does_not_make_a_file_binary() -> None:
    assert decode(b"They said\x00 no.", "f") == "They said\x00 no."


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_a_clear_error(data: bytes) -> None:
    try:
        text = decode(data, "f")
    except DataError as error:
        assert str(error).startswith("f: ")  # noqa: PT017
    else:
        assert isinstance(text, str)
