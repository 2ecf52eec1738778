"""The console command `detente`: inference from `detente.cli`, and training, evaluation and corpora beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from detente.cli import app as application
from detente.cli import run
from detente.errors import DataError
from detente_training.corpus_commands import corpus_app
from detente_training.whole_files import whole_file

application.add_typer(corpus_app, name="corpus")


def app() -> None:
    """Entry point of the console script."""
    run(application)


@application.command()
def train(
    config: Annotated[
        Path | None,
        typer.Argument(help="Recipe (YAML). Without one, the defaults; see docs/configuration.md."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Labelled file or folder of the kind of text the model is for. May be repeated."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting, as in `training.epochs=6`. May be repeated.",
        ),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The run folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the run folder.")] = False,
) -> None:
    """Fine-tune an encoder on labelled paragraphs.

    Each epoch is scored on the validation documents; the best checkpoint is kept, calibrated and saved with its
    figures and a model card in RUN/bundle. Ctrl-C saves a checkpoint; the same command with --resume goes on from it.

    Examples:

        detente train configs/quick.yaml

        detente train --data my.jsonl --output runs/mine

        detente train configs/base.yaml --set training.epochs=6 --set seed=2
    """
    from detente_training.config import load_config

    settings = load_config(config, sets or (), data or (), output)
    console = Console(stderr=True, highlight=False)
    with console.status("loading"):
        from detente_training.train import InterruptedRunError
        from detente_training.train import train as run_training

    started = time.monotonic()
    try:
        bundle = run_training(settings, Path(settings.output), resume=resume, console=console)
    except InterruptedRunError as stop:
        console.print(str(stop), markup=False)
        raise typer.Exit(130) from stop
    from detente.bundle import METRICS
    from detente_training.report import Report
    from detente_training.tables import headline_figures, render_comparison

    reports = json.loads((bundle / METRICS).read_text(encoding="utf-8"))
    shown = Console(highlight=False)
    shown.print(render_comparison("Figures", {n: headline_figures(Report.from_dict(r)) for n, r in reports.items()}))
    shown.print(f"bundle: {bundle}   ({(time.monotonic() - started) / 60:.1f} min)", markup=False, soft_wrap=True)
    shown.print(f"try it: detente tag examples/envoy.txt --model {bundle}", markup=False, soft_wrap=True)


@application.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="`small` (shipped), the folder of a bundle or a training run, or a hub id.")
    ],
    data: Annotated[list[Path], typer.Argument(help="Labelled files or folders.")],
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
    batch_tokens: Annotated[int, typer.Option(min=16, help="Tokens in one forward pass.")] = 4096,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Measure a model against labelled paragraphs.

    Topics, voices, voice with stance, stance on gold mentions, paragraph stance and calibration, each with its support
    and a 95% bootstrap interval by document. Definitions: docs/evaluation.md.

    Examples:

        detente evaluate small training/corpus --split test

        detente evaluate runs/mine my.jsonl --split test --by style --errors mistakes.jsonl
    """
    from detente_training.annotation import SPLITS
    from detente_training.evaluation import by_group, group_fields, mistakes
    from detente_training.labelled import read_labelled
    from detente_training.metrics import evaluate as measure
    from detente_training.tables import render_groups, render_report

    if split is not None and split not in SPLITS:
        raise DataError(f"there is no split `{split}`; use {', '.join(SPLITS)}")
    fields = group_fields(by) if by else ()
    for path in (json_output, errors):
        if path is not None and path.exists() and not overwrite:
            raise DataError(f"{path} exists already; name another file or give --overwrite")
        if path is not None and not path.parent.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {path.parent}")
    console = Console(stderr=True, highlight=False)
    with console.status(f"loading the model {model}"):
        from detente.tagger import Tagger
        from detente_training.finish import progress_bar
        from detente_training.predict import predict

        reader = Tagger.from_pretrained(model, device=device, batch_tokens=batch_tokens).reader
    gold = read_labelled(data, reader.codebook)
    if split is not None:
        found = sorted({p.split or "none" for p in gold})
        gold = [p for p in gold if p.split == split]
        if not gold:
            raise DataError(f"no paragraph has the split `{split}`; the data have: {', '.join(found)}")
    with progress_bar(console, "reading", len(gold)) as update:
        predictions = predict(reader, gold, update)
    with console.status("measuring"):
        report = measure(gold, predictions, reader.codebook, bootstrap=bootstrap, seed=seed)
        groups = by_group(gold, predictions, reader.codebook, fields, bootstrap=bootstrap, seed=seed) if fields else {}
    shown = Console(highlight=False)
    names = ", ".join(str(path) for path in data) + (f", split {split}" if split else "")
    shown.print(render_report(report, f"{model} on {names}"))
    if groups:
        shown.print(render_groups(groups))
    if json_output is not None:
        content: dict[str, Any] = report.to_dict() | {
            "model": model,
            "data": [path.name for path in data],
            "split": split,
        }
        if groups:
            content["by"] = {f: {g: r.to_dict() for g, r in reports.items()} for f, reports in groups.items()}
        with whole_file(json_output) as file:
            file.write(json.dumps(content, indent=1))
        console.print(f"wrote {json_output}", markup=False)
    if errors is not None:
        found_mistakes = mistakes(gold, predictions, reader.codebook)
        with whole_file(errors) as file:
            file.writelines(json.dumps(mistake.to_dict(), ensure_ascii=False) + "\n" for mistake in found_mistakes)
        console.print(f"wrote {len(found_mistakes):,} mistakes to {errors}", markup=False)
