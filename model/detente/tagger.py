"""The tagger: documents or paragraphs in, tags out; the way into detente from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detente.bundle import DEFAULT_MODEL, Bundle, load_bundle
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.decoding import Reading, found, paragraph_stance, pole_lean, voice
from detente.documents import Article, Paragraph, article_from_text, clean
from detente.errors import DataError
from detente.reader import BATCH_TOKENS, Reader
from detente.runtime import TorchRuntime, choose_device
from detente.speakers import Resolver, full_names
from detente.tags import ParagraphTags

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 512  # paragraphs that `stream` holds at a time; batches are a pure function of one chunk's paragraphs


class Tagger:
    """Reads paragraphs: topics, voices and their stance.

    Make one with `Tagger.from_pretrained()`. It holds no state that reading changes, so several threads may share it.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @classmethod
    def from_pretrained(
        cls, model: str | Path = DEFAULT_MODEL, *, device: str = "auto", batch_tokens: int = BATCH_TOKENS
    ) -> Tagger:
        """Loads a model.

        Args:
            model: "small" (shipped), the folder of a bundle or of a training run, or a hub id.
            device: "auto", "cpu", "cuda", "mps", …
            batch_tokens: padded tokens in one forward pass; more is faster on a GPU and needs more memory.

        Raises:
            BundleError: no such model, or one that is not whole.
            DetenteError: no such device.
        """
        return cls.from_bundle(load_bundle(model), device=device, batch_tokens=batch_tokens)

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
            DataError: the text has no paragraph.
        """
        if isinstance(article, str):
            article = article_from_text(article, "article")
        return self._tag(article.paragraphs, everything)

    def tag_paragraphs(self, texts: Iterable[str | Paragraph]) -> list[ParagraphTags]:
        """Tags paragraphs, each a document of its own if it is a plain text; all are tagged, in order.

        Raises:
            DataError: an item is neither a text nor a `Paragraph`.
        """
        return list(self.stream(texts))

    def tag_frame(self, frame: pd.DataFrame, text: str = "text", *, document: str | None = None) -> pd.DataFrame:
        """Tags the column `text` of a pandas frame and returns the frame with columns of tags beside its own.

        Cells without text (missing, not a string, blank) get empty tags and `tagged` False. Columns of the frame
        that have the name of a tag column are kept under `input_NAME`. The index stays.

        Args:
            document: column that says which document a row belongs to; surnames are resolved within it.

        Raises:
            DataError: there is no such column.
        """
        import pandas as pd

        for name in (text, *([document] if document else [])):
            if name not in frame.columns:
                raise DataError(f"the frame has no column `{name}`; it has: {', '.join(map(str, frame.columns))}")
        cells = frame[text].tolist()
        owners = frame[document].astype(str).tolist() if document else [str(i) for i in range(len(cells))]
        order = [i for i, cell in enumerate(cells) if isinstance(cell, str) and cell.strip()]
        paragraphs = []
        for i in order:
            cleaned, replaced = clean(cells[i])
            paragraphs.append(Paragraph(cleaned, str(i), owners[i], i, replaced=replaced))
        tagged = dict(zip(order, self._tag(paragraphs, everything=True), strict=True))
        rows = []
        for i in range(len(cells)):
            row = tagged.get(i) or ParagraphTags(str(i), owners[i], i, "paragraph", "", tagged=False)
            made = row.to_dict()
            rows.append({k: v for k, v in made.items() if k not in ("id", "document", "paragraph", "kind", "text")})
        tags = pd.DataFrame(rows, index=frame.index)
        kept = frame.rename(columns={name: f"input_{name}" for name in frame.columns if name in tags.columns})
        return pd.concat([kept, tags], axis=1)

    def stream(self, texts: Iterable[str | Paragraph], *, everything: bool = True) -> Iterator[ParagraphTags]:
        """Tags any number of paragraphs lazily, in order; memory does not grow with their number.

        Neighbouring `Paragraph`s of one document are resolved together, as far as they fall into one chunk.

        Raises:
            DataError: an item is neither a text nor a `Paragraph`.
        """
        paragraphs = (_paragraph(item, number) for number, item in enumerate(texts))
        while chunk := list(islice(paragraphs, CHUNK)):
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
        voices = [voice(c, paragraph.text, codebook) for c in found(reading, calibration)]
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
