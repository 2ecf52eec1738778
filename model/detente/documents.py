"""Articles and their paragraphs: plain text and HTML become numbered paragraphs, each with its kind.

A paragraph is a stretch between blank lines (in a file that has none: a line). What an article saved from a
web page carries besides its sentences is kept, but marked, so that it is neither lost nor tagged by accident:
a **heading** is a short line without sentence punctuation (headline, subhead, "Breaking News", by-line) or
opens with a caption's slug ("FILE - ..."); a **repeat** has the text of an earlier paragraph of the document.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from detente.errors import DataError

Kind = Literal["paragraph", "heading", "repeat"]

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown")
MAX_FILE_BYTES = 64 * 2**20
MAX_CHARACTERS = 500_000  # of one paragraph: longer ones are files with no line ends, not paragraphs

_HEADING_CHARACTERS = 120
_LABEL_CHARACTERS = 30  # "Related:" is a heading; a longer line that ends in a colon leads in to what follows
_WRAP_CHARACTERS = 120  # no hard-wrapped text has longer lines
_SURROGATE = re.compile("[\ud800-\udfff]")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964;,][\"'\u2019\u201d\u00bb)\]*_\s]*$")
_SLUG = re.compile(
    r"(?:FILE(?: PHOTO| PIC)?|PHOTO|IMAGE|CAPTION|(?:File p|P)hoto|Image|Caption)\s*[-\u2013\u2014:|]\s*\S"
)
_TURN = re.compile(r"(?:[A-Z][A-Z.,'\u2019 -]{0,60}|Q|A)\s?:\s*\S")  # "MR. KOWALSKI: ...", "Q: ...": a turn of speech
_MARKDOWN_HEADING = re.compile(r"#{1,6}\s+(?=\S)")
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_DOUBLE_BREAK = re.compile(r"(?:<br\s*/?>\s*){2,}", re.IGNORECASE)
_BLOCK_TAGS = frozenset(("p", "head", "item", "cell", "quote", "list", "table", "row", "code", "div"))
_BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = {
    b"%PDF-": "a PDF file",
    b"PK\x03\x04": "a ZIP archive (.docx and .xlsx are such too)",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a picture",
    b"GIF8": "a picture",
    b"\xff\xd8\xff": "a picture",
}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph on its way to the model.

    Attributes:
        text: the text that character offsets count in; lone surrogates are replaced by U+FFFD one for one.
        id: unique within a run.
        document: identifier of its document.
        index: place in the document, from 0.
        kind: "paragraph", or "heading" or "repeat" (kept as rows, tagged only on request).
        replaced: whether characters had to be replaced.
        extra: the caller's other columns, passed through to the tags.
    """

    text: str
    id: str
    document: str
    index: int
    kind: Kind = "paragraph"
    replaced: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Article:
    """One document: its identifier and its paragraphs in order."""

    id: str
    paragraphs: tuple[Paragraph, ...]


def clean(text: str) -> tuple[str, bool]:
    """The text with every lone surrogate replaced by U+FFFD, one for one, and whether there was any.

    Character offsets are the same before and after. Nothing else is changed: NUL, direction marks, zero-width
    characters and combining marks stay where they are.
    """
    replaced, count = _SURROGATE.subn("\ufffd", text)
    return replaced, count > 0


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: blanks, control and format (also zero-width) characters alone."""
    return all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def decode(data: bytes, name: str, *, html: bool = False) -> str:
    """Bytes of a text file -> text: UTF-8, or UTF-16 or UTF-32 with a byte-order mark.

    Args:
        name: what the error calls the data, a path as a rule.
        html: whether an encoding named in a `<meta charset>` holds, where the data are not UTF-8.

    Raises:
        DataError: binary data, or another encoding.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                # Surrogates that stand alone pass here; `clean` replaces them.
                return data.decode(encoding, "strict" if encoding == "utf-8-sig" else "surrogatepass").removeprefix(
                    "\ufeff"
                )
            except UnicodeDecodeError as error:
                opens = encoding.removesuffix("-sig").upper()
                raise DataError(
                    f"{name}: opens as {opens}, but byte {error.start} does not fit; save it as UTF-8"
                ) from error
    sample = data[:65536]
    what = next((what for magic, what in _MAGIC.items() if data.startswith(magic)), None)
    control = sum(sample.count(byte) for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
    if what or control > max(1, len(sample) // 100):
        raise DataError(
            f"{name}: this is {what or 'binary data'}, not text; "
            "save it as plain text (UTF-8) or HTML, or give a table of paragraphs"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        named = _META_CHARSET.search(data[:4096]) if html else None
        if named:
            try:
                encoding = codecs.lookup(named[1].decode("ascii")).name
                # What calls itself Latin-1 on the web is Windows-1252, as browsers read it.
                return data.decode("cp1252" if encoding in ("iso8859-1", "ascii") else encoding)
            except (LookupError, UnicodeDecodeError):
                pass
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: not UTF-8 (byte 0x{data[error.start]:02x} in line {line}); "
            "convert it first, e.g. `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`"
        ) from error


def article_from_text(text: str, id: str) -> Article:
    """Plain text -> its paragraphs; lines inside a paragraph are joined by one blank.

    Paragraphs are split at blank lines; in a text that has none, at line ends. Two kinds of block between
    blank lines are split at their line ends too: one with a line of more than 120 characters (nobody wraps
    there, so each line is a paragraph), and one that says a line twice (a caption and its copy).
    """
    return _article(id, _text_blocks(text))


def article_from_html(html: bytes | str, id: str) -> Article:
    """A web page -> the paragraphs of its article, without menus, banners, related links and footers.

    Scripts never run. Headings of the page are headings here; list items and table cells are paragraphs.

    Raises:
        DataError: bytes in an unknown encoding, or no article to be found in the page.
    """
    text = decode(html, id, html=True) if isinstance(html, bytes) else html
    return _article(id, _page_blocks(text, id))


def read_article(
    path: str | Path,
    id: str | None = None,
    *,
    max_characters: int | None = MAX_CHARACTERS,
    max_bytes: int = MAX_FILE_BYTES,
) -> Article:
    """One file -> one document; HTML by its suffix or its first tag, else plain text.

    Args:
        id: identifier of the document; default: the file's name without its suffix.
        max_characters: longest paragraph that is read; None reads any.
        max_bytes: largest file that is read.

    Raises:
        DataError: a file that cannot be read, is empty, too large, binary or in another encoding than UTF-8
            (or UTF-16 with a byte-order mark), holds no paragraph, or one that is too long.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise DataError(f"{path}: more than {max_bytes:,} bytes for one document; split it into several files")
    article = article_from_bytes(data, str(path), path.stem if id is None else id)
    for paragraph in article.paragraphs:
        if max_characters is not None and len(paragraph.text) > max_characters:
            raise DataError(
                f"{path}: paragraph {paragraph.index} has {len(paragraph.text):,} characters, "
                f"allowed are {max_characters:,}; put blank lines between paragraphs, or raise the bound"
            )
    return article


def article_from_bytes(data: bytes, name: str, id: str) -> Article:
    """The content of a file -> one document; `name` is its path, for its suffix and for errors.

    Raises:
        DataError: as `read_article`, except for the length of a paragraph.
    """
    if not data:
        raise DataError(f"{name}: the file is empty")
    is_html = name.lower().endswith(HTML_SUFFIXES)
    text = decode(data, name, html=is_html)
    is_html = is_html or _HTML_START.match(text) is not None
    article = _article(id, _page_blocks(text, name) if is_html else _text_blocks(text))
    if not article.paragraphs:
        raise DataError(f"{name}: no paragraph in it, nothing but blanks")
    return article


def _article(id: str, blocks: Iterable[tuple[str, bool]]) -> Article:
    """Numbers (text, is a heading) blocks and gives each its kind."""
    paragraphs: list[Paragraph] = []
    seen: set[str] = set()
    for raw, heading in blocks:
        text, replaced = clean(raw)
        key = " ".join(text.split())
        kind: Kind = "repeat" if key in seen else "heading" if heading or _looks_like_heading(text) else "paragraph"
        seen.add(key)
        index = len(paragraphs)
        paragraphs.append(Paragraph(text, f"{id}#{index}", id, index, kind, replaced))
    return Article(id, tuple(paragraphs))


def _looks_like_heading(text: str) -> bool:
    if _SLUG.match(text) or not any(char.isalpha() for char in text):
        return True
    if text.endswith(":"):
        return len(text) <= _LABEL_CHARACTERS
    return len(text) <= _HEADING_CHARACTERS and not _SENTENCE_END.search(text) and not _TURN.match(text)


def _text_blocks(text: str) -> Iterator[tuple[str, bool]]:
    """(text, is a Markdown heading) of every block of a plain text."""
    lines = text.removeprefix("\ufeff").splitlines()
    while lines and is_blank(lines[-1]):
        lines.pop()
    block: list[str] = []
    blocks: list[list[str]] = []
    for line in lines:
        if not is_blank(line):
            block.append(line.strip())
        elif block:
            blocks.append(block)
            block = []
    if block:
        blocks.append(block)
    for block in blocks:
        one_each = len(blocks) == 1 or max(map(len, block)) > _WRAP_CHARACTERS or len(set(block)) < len(block)
        for joined in block if one_each else (" ".join(block),):
            marked = _MARKDOWN_HEADING.match(joined)
            yield (joined[marked.end() :], True) if marked else (joined, False)


def _page_blocks(html: str, name: str) -> Iterator[tuple[str, bool]]:
    """(text, is a heading) of every block of a page's article, in reading order."""
    import trafilatura

    # Old pages part paragraphs by <br><br>, which the extraction would join; lone surrogates it cannot take.
    html, _ = clean(_DOUBLE_BREAK.sub("</p><p>", html))
    found = trafilatura.bare_extraction(html, include_comments=False, include_tables=True, deduplicate=False)
    body = getattr(found, "body", None)
    if body is None:
        raise DataError(f"{name}: no article was found in this page; save its text as a .txt file and tag that")
    inline: list[str] = []

    def flush(heading: bool = False) -> Iterator[tuple[str, bool]]:
        text = " ".join("".join(inline).split())
        inline.clear()
        if not is_blank(text):
            yield text, heading

    def walk(node: Any) -> Iterator[tuple[str, bool]]:
        block = node.tag in _BLOCK_TAGS
        if block:
            yield from flush()
        inline.append(" " if node.tag == "lb" else node.text or "")
        for child in node:
            if isinstance(child.tag, str):
                yield from walk(child)
            inline.append(child.tail or "")
        if block:
            yield from flush(heading=node.tag == "head")

    yield from walk(body)
    yield from flush()
