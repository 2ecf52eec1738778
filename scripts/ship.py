"""Measures a trained model on everything that its card must state, and writes it as a model to ship.

    python scripts/ship.py runs/release/bundle small --corpus training/corpus --heldout realtrain.jsonl \\
        --realdev realdev.jsonl --suite tests/suite --errors wrong.md --output model/detente/models

The weights stay as they are; figures, model card and manifest are made anew. Nothing is chosen or fitted here. The
recipe in the card is `config.yaml` of the run folder in which the bundle lies.

- figures, with 95% intervals (1,000 resamples, seed 0), also by style and region, on `validation` (the held-out
  documents: split validation of `--heldout`), `corpus` (test split of `--corpus`) and `realdev` (all of it);
- minimal pairs, of `--suite`;
- the share of stances that other names change, on the held-out documents;
- speed, on 256 paragraphs of the corpus's test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from detente.codebook import Codebook
from detente.errors import DataError, DetenteError
from detente_training.config import TrainConfig, load_config
from detente_training.labelled import LabelledParagraph, read_labelled

app = typer.Typer(add_completion=False)
FIELDS = ("style", "region")
RESAMPLES, SEED = 1000, 0


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle of a training run: RUN/bundle.")],
    name: Annotated[str, typer.Argument(help="Name under which it is shipped, as in `small`.")],
    corpus: Annotated[Path, typer.Option(help="The corpus; its test split is measured on.")],
    heldout: Annotated[Path, typer.Option(help="Real paragraphs; their split validation is measured on.")],
    realdev: Annotated[Path, typer.Option(help="Real paragraphs that nothing was chosen on.")],
    suite: Annotated[Path, typer.Option(help="Minimal pairs: a file or a folder.")],
    output: Annotated[Path, typer.Option(help="Folder in which the folder NAME is made.")],
    errors: Annotated[Path | None, typer.Option(help="What it gets wrong: Markdown for the card.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Folder or hub id of the encoder, for a bundle that is adapters to one.")
    ] = None,
) -> None:
    """Measure a model and write it, with its card, to OUTPUT/NAME."""
    console = Console(stderr=True, highlight=False)
    try:
        ship(bundle, output / name, corpus, heldout, realdev, suite, errors, encoder, console)
    except DetenteError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(str(output / name))


def ship(
    bundle: Path,
    folder: Path,
    corpus: Path,
    heldout: Path,
    realdev: Path,
    suite: Path,
    errors: Path | None,
    encoder: str | None,
    console: Console,
) -> None:
    """Reads everything before it measures anything, and writes at the end."""
    from detente.bundle import copy_bundle, load_bundle
    from detente.tagger import Tagger
    from detente_training.card import model_card
    from detente_training.evaluation import by_group
    from detente_training.finish import progress_bar
    from detente_training.metrics import evaluate
    from detente_training.predict import predict
    from detente_training.renaming import swap_report
    from detente_training.speed import measure_speed, sample
    from detente_training.suite import evaluate_suite, paragraphs_of, read_suite

    if folder.exists():
        raise DataError(f"{folder} exists already; remove it or choose another name")
    with console.status("loading"):
        loaded = load_bundle(bundle, encoder)
        config = recipe(loaded.path)
        wrong = None if errors is None else read_text(errors)
        codebook = loaded.codebook
        sets = {
            "validation": read_split(heldout, "validation", codebook),
            "corpus": read_split(corpus, "test", codebook),
            "realdev": read_split(realdev, None, codebook),
        }
        pairs = read_suite(suite, codebook)
        tagger = Tagger.from_bundle(loaded, device="cpu")
    reports, groups = {}, {}
    for data, gold in sets.items():
        with progress_bar(console, f"reading {data}", len(gold)) as update:
            predictions = predict(tagger.reader, gold, update)
        with console.status(f"measuring on {data}"):
            reports[data] = evaluate(gold, predictions, codebook, bootstrap=RESAMPLES, seed=SEED)
            groups[data] = by_group(gold, predictions, codebook, FIELDS, bootstrap=RESAMPLES, seed=SEED)
    with progress_bar(console, "reading minimal pairs", 2 * len(pairs)) as update:
        scores = evaluate_suite(pairs, predict(tagger.reader, paragraphs_of(pairs), update), codebook)
    with console.status("swapping names") as status:
        swaps = swap_report(
            tagger.reader, sets["validation"], lambda done: status.update(f"swapping names: {done:,} windows read")
        )
    with console.status("timing"):
        speed = measure_speed(tagger, sample(sets["corpus"]))
    metrics: dict[str, Any] = {data: report.to_dict() for data, report in reports.items()}
    metrics["by"] = {
        data: {field: {value: r.to_dict() for value, r in values.items()} for field, values in fields.items()}
        for data, fields in groups.items()
    }
    metrics |= {"suite": scores.to_dict(), "swaps": swaps.to_dict(), "speed": speed.to_dict()}
    card = model_card(
        config,
        loaded.manifest["made_from"],
        codebook,
        loaded.calibration,
        reports,
        groups=groups,
        suite=scores,
        swaps=swaps,
        speed=speed,
        wrong=wrong,
    )
    copy_bundle(loaded, folder, metrics, card)


def recipe(bundle: Path) -> TrainConfig:
    """The configuration of the run that made a bundle."""
    path = bundle.parent / "config.yaml"
    if not path.is_file():
        raise DataError(f"{bundle} does not lie in the folder of its run: there is no {path}, which the card prints")
    return load_config(path)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_split(path: Path, split: str | None, codebook: Codebook) -> Sequence[LabelledParagraph]:
    """The paragraphs of a split; None is all of them."""
    every = read_labelled([path], codebook)
    chosen = [p for p in every if split in (None, p.split)]
    if not chosen:
        found = ", ".join(sorted({p.split or "none" for p in every}))
        raise DataError(f"no paragraph of {path} has the split `{split}`; there are: {found}")
    return chosen


if __name__ == "__main__":
    app()
