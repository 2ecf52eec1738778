"""`detente evaluate`: a model against labelled paragraphs, and against minimal pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from detente.errors import DataError
from detente_training.whole_files import whole_file

if TYPE_CHECKING:
    from detente.codebook import Codebook
    from detente.reader import Reader
    from detente_training.labelled import LabelledParagraph
    from detente_training.predictions import Prediction
    from detente_training.suite import Pair


def evaluate(
    model: Annotated[
        str, typer.Argument(help="`small` (shipped), the folder of a bundle or a training run, or a hub id.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled files or folders. May be left out with --suite.", show_default=False),
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option("--suite", help="Minimal pairs, a file or a folder: the share of pairs with both sides right."),
    ] = None,
    swap_names: Annotated[
        bool,
        typer.Option("--swap-names", help="Also: the share of stances that other names of states and persons change."),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="Only paragraphs of this split: train, validation or test. [default: all]",
            show_default=False,
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Also by these fields, as in `style,region`.")] = None,
    json_output: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="Write the mistakes to this JSONL file, worst first.")
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples of documents for the 95% intervals; 0: none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Measure a model against labelled paragraphs.

    Topics, voices, voice with stance, stance on gold mentions, paragraph stance and calibration, each with its support
    and a 95% bootstrap interval by document. With --suite, the share of minimal pairs that are read right on both
    sides, for each phenomenon. With --swap-names, the paragraphs are read once more under other names. Definitions:
    docs/evaluation.md.

    Examples:

        detente evaluate small training/corpus --split test

        detente evaluate runs/mine my.jsonl --split test --by style --errors mistakes.jsonl

        detente evaluate small --suite tests/suite
    """
    fields = _check_request(data, suite, split, by, errors, swap_names)
    _check_outputs((json_output, errors), overwrite)
    console = Console(stderr=True, highlight=False)
    with console.status(f"loading the model {model}"):
        from detente.tagger import Tagger
        from detente_training.suite import read_suite

        reader = Tagger.from_pretrained(model, device=device, batch_tokens=batch_tokens, encoder=encoder).reader
    gold = _read_data(data, split, reader.codebook) if data else []
    pairs = read_suite(suite, reader.codebook) if suite is not None else []
    content: dict[str, Any] = {"model": model}
    if data:
        names = ", ".join(map(str, data)) + (f", split {split}" if split else "")
        predictions = _predict(reader, gold, "reading", console)
        content |= _measure(gold, predictions, reader.codebook, fields, bootstrap, seed, f"{model} on {names}", console)
        content |= {"data": [path.name for path in data], "split": split}
        if errors is not None:
            _write_mistakes(errors, gold, predictions, reader.codebook, console)
        if swap_names:
            content["swaps"] = _swap(gold, reader, console)
    if suite is not None:
        content["suite"] = _score(pairs, reader, f"{model} on {suite}", console) | {"data": suite.name}
    if json_output is not None:
        with whole_file(json_output) as file:
            file.write(json.dumps(content, indent=1))
        console.print(f"wrote {json_output}", markup=False)


def _check_request(
    data: list[Path] | None,
    suite: Path | None,
    split: str | None,
    by: str | None,
    errors: Path | None,
    swap_names: bool,
) -> tuple[str, ...]:
    """Says what cannot be done before anything is loaded; returns the fields of `--by`."""
    from detente_training.annotation import SPLITS
    from detente_training.evaluation import group_fields

    if not data:
        if suite is None:
            raise DataError(
                "there is nothing to measure on; name labelled files or folders after the model, or minimal pairs by "
                "--suite, as in `detente evaluate small --suite tests/suite`"
            )
        options = (("--split", split), ("--by", by), ("--errors", errors), ("--swap-names", swap_names or None))
        given = [name for name, value in options if value is not None]
        if given:
            raise DataError(
                f"{', '.join(given)}: meant for labelled files, and none is named; name them after the model, beside "
                "--suite, or leave this out"
            )
    if split is not None and split not in SPLITS:
        raise DataError(f"there is no split `{split}`; use {', '.join(SPLITS)}")
    return group_fields(by) if by else ()


def _check_outputs(paths: Sequence[Path | None], overwrite: bool) -> None:
    for path in paths:
        if path is not None and path.exists() and not overwrite:
            raise DataError(f"{path} exists already; name another file or give --overwrite")
        if path is not None and not path.parent.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {path.parent}")


def _read_data(data: list[Path], split: str | None, codebook: Codebook) -> list[LabelledParagraph]:
    from detente_training.labelled import read_labelled

    gold = read_labelled(data, codebook)
    if split is None:
        return gold
    chosen = [p for p in gold if p.split == split]
    if not chosen:
        found = sorted({p.split or "none" for p in gold})
        raise DataError(f"no paragraph has the split `{split}`; the data have: {', '.join(found)}")
    return chosen


def _predict(reader: Reader, paragraphs: Sequence[LabelledParagraph], title: str, console: Console) -> list[Prediction]:
    from detente_training.finish import progress_bar
    from detente_training.predict import predict

    with progress_bar(console, title, len(paragraphs)) as update:
        return predict(reader, paragraphs, update)


def _measure(
    gold: Sequence[LabelledParagraph],
    predictions: Sequence[Prediction],
    codebook: Codebook,
    fields: Sequence[str],
    bootstrap: int,
    seed: int,
    title: str,
    console: Console,
) -> dict[str, Any]:
    """Prints the figures on labelled paragraphs; returns them for the JSON file."""
    from detente_training.evaluation import by_group
    from detente_training.metrics import evaluate as measure
    from detente_training.tables import render_groups, render_report

    with console.status("measuring"):
        report = measure(gold, predictions, codebook, bootstrap=bootstrap, seed=seed)
        groups = by_group(gold, predictions, codebook, fields, bootstrap=bootstrap, seed=seed) if fields else {}
    shown = Console(highlight=False)
    shown.print(render_report(report, title))
    content = report.to_dict()
    if groups:
        shown.print(render_groups(groups))
        content["by"] = {f: {g: r.to_dict() for g, r in reports.items()} for f, reports in groups.items()}
    return content


def _score(pairs: Sequence[Pair], reader: Reader, title: str, console: Console) -> dict[str, Any]:
    """Prints the shares of minimal pairs that are read right; returns them for the JSON file."""
    from detente_training.suite import evaluate_suite, paragraphs_of, render_suite

    predictions = _predict(reader, paragraphs_of(pairs), "reading pairs", console)
    report = evaluate_suite(pairs, predictions, reader.codebook)
    Console(highlight=False).print(render_suite(report, title))
    return report.to_dict()


def _swap(gold: Sequence[LabelledParagraph], reader: Reader, console: Console) -> dict[str, Any]:
    """Prints how many stances other names change; returns it for the JSON file."""
    from detente_training.finish import progress_bar
    from detente_training.renaming import render_swaps, swap_report

    with progress_bar(console, "reading under other names", 4 * len(gold)) as update:
        report = swap_report(reader, gold, update)
    Console(highlight=False).print(render_swaps(report))
    return report.to_dict()


def _write_mistakes(
    path: Path,
    gold: Sequence[LabelledParagraph],
    predictions: Sequence[Prediction],
    codebook: Codebook,
    console: Console,
) -> None:
    from detente_training.evaluation import mistakes

    found = mistakes(gold, predictions, codebook)
    with whole_file(path) as file:
        file.writelines(json.dumps(mistake.to_dict(), ensure_ascii=False) + "\n" for mistake in found)
    console.print(f"wrote {len(found):,} mistakes to {path}", markup=False)
