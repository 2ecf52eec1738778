"""The end of a run: calibration, figures, model card, bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from transformers import PreTrainedTokenizerBase

from detente.bundle import save_bundle
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.network import DetenteModel
from detente.reader import Reader
from detente.runtime import TorchRuntime
from detente_training.card import model_card
from detente_training.config import TrainConfig
from detente_training.fitting import fit_calibration
from detente_training.labelled import LabelledParagraph
from detente_training.metrics import evaluate
from detente_training.predict import predict
from detente_training.report import Report

BUNDLE = "bundle"
Update = Callable[[int], None]


@contextmanager
def progress_bar(console: Console, title: str, total: int) -> Iterator[Update]:
    """A bar for reading `total` paragraphs; gives the function that moves it."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def make_reader(
    model: DetenteModel, tokenizer: PreTrainedTokenizerBase, codebook: Codebook, calibration: Calibration
) -> Reader:
    """A reader over a network that is not in a bundle yet."""
    config = model.config
    runtime = TorchRuntime(model, model.device)
    return Reader(runtime, tokenizer, codebook, calibration, config.window_tokens, config.overlap_tokens)


def finish(
    folder: Path,
    config: TrainConfig,
    record: Mapping[str, Any],
    model: DetenteModel,
    tokenizer: PreTrainedTokenizerBase,
    codebook: Codebook,
    validation: Sequence[LabelledParagraph],
    tests: Mapping[str, Sequence[LabelledParagraph]],
    console: Console,
) -> Path:
    """Calibrates on validation paragraphs, measures on the test splits, writes the bundle.

    Args:
        folder: the run folder.
        record: what the model was made from.
        tests: test paragraphs by the name of their source; none of them trained on or fitted to.

    Returns:
        The folder of the bundle.
    """
    reader = make_reader(model, tokenizer, codebook, Calibration())
    with progress_bar(console, "calibrating", len(validation)) as update:
        reader = replace(reader, calibration=fit_calibration(model, reader, validation, update))
    reports: dict[str, Report] = {}
    for name, paragraphs in {"validation": validation, **tests}.items():
        with progress_bar(console, f"measuring on {name}", len(paragraphs)) as update:
            reports[name] = evaluate(paragraphs, predict(reader, paragraphs, update), codebook, seed=config.seed)
    bundle = folder / BUNDLE
    save_bundle(
        bundle,
        model,
        tokenizer,
        codebook,
        reader.calibration,
        {name: report.to_dict() for name, report in reports.items()},
        model_card(config, record, codebook, reader.calibration, reports),
        record,
    )
    return bundle
