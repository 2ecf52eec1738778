"""`detente corpus`: put text back into stand-off labels, and check labelled files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from detente.codebook import Codebook
from detente.errors import DetenteError
from detente_training.labelled import Check, check_labelled
from detente_training.standoff import join as join_standoff
from detente_training.whole_files import whole_file

corpus_app = typer.Typer(
    name="corpus",
    help="Labelled paragraphs: check your own, or put the text back into labels that travel without it.",
    no_args_is_help=True,
)

_SHOWN = 5  # of the rows or records that the user may not care about; the rest is counted


@corpus_app.command()
def check(
    files: Annotated[
        list[Path],
        typer.Argument(help="Labelled files: .jsonl, .csv, .tsv or .parquet. A folder means its *.jsonl files."),
    ],
    codebook: Annotated[
        Path | None,
        typer.Option(help="Codebook (YAML) that names the topics and stances. Default: the built-in one."),
    ] = None,
) -> None:
    """Check labelled files before you train or evaluate on them.

    Every mistake is listed at once with its file and line, and the exit
    code is 1: unknown labels, offsets outside the text or inside a word,
    voices that overlap, an id given twice, a document in two splits, an
    empty text, a broken line. When all is well, a table counts documents,
    paragraphs and voices by file, split, style and label.

    A record needs id, document and text. It may carry topics (a list of
    names), narrator (a stance or null), voices (a list of start, end and
    stance; offsets count characters, the end is not included) and a split
    (train, validation or test). Leave a key out where you have not labelled
    it: that is not the same as an empty list. In CSV, topics are joined by
    ";" and voices are a JSON list.

    \b
    Examples:
      detente corpus check training/corpus
      detente corpus check my.jsonl more.csv --codebook my-codebook.yaml
    """
    try:
        book = Codebook.from_yaml(codebook) if codebook else Codebook.default()
        result = check_labelled(files, book)
    except DetenteError as error:
        _fail(error)
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for mistake in result.errors:
        typer.echo(str(mistake), err=True)
    if result.errors:
        typer.echo(
            f"{_number(len(result.errors), 'mistake')} found, {_number(len(result.warnings), 'warning')}.",
            err=True,
        )
        raise typer.Exit(1)
    _print_counts(result)


@corpus_app.command()
def join(
    standoff: Annotated[Path, typer.Argument(help="Labels without text, as in training/corpus/standoff/.")],
    texts: Annotated[
        list[Path],
        typer.Argument(help="Where the paragraphs are: .jsonl, .csv, .tsv or .parquet, or a folder of *.jsonl."),
    ],
    output: Annotated[Path, typer.Option(help="Labelled JSONL file to write.")],
    text_column: Annotated[
        str | None, typer.Option(help="Look for the text in this column alone. Default: in every column.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
) -> None:
    """Put the text back into stand-off labels.

    Labels of texts that may not be passed on travel without them: each
    record has the SHA-1 (of the UTF-8 bytes) and the length of its
    paragraph. If you hold the paragraphs, one to a row, this finds each by
    its SHA-1 and writes labelled records that train and evaluate read. It
    says how many it found; with none, nothing is written and the exit code
    is 1.

    \b
    Example:
      detente corpus join standoff/realdev.jsonl texts.csv --output dev.jsonl
      detente evaluate small dev.jsonl
    """
    try:
        if output.exists() and not overwrite:
            raise DetenteError(f"{output} exists; name another file, or replace it with --overwrite")
        joined = join_standoff(standoff, texts, text_column)
        if joined.records:
            with whole_file(output) as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in joined.records)
    except DetenteError as error:
        _fail(error)
    for reason in joined.unreadable[:_SHOWN]:
        typer.echo(f"warning: left out {reason}", err=True)
    if len(joined.unreadable) > _SHOWN:
        typer.echo(f"warning: left out {len(joined.unreadable) - _SHOWN} more rows that cannot be read", err=True)
    total = len(joined.records) + len(joined.missing)
    typer.echo(f"found {len(joined.records)} of {_number(total, 'paragraph')}, {len(joined.missing)} missing")
    if joined.records and joined.missing:
        more = len(joined.missing) - _SHOWN
        typer.echo(f"missing: {', '.join(joined.missing[:_SHOWN])}{f' and {more} more' if more > 0 else ''}")
    if not joined.records:
        _fail(
            DetenteError(
                "no paragraph was found, nothing was written. The text must be the same to the letter, one "
                "paragraph to a row; if rows hold whole articles, split them into paragraphs first"
            )
        )
    typer.echo(f"wrote {output}")


def _print_counts(result: Check) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", *("documents", "paragraphs", "voices"))
    for column in table.columns[2:]:
        column.justify = "right"
    table.columns[1].overflow = "fold"
    group = None
    for count in result.counts:
        if group not in (None, count.group):
            table.add_section()
        shown = "" if count.group == group else count.group
        group = count.group
        value = _shortest(count.value) if count.group == "file" else count.value
        table.add_row(shown, value, *(f"{n:,}" for n in (count.documents, count.paragraphs, count.voices)))
    Console().print(table)
    documents = len({paragraph.document for paragraph in result.paragraphs})
    found = f"{_number(len(result.paragraphs), 'paragraph')} of {_number(documents, 'document')}"
    typer.echo(f"No mistake in {found}; {_number(len(result.warnings), 'warning')}.")


def _shortest(path: str) -> str:
    return min(path, os.path.relpath(path), key=len)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _fail(error: DetenteError) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from error
