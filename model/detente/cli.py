"""The command line of inference: `detente tag` and `detente info`. Heavy imports happen when a command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from detente.errors import DataError, DetenteError

if TYPE_CHECKING:
    from detente.documents import Paragraph
    from detente.overview import Overview
    from detente.records import Counts, Rejected, RejectedWriter
    from detente.tags import ParagraphTags

app = typer.Typer(
    name="detente",
    help="Who wants to talk, who wants to press: topics, voices and their stance in every paragraph.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
REJECTIONS_SHOWN = 5


def run(application: typer.Typer = app) -> None:
    """Runs a command line: errors as one message on standard error and exit code 1, Ctrl-C as 130.

    A reader that goes away (`detente tag … | head`) ends it without a message.
    """
    try:
        application()
    except DetenteError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(visible(f"error: {error}"), style="red", markup=False)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def visible(text: str) -> str:
    """The text without the characters by which hostile input could steer a terminal; U+FFFD stands for each.

    Control and format characters (direction marks, zero-width signs) are replaced, line ends and tabs stay; so
    does every character offset.
    """
    import unicodedata

    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t" else c for c in text)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"detente {version('detente')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None: ...


Model = Annotated[str, typer.Option(help="`small` (shipped), the folder of a bundle or a training run, or a hub id.")]


@app.command()
def tag(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Text or HTML articles, JSONL, CSV, TSV, Parquet, folders, or - for standard input.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .jsonl, .csv or .parquet file; `-` is JSONL on standard output. "
            "Without it, a readable page on the terminal.",
        ),
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="One row per voice instead of one per paragraph.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Tag headings and repeated paragraphs too.")] = False,
    model: Model = "small",
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text. [default: text]", show_default=False)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the identifier. [default: id]", show_default=False)
    ] = None,
    document_column: Annotated[
        str | None, typer.Option(help="Column of the document. [default: document]", show_default=False)
    ] = None,
    max_characters: Annotated[
        int | None,
        typer.Option(min=1, help="Longer texts are set aside. [default: 500000]", show_default=False),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub id of the encoder, for a model that is adapters to one; default: the packages of "
            "detente[base].",
            show_default=False,
        ),
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=16, help="Tokens in one forward pass.")] = 4096,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Tag paragraphs: their topics, their voices, and what each voice wants.

    An article is split at blank lines. Headings and repeated paragraphs are kept as rows but not tagged. Rows that
    cannot be tagged are set aside in NAME.rejected.jsonl; the end of the run says where every row went.

    Examples:

        detente tag article.txt

        detente tag speeches/ --output tags.parquet

        detente tag news.csv --text-column body --long --output voices.csv

        zcat news.jsonl.gz | detente tag - --output - | jq .stance
    """
    from detente.documents import MAX_CHARACTERS
    from detente.records import (
        OUTPUT_SUFFIXES,
        Counts,
        RejectedWriter,
        SeenIds,
        check_output,
        open_source,
        open_writer,
    )
    from detente.records.lines import json_lines

    console = Console(stderr=True, highlight=False, quiet=quiet)
    to_stdout = output is not None and str(output) == "-"
    if output is not None and not to_stdout and output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise DataError(f"{output}: cannot tell the format; an output ends in {', '.join(OUTPUT_SUFFIXES)}, or is -")
    seen = SeenIds()
    sources = [
        open_source(
            source,
            text_column=text_column,
            id_column=id_column,
            document_column=document_column,
            max_characters=max_characters or MAX_CHARACTERS,
            seen=seen,
        )
        for source in inputs
    ]
    counts = Counts()
    with ExitStack() as stack:
        rejected: RejectedWriter | None = None
        writer = None
        if output is not None and not to_stdout:
            check_output(output, overwrite)  # said before the model is loaded, not after
        with console.status("loading the model"):
            from detente.tagger import Tagger

            tagger = Tagger.from_pretrained(model, device=device, batch_tokens=batch_tokens, encoder=encoder)
        if output is not None and not to_stdout:
            writer = stack.enter_context(open_writer(output, tagger.codebook, long=long, overwrite=overwrite))
            rejected = stack.enter_context(RejectedWriter(output, overwrite=overwrite))
        rows = _accepted(sources, counts, rejected, console)
        tags = tagger.stream(rows, everything=everything)
        page = Console(highlight=False, markup=False)
        try:
            for item in _shown_progress(tags, counts, console, shown=output is not None and not quiet):
                if writer is not None:
                    writer.write(item)
                elif to_stdout:
                    sys.stdout.buffer.writelines(json_lines(item, tagger.codebook, long))
                else:
                    _page(item, page)
                counts.written(item)
        except KeyboardInterrupt:
            if writer is not None:
                writer.abort()
                kept = ", ".join(map(str, writer.partial)) or "nothing"
                console.print(
                    f"stopped after {counts.tagged + counts.untagged:,} rows; kept: {kept}",
                    markup=False,
                    soft_wrap=True,
                )
            raise
    counts.check()
    console.print(counts.summary(), markup=False)
    for reason, number in sorted(counts.reasons.items(), key=lambda item: -item[1]):
        console.print(visible(f"  rejected {number:,}: {reason}"), markup=False)
    if rejected is not None and counts.rejected:
        console.print(f"  set aside in {rejected.paths[0]}", markup=False)
    if writer is not None:
        console.print("wrote " + ", ".join(str(path) for path in writer.paths), markup=False)
    if not counts.tagged:
        raise DetenteError(
            "no paragraph was tagged" + ("" if counts.rejected else "; --all tags headings and repeats too")
        )


def _accepted(
    sources: Iterable[Iterator[Paragraph | Rejected]],
    counts: Counts,
    writer: RejectedWriter | None,
    console: Console,
) -> Iterator[Paragraph]:
    """The rows that can be tagged; the others are counted and set aside, or named where there is no file for them."""
    from detente.records import Rejected

    for source in sources:
        for item in source:
            counts.read(item)
            if not isinstance(item, Rejected):
                yield item
            elif writer is not None:
                writer.write(item)
            elif counts.rejected <= REJECTIONS_SHOWN:
                place = item.source if item.line is None else f"{item.source}:{item.line}"
                console.print(visible(f"rejected {place}: {item.reason}"), style="yellow", markup=False)


def _shown_progress(
    tags: Iterable[ParagraphTags], counts: Counts, console: Console, shown: bool
) -> Iterator[ParagraphTags]:
    """Passes tags through, with a live count of rows on a terminal."""
    if not (shown and console.is_terminal):
        yield from tags
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} rows tagged, {task.fields[set_aside]} set aside"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("tag", total=None, set_aside=0)
        for item in tags:
            yield item
            progress.update(task, advance=1, set_aside=counts.rejected)


STYLES = ("cyan", "magenta", "yellow", "bright_black", "green", "blue")


def _page(item: ParagraphTags, console: Console) -> None:
    """One paragraph as a reader sees it: topics and stance above, the text with its voices marked by stance."""
    from rich.padding import Padding
    from rich.text import Text

    body = Text(visible(item.text))
    if not item.tagged:
        body.stylize("bold" if item.kind == "heading" else "dim")
        console.print(Padding(body, (0, 0, 0, 6)))
        console.print()
        return
    stances = list(item.stance_probabilities)
    colours = {name: STYLES[i % len(STYLES)] for i, name in enumerate(stances)}
    head = Text(f"{item.paragraph + 1:>4}  ", style="bold")
    head.append(", ".join(item.topics) or "no topic")
    if item.stance is not None:
        lean = "" if item.lean is None else f"  lean {item.lean:+.2f}"
        head.append("  ·  ")
        head.append(
            f"{item.stance} {item.stance_probabilities[item.stance]:.2f}",
            style=f"bold {colours[item.stance]}",
        )
        head.append(lean)
    if item.flags:
        head.append(f"  [{', '.join(item.flags)}]", style="dim")
    console.print(head, soft_wrap=True)
    for voice in item.voices:
        if voice.start is not None and voice.end is not None:
            body.stylize(f"bold underline {colours[voice.stance]}", voice.start, voice.end)
    console.print(Padding(body, (0, 0, 0, 6)))
    for voice in item.voices:
        who = voice.mention if voice.speaker is None else f"{voice.mention} ({voice.speaker})"
        line = Text(f"      - {visible(who)}: ")
        line.append(f"{voice.stance} {voice.stances[voice.stance]:.2f}", style=colours[voice.stance])
        line.append(f"  (voice {voice.presence:.2f})", style="dim")
        console.print(line, soft_wrap=True)
    console.print()


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(help="`small` (shipped), the folder of a bundle or a training run, or a hub id.")
    ] = "small",
    models: Annotated[bool, typer.Option("--models", help="List the models that came with the package.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Show the whole model card.")] = False,
) -> None:
    """Show what a model is: labels, thresholds, what it was made from, how it was measured.

    Examples:

        detente info

        detente info runs/base --card
    """
    from rich.markdown import Markdown
    from rich.table import Table

    from detente.bundle import (
        CALIBRATION,
        CARD,
        CODEBOOK,
        CONFIG,
        DEFAULT_MODEL,
        METRICS,
        check_bundle,
        find_bundle,
        shipped_models,
    )
    from detente.calibration import Calibration
    from detente.codebook import Codebook
    from detente.overview import WITHIN, overview

    console = Console(highlight=False, markup=False)
    if models:
        shipped = sorted(shipped_models().items(), key=lambda item: item[0] != DEFAULT_MODEL)
        _list_models({name: overview(folder, check_bundle(folder)) for name, folder in shipped}, console)
        return
    path = find_bundle(model)
    manifest = check_bundle(path)
    if card:
        console.print(Markdown(visible((path / CARD).read_text(encoding="utf-8"))))
        return
    about = overview(path, manifest)
    codebook = Codebook.from_yaml(path / CODEBOOK)
    calibration = Calibration.from_json(path / CALIBRATION)
    config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    made_from = manifest.get("made_from", {})
    table = Table(show_header=False, box=None)
    for name, value in (
        ("model", str(model)),
        ("folder", str(path)),
        ("encoder", f"{about.encoder} ({about.encoder_is})"),
        ("weights", f"{about.megabytes:.0f} MB" + ("" if about.encoder_is == WITHIN else ", beside that encoder")),
        ("made with", f"detente {manifest.get('detente', 'unknown')}"),
        ("window", f"{config['window_tokens']} tokens, {config['overlap_tokens']} shared with the next"),
        ("codebook", f"version {codebook.version}, {codebook.hash[:12]}"),
        (
            "topics",
            ", ".join(f"{t} (from {calibration.topic_threshold(t):.2f})" for t in codebook.topic_names),
        ),
        ("stances", ", ".join(codebook.stance_names)),
        (
            "voice from",
            f"{calibration.voice_threshold:.2f}; narrator from {calibration.narrator_threshold:.2f}",
        ),
        ("trained on", f"{made_from.get('train', {}).get('paragraphs', 0):,} paragraphs"),
    ):
        table.add_row(name, visible(value))
    console.print(table)
    if about.remedy is not None:
        console.print(visible(about.remedy), soft_wrap=True)
    metrics = path / METRICS
    if metrics.is_file():
        console.print(f"figures: {metrics}; model card: detente info {model} --card", soft_wrap=True)


def _list_models(models: Mapping[str, Overview], console: Console) -> None:
    """One row for each model; below, what each was measured on, and how to get an encoder that is missing."""
    from rich import box
    from rich.table import Table

    headings = {
        "topics macro-F1": "topics\nmacro-F1",
        "voices F1": "voices\nF1",
        "voice+stance F1": "voice+\nstance F1",
        "paragraph stance macro-F1": "par. stance\nmacro-F1",
    }
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("model", "MB", "encoder", *headings.values(), "rel.\nspeed"):
        table.add_column(heading, justify="left" if heading in ("model", "encoder") else "right")
    reference = next((about.paragraphs_per_second for about in models.values()), None)  # the first model's
    for name, about in models.items():
        values = [about.figures[figure] for figure in headings]
        speed = about.paragraphs_per_second
        table.add_row(
            visible(name),
            f"{about.megabytes:.0f}",
            visible(f"{about.encoder.rpartition('/')[2]}\n({about.encoder_is})"),
            *("-" if value is None else f"{value:.3f}" for value in values),
            "-" if speed is None or reference is None else f"{speed / reference:.2f}",
        )
    console.print(table)
    for name, about in models.items():
        notes = [f"figures on {about.measured_on}" if about.measured_on else "no figures"]
        if about.paragraphs_per_second is not None:
            notes.append(f"{about.paragraphs_per_second:,.0f} paragraphs a second on {about.speed_on}")
        if about.remedy is not None:
            notes.append(about.remedy)
        console.print(visible(f"{name}: {'; '.join(notes)}"), soft_wrap=True)
