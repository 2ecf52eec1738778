"""The tagger: documents or paragraphs in, tags out; the way into detente from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detente.bundle import DEFAULT_MODEL, Bundle, load_bundle
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.decoding import Reading, found, paragraph_stance, pole_lean, voice
from detente.documents import Article, Paragraph, article_from_text, clean, is_blank
from detente.errors import DataError
from detente.reader import BATCH_TOKENS, Reader
from detente.runtime import TorchRuntime, choose_device
from detente.speakers import Resolver, full_names
from detente.tags import ParagraphTags

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 512  # paragraphs that `stream` holds at a time; batches are a pure function of one chunk's paragraphs
LONGEST_CHUNK = 2048  # if the document goes on after CHUNK paragraphs, up to here


class Tagger:
    """Reads paragraphs: topics, voices and their stance.

    Make one with `Tagger.from_pretrained()`. It holds no state that reading changes, so several threads may share it.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        batch_tokens: int = BATCH_TOKENS,
        encoder: str | None = None,
    ) -> Tagger:
        """Loads a model.

        Args:
            model: "small" or "base" (shipped), the folder of a bundle or of a training run, or a hub id.
            device: "auto", "cpu", "cuda", "mps", …
            batch_tokens: padded tokens in one forward pass; more is faster on a GPU and needs more memory.
            encoder: for a model that is adapters to an encoder ("base"), a local folder or a hub id to take that
                encoder from; default: the packages of the extra `detente[base]`.

        Raises:
            BundleError: no such model, or one that is not whole.
            MissingExtraError: the packages that carry the encoder are not installed.
            DetenteError: no such device.
        """
        return cls.from_bundle(load_bundle(model, encoder), device=device, batch_tokens=batch_tokens)

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: str = "auto", batch_tokens: int = BATCH_TOKENS) -> Tagger:
        """A tagger for a bundle that was loaded already."""
        config = bundle.model.config
        runtime = TorchRuntime(bundle.model, choose_device(device))
        return cls(
            Reader(
                runtime,
                bundle.tokenizer,
                bundle.codebook,
                bundle.calibration,
                config.window_tokens,
                config.overlap_tokens,
                batch_tokens,
            )
        )

    @property
    def codebook(self) -> Codebook:
        return self.reader.codebook

    @property
    def calibration(self) -> Calibration:
        return self.reader.calibration

    def tag(self, article: Article | str, *, everything: bool = False) -> list[ParagraphTags]:
        """Tags an article: its plain text, or an `Article` (from `detente.documents.read_article`).

        Headings and repeated paragraphs are returned with `tagged=False`, unless `everything` is set.

        Raises:
            DataError: neither a text nor an `Article`, or one without a paragraph.
        """
        if isinstance(article, str):
            article = article_from_text(article, "article")
        if not isinstance(article, Article):
            raise DataError(
                f"an article is a text or an `Article`, not {type(article).__name__}; "
                "`detente.documents.read_article` reads a file, `tag_paragraphs` takes a list"
            )
        if not article.paragraphs:
            raise DataError(f"there is no paragraph in `{article.id}`, nothing but blanks")
        return self._tag(article.paragraphs, everything)

    def tag_paragraphs(self, texts: Iterable[str | Paragraph]) -> list[ParagraphTags]:
        """Tags paragraphs, each a document of its own if it is a plain text; all are tagged, in order.

        Raises:
            DataError: an item is neither a text nor a `Paragraph`.
        """
        return list(self.stream(texts))

    def tag_frame(self, frame: pd.DataFrame, text: str = "text", *, document: str | None = None) -> pd.DataFrame:
        """Tags the column `text` of a pandas frame and returns the frame with columns of tags beside its own.

        Cells without text (missing, not a string, blank) get empty tags and `tagged` False. The columns of tags are
        those of docs/columns.md from `tagged` on. Columns of the frame that have the name of one are kept under
        `input_NAME`. The index stays.

        Args:
            document: column that says which document a row belongs to; surnames are resolved within it. A row
                without a value there is a document of its own.

        Raises:
            DataError: there is no such column, or two of them.
        """
        import pandas as pd

        for name in (text, *([document] if document else [])):
            if name not in frame.columns:
                raise DataError(f"the frame has no column `{name}`; it has: {', '.join(map(str, frame.columns))}")
            if isinstance(frame[name], pd.DataFrame):
                raise DataError(f"the frame has more than one column `{name}`; rename all but one")
        paragraphs = []
        owners = frame[document].tolist() if document else []
        for i, cell in enumerate(frame[text].tolist()):
            if isinstance(cell, str) and not is_blank(cell):
                cleaned, replaced = clean(cell)
                owner = f"row {i}" if not document or pd.isna(owners[i]) else f"document {owners[i]}"
                paragraphs.append(Paragraph(cleaned, str(i), owner, i, replaced=replaced))
        # A document's rows are brought together: surnames are resolved within it wherever they stand.
        first = {p.document: p.index for p in reversed(paragraphs)}
        paragraphs.sort(key=lambda p: first[p.document])
        tagged = {tags.paragraph: tags.to_dict() for tags in self.stream(paragraphs)}
        columns = self._frame_columns()
        rows = [[tagged.get(i, {"tagged": False}).get(name) for name in columns] for i in range(len(frame))]
        made = pd.DataFrame(rows, index=frame.index, columns=columns)
        numbers = [name for name in columns if name.startswith(("topic_", "stance_")) or name == "lean"]
        made[numbers] = made[numbers].astype("float64")
        kept = frame.rename(columns=_moved_aside([str(name) for name in frame.columns], columns))
        return pd.concat([kept, made], axis=1)

    def _frame_columns(self) -> list[str]:
        """The columns of tags that a frame gets, in the order of a row."""
        topics = dict.fromkeys(self.codebook.topic_names, 0.0)
        stances = dict.fromkeys(self.codebook.stance_names, 0.0)
        row = ParagraphTags(
            "", "", 0, "paragraph", "", False, topic_probabilities=topics, stance_probabilities=stances
        ).to_dict()
        return [name for name in row if name not in ("id", "document", "paragraph", "kind", "text")]

    def stream(self, texts: Iterable[str | Paragraph], *, everything: bool = True) -> Iterator[ParagraphTags]:
        """Tags any number of paragraphs lazily, in order; memory does not grow with their number.

        Neighbouring `Paragraph`s of one document are resolved together, up to 2,048 of them.

        Raises:
            DataError: an item is neither a text nor a `Paragraph`.
        """
        if isinstance(texts, str):
            raise DataError("give a list of texts, not one text; `tag` takes the text of an article")
        for chunk in _chunks(_paragraph(item, number) for number, item in enumerate(texts)):
            yield from self._tag(chunk, everything)

    def _tag(self, paragraphs: Sequence[Paragraph], everything: bool) -> list[ParagraphTags]:
        wanted = [p for p in paragraphs if everything or p.kind == "paragraph"]
        readings = iter(self.reader.read([p.text for p in wanted]))
        tags: list[ParagraphTags] = []
        for _, group in groupby(paragraphs, key=lambda p: p.document):
            together = list(group)
            names = full_names([p.text for p in together])
            for p in together:
                if everything or p.kind == "paragraph":
                    reading, _ = next(readings)
                    tags.append(self._tags(p, reading, names))
                else:
                    tags.append(ParagraphTags(p.id, p.document, p.index, p.kind, p.text, tagged=False, extra=p.extra))
        return tags

    def _tags(self, paragraph: Paragraph, reading: Reading, names: Resolver) -> ParagraphTags:
        codebook, calibration = self.codebook, self.calibration
        topics = dict(zip(codebook.topic_names, map(float, reading.topics), strict=True))
        voices = [voice(c, paragraph.text, codebook, calibration) for c in found(reading, calibration)]
        stance = codebook.union(v.stance for v in voices) if codebook.stances else None
        probabilities = paragraph_stance(reading.candidates, codebook)
        flags = []
        if reading.windows > 1:
            flags.append("windowed")
        if probabilities:
            likeliest = max(probabilities, key=lambda name: probabilities[name])
            if probabilities[likeliest] < calibration.low_confidence:
                flags.append("low_confidence")
            if likeliest != stance:
                flags.append("rule_and_probability_differ")
        if paragraph.replaced:
            flags.append("characters_replaced")
        return ParagraphTags(
            id=paragraph.id,
            document=paragraph.document,
            paragraph=paragraph.index,
            kind=paragraph.kind,
            text=paragraph.text,
            tagged=True,
            topics=tuple(name for name, p in topics.items() if p >= calibration.topic_threshold(name)),
            topic_probabilities=topics,
            voices=tuple(v if v.narrator else dataclasses.replace(v, speaker=names.resolve(v.mention)) for v in voices),
            stance=stance,
            stance_probabilities=probabilities,
            lean=pole_lean(reading.candidates, codebook),
            flags=tuple(flags),
            extra=paragraph.extra,
        )


def _paragraph(item: Any, number: int) -> Paragraph:
    if isinstance(item, Paragraph):
        return item
    if not isinstance(item, str):
        raise DataError(f"item {number} is {type(item).__name__}, not a text; give strings or detente's `Paragraph`s")
    text, replaced = clean(item)
    return Paragraph(text, str(number), str(number), 0, replaced=replaced)


def _chunks(paragraphs: Iterable[Paragraph]) -> Iterator[list[Paragraph]]:
    """CHUNK paragraphs and those that follow of the last one's document, at most LONGEST_CHUNK."""
    chunk: list[Paragraph] = []
    for paragraph in paragraphs:
        if len(chunk) >= CHUNK and (paragraph.document != chunk[-1].document or len(chunk) >= LONGEST_CHUNK):
            yield chunk
            chunk = []
        chunk.append(paragraph)
    if chunk:
        yield chunk


def _moved_aside(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """New names, opening with `input_`, for the columns that have the name of another."""
    used = {*names, *taken}
    moved: dict[str, str] = {}
    for name in names:
        if name in taken and name not in moved:
            new = f"input_{name}"
            while new in used:
                new = f"input_{new}"
            moved[name] = new
            used.add(new)
    return moved
