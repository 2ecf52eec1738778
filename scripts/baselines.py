"""Simple methods on the same data and in the same figures as a model: what a model has to beat.

    python scripts/baselines.py --train training/corpus --data corpus=training/corpus@test --model small

Instead of `--model`, `--report corpus=small.json` takes a model's figures from the file that
`detente evaluate MODEL DATA --json` wrote on the same paragraphs.

- majority: for each topic, and for stance, what most training paragraphs have.
- TF-IDF + logistic regression: topics and paragraph stance from words and word pairs; regularisation, topic
  thresholds and the weight of stance priors are tuned on the validation documents of `--train`.
- verb of saying: a voice is a noun phrase or pronoun beside a verb of saying; its stance is always neutral.

A method stands in a column only if it says something of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from detente.codebook import Codebook
from detente.errors import DataError, DetenteError
from detente_training.baselines import Method, majority, tfidf, tfidf_steps, verb_of_saying
from detente_training.labelled import SPLITS, LabelledParagraph, assign_splits, read_labelled
from detente_training.metrics import Figure, Prediction, Report, evaluate
from detente_training.tables import FIGURES, headline_figures, render_comparison

app = typer.Typer(add_completion=False)


Rows = dict[str, dict[str, Figure | None]]  # method -> figure -> value


def read_sets(texts: Sequence[str], split: str, codebook: Codebook) -> dict[str, list[LabelledParagraph]]:
    """Reads `[NAME=]PATH[@SPLIT]`; a set without a name has its file's, and files of one name are one set."""
    sets: dict[str, list[LabelledParagraph]] = {}
    for text in texts:
        name, named, path = text.partition("=")
        path = path if named else text
        stem, at, own = path.rpartition("@")
        path, own = (stem, own) if at and own in (*SPLITS, "all") else (path, split)
        every = read_labelled([Path(path)], codebook)
        kept = [p for p in every if own in ("all", p.split)]
        if not kept:
            there = ", ".join(sorted({p.split or "(none)" for p in every}))
            raise DataError(f"{path} has nothing in split `{own}`, only in: {there}. `{path}@all` means all of it")
        sets.setdefault(name if named else Path(path).stem, []).extend(kept)
    return sets


def read_training(paths: Sequence[Path], codebook: Codebook) -> tuple[list[LabelledParagraph], list[LabelledParagraph]]:
    """The paragraphs to fit on and those to tune on."""
    every = assign_splits(read_labelled(paths, codebook))
    train, validation = ([p for p in every if p.split == name] for name in ("train", "validation"))
    if not train or not validation:
        raise DataError("`--train` needs paragraphs in both splits, train and validation")
    return train, validation


def refuse_shared_documents(train: Sequence[LabelledParagraph], sets: dict[str, list[LabelledParagraph]]) -> None:
    documents = {p.document for p in train}
    for name, paragraphs in sets.items():
        shared = sorted(documents & {p.document for p in paragraphs})
        if shared:
            raise DataError(
                f"{len(shared)} documents of the set `{name}` are trained on, {shared[0]} among them; "
                "measure on documents of another split"
            )


def read_report(text: str, sets: dict[str, list[LabelledParagraph]]) -> tuple[str, str, Report]:
    """Reads `[SET=]FILE`, a model's report on one of the sets (unnamed: the first): set, file, report."""
    name, named, path = text.partition("=")
    name, path = (name, path) if named else (next(iter(sets)), text)
    if name not in sets:
        raise DataError(f"`--report {text}`: there is no set `{name}`; sets: {', '.join(sets)}")
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the report {path}: {error}") from error
    report = Report.from_dict(data.get("report", data) if isinstance(data, dict) else data)
    if report.paragraphs != len(sets[name]):
        raise DataError(
            f"{path} reports on {report.paragraphs} paragraphs, but the set `{name}` has {len(sets[name])}; "
            "evaluate the model on the same split"
        )
    return name, Path(path).stem, report


@contextmanager
def steps(total: int, text: str) -> Iterator[Callable[[], None]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


@app.command()
def main(
    train: Annotated[list[Path], typer.Option(help="Labelled files to fit on (train) and tune on (validation).")],
    data: Annotated[list[str], typer.Option(help="A set to measure on: [NAME=]PATH[@SPLIT]. Repeat for more.")],
    split: Annotated[str, typer.Option(help="Split of the sets that name none; `all` for everything.")] = "test",
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to measure beside them: name or folder. Repeat for more."),
    ] = None,
    report: Annotated[
        list[str] | None, typer.Option(help="Figures of a model: [SET=]FILE of `detente evaluate --json`.")
    ] = None,
    codebook: Annotated[Path | None, typer.Option(help="Codebook (YAML). Default: the built-in one.")] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples by document for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Print one table for each set: majority, TF-IDF, verb of saying, and the models named."""
    try:
        book = Codebook.from_yaml(codebook) if codebook else Codebook.default()
        sets = read_sets(data, split, book)
        reports = [read_report(text, sets) for text in report or ()]
        fit_on, tune_on = read_training(train, book)
        refuse_shared_documents(fit_on, sets)
        models = [load(name, book) for name in model or ()]
        tables = measure([*fit(fit_on, tune_on, book), *models], sets, book, bootstrap, seed)
    except DetenteError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for name, reported, made in reports:
        tables[name][reported] = headline_figures(made)
    console = Console(highlight=False)
    for name, rows in tables.items():
        console.print(render_comparison(f"{name}: {len(sets[name])} paragraphs", rows))
    if output:
        plain = {
            name: {method: {k: f and asdict(f) for k, f in figures.items()} for method, figures in rows.items()}
            for name, rows in tables.items()
        }
        output.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def fit(
    train: Sequence[LabelledParagraph], validation: Sequence[LabelledParagraph], codebook: Codebook
) -> list[Method]:
    with steps(tfidf_steps(codebook), "fitting TF-IDF + logistic regression") as step:
        learned = tfidf(train, validation, codebook, step)
    return [majority(train, codebook), learned, verb_of_saying(codebook)]


def load(name: str, codebook: Codebook) -> Method:
    """A saved model; it says something of every figure."""
    from detente.tagger import Tagger
    from detente_training.predict import predict

    reader = Tagger.from_pretrained(name).reader
    if (reader.codebook.topics, reader.codebook.stances) != (codebook.topics, codebook.stances):
        raise DataError(f"the model {name} has another codebook; name its codebook.yaml with `--codebook`")

    def tagged(paragraphs: Sequence[LabelledParagraph]) -> list[Prediction]:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"tagging with {name}", total=len(paragraphs))
            # counts windows, of which a long paragraph has several
            return predict(reader, paragraphs, lambda n: progress.update(task, completed=min(n, len(paragraphs))))

    return Method(name, FIGURES, tagged)


def measure(
    methods: Sequence[Method],
    sets: dict[str, list[LabelledParagraph]],
    codebook: Codebook,
    bootstrap: int,
    seed: int,
) -> dict[str, Rows]:
    """Measures every method on every set: set -> method -> figure -> value."""
    tables: dict[str, Rows] = {name: {} for name in sets}
    for name, paragraphs in sets.items():
        for method in methods:
            predictions = method.predict(paragraphs)
            with Console(stderr=True).status(f"measuring {method.name} on {name}"):
                made = evaluate(paragraphs, predictions, codebook, bootstrap=bootstrap, seed=seed)
            figures = headline_figures(made)
            tables[name][method.name] = {figure: figures[figure] for figure in method.figures}
    return tables


if __name__ == "__main__":
    app()
