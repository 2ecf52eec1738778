"""The console command `detente`: inference from `detente.cli`, and training, evaluation and corpora beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detente.cli import app as application
from detente.cli import run
from detente_training.corpus_commands import corpus_app
from detente_training.distil_command import distil
from detente_training.evaluate_command import evaluate

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

        detente train configs/corpus.yaml --set training.epochs=6 --set seed=2
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


application.command()(evaluate)
application.command()(distil)
