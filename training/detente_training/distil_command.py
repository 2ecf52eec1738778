"""`detente distil`: a model labels paragraphs with its probabilities, for another to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from detente.errors import DataError

if TYPE_CHECKING:
    from detente.documents import Paragraph


def distil(
    model: Annotated[
        str, typer.Argument(help="The teacher: `base` or `small` (shipped), a bundle, a training run, or a hub id.")
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="What `detente tag` reads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the soft labels.")],
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text. [default: text]", show_default=False)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the identifier. [default: id]", show_default=False)
    ] = None,
    document_column: Annotated[
        str | None, typer.Option(help="Column of the document. [default: document]", show_default=False)
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Folder or hub id of the teacher's encoder, where it is adapters to one."),
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=16, help="Tokens in one forward pass.")] = 4096,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Label paragraphs with a model's probabilities (soft labels), for a smaller model to learn from.

    Writes a folder of Parquet files: for each paragraph the probability of each topic, of each word to begin or to go
    on with a mention, and of each stance of each candidate voice. `detente train` learns from it beside labels:
    `--set data.soft=[FOLDER]`. Paragraphs that are labelled too (the same id) are learned from both. Ctrl-C keeps what
    is done; the same command goes on from there.

    Examples:

        detente distil base archive.jsonl --output runs/soft

        detente distil runs/mine pool.jsonl --id-column pool_id --output runs/soft
    """
    from detente.documents import MAX_CHARACTERS
    from detente.records import Rejected, SeenIds, open_source

    console = Console(stderr=True, highlight=False)
    seen = SeenIds()
    sources = [
        open_source(
            source,
            text_column=text_column,
            id_column=id_column,
            document_column=document_column,
            max_characters=MAX_CHARACTERS,
            seen=seen,
        )
        for source in inputs
    ]
    with console.status(f"loading the model {model}"):
        from detente.bundle import MANIFEST, load_bundle
        from detente.checksums import sha256_of
        from detente.tagger import Tagger
        from detente_training.distil import distil as write
        from detente_training.finish import progress_bar

        bundle = load_bundle(model, encoder)
        reader = Tagger.from_bundle(bundle, device=device, batch_tokens=batch_tokens).reader
    rejected: list[Rejected] = []

    def usable() -> Iterator[Paragraph]:
        for source in sources:
            for item in source:
                if isinstance(item, Rejected):
                    rejected.append(item)
                elif item.kind == "paragraph":
                    yield item

    paragraphs = list(usable())
    if not paragraphs:
        raise DataError("there is no paragraph to label in the input")
    with progress_bar(console, "labelling", len(paragraphs)) as update:
        write(reader, paragraphs, output, sha256_of(bundle.path / MANIFEST), update)
    for item in rejected[:5]:
        console.print(f"left out {item.source}:{item.line}: {item.reason}", markup=False)
    console.print(
        f"{len(paragraphs):,} paragraphs labelled, {len(rejected):,} rows could not be read; wrote {output}",
        markup=False,
    )
