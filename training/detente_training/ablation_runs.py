"""Running ablations: trains a variant, scores it on held-out documents, and keeps the result beside its run."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from safetensors import safe_open
from transformers.utils import SAFE_WEIGHTS_NAME

from detente.bundle import load_bundle
from detente.calibration import Calibration
from detente.checksums import sha256_of
from detente.errors import DetenteError
from detente.network import DetenteModel
from detente.reader import Reader
from detente.runtime import choose_device
from detente_training.ablations import Variant, changed, configuration, lineage
from detente_training.config import TrainConfig
from detente_training.crossfit import cross_fitted_predictions
from detente_training.distil import MANIFEST
from detente_training.finish import BUNDLE, make_reader, progress_bar
from detente_training.fitting import fit_calibration, fit_temperatures, fit_thresholds
from detente_training.labelled import LabelledParagraph
from detente_training.metrics import evaluate
from detente_training.predict import prediction, read_labelled_paragraphs
from detente_training.report import Report
from detente_training.rows import files_at
from detente_training.run_folder import CHECKPOINTS, last_checkpoint
from detente_training.stance_weights import fit_stance_weights
from detente_training.train import train
from detente_training.training_data import load_data
from detente_training.whole_files import whole_file

RESULT = "result.json"
COST = "cost.json"


@dataclass(frozen=True, slots=True)
class Result:
    """What one variant scored with one seed.

    Attributes:
        report: on the held-out documents of the target, cross-fitted, without intervals.
        minutes: of training, fitting included; None where it was interrupted, or nothing was trained.
        parameters: how many weights were trained; None where none were.
        real: paragraphs of the target trained on; None where they were drawn together with others.
    """

    variant: str
    seed: int
    report: Report
    minutes: float | None
    parameters: int | None
    real: int | None


@dataclass(frozen=True, slots=True)
class Bench:
    """Where variants are trained and scored.

    Attributes:
        variants: all of the file, by name.
        data: labelled files of the target; their validation documents are scored on.
        output: has a folder for each variant, and in it a run folder for each seed.
        keep: keep checkpoints and bundles that no other variant needs.
        console: where progress is shown.
    """

    variants: Mapping[str, Variant]
    data: tuple[str, ...]
    output: Path
    keep: bool
    console: Console

    def folder(self, name: str, seed: int) -> Path:
        return self.output / name / str(seed)

    def seeds(self, name: str) -> list[int]:
        """The seeds of which there is a result."""
        found = (self.output / name).glob(f"*/{RESULT}")
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())

    def result(self, name: str, seed: int) -> Result | None:
        """The result that is there.

        Raises:
            DetenteError: it was made from something else than this file, these recipes and these data say.
        """
        path = self.folder(name, seed) / RESULT
        if not path.exists():
            return None
        kept = json.loads(path.read_text(encoding="utf-8"))
        made_from = self._made_from(name, seed)
        differs = [key for key in made_from if key != "configurations" and kept["made_from"].get(key) != made_from[key]]
        if not _same(kept["made_from"]["configurations"], made_from["configurations"]):
            differs.insert(0, "configuration")
        if differs:
            raise DetenteError(
                f"the result in {path.parent} was made from something else ({', '.join(differs)} changed); "
                "remove that folder, or name another one with --output"
            )
        return Result(name, seed, Report.from_dict(kept["report"]), kept["minutes"], kept["parameters"], kept["real"])

    def run(self, name: str, seed: int) -> Result:
        """The result that is there, or a new one: trains what has to be trained, scores it and writes it down.

        Raises:
            DetenteError: see `result` and `train`.
            InterruptedRunError: Ctrl-C while training; the same call goes on from there.
        """
        if (done := self.result(name, seed)) is not None:
            return done
        variant = self.variants[name]
        trained = variant if variant.bundle is None else self.variants[variant.bundle]
        bundle = self._bundle(trained, seed)
        report, real = score(bundle, configuration(trained, self.data, seed), variant.decode, self.console)
        folder = self.folder(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        cost = {"minutes": None, "parameters": None}
        if variant is trained:
            cost = json.loads((folder / COST).read_text(encoding="utf-8"))
        made_from = self._made_from(name, seed)
        with whole_file(folder / RESULT) as file:
            json.dump({"made_from": made_from, **cost, "real": real, "report": report.to_dict()}, file, indent=1)
        if not self.keep and not any(name in (v.start, v.bundle) for v in self.variants.values()):
            shutil.rmtree(folder / BUNDLE, ignore_errors=True)
        return Result(name, seed, report, real=real, **cost)

    def _bundle(self, variant: Variant, seed: int) -> Path:
        """The bundle of a variant, trained where it is not there yet; beside it, what that cost."""
        config = configuration(variant, self.data, seed)
        if variant.start is not None:
            start = self._bundle(self.variants[variant.start], seed)
            config = config.model_copy(update={"start": str(start)})
        folder = self.folder(variant.name, seed)
        begun, unbroken = time.monotonic(), not folder.exists()
        bundle = train(config, folder, resume=True, console=self.console)
        if not (folder / COST).exists():
            minutes = (time.monotonic() - begun) / 60 if unbroken else None
            with whole_file(folder / COST) as file:
                json.dump({"minutes": minutes, "parameters": trained_parameters(folder, config)}, file)
        if not self.keep:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return bundle

    def _made_from(self, name: str, seed: int) -> dict[str, Any]:
        """What decides a result: the configurations of all that is trained for it, their files, the decoding."""
        trained = [variant for variant in lineage(self.variants, name) if variant.bundle is None]
        configs = [configuration(variant, self.data, seed) for variant in trained]
        files = [file for config in configs for path in config.data.every_file for file in files_at(Path(path))]
        files += [Path(path) / MANIFEST for config in configs for path in config.data.soft]
        files += [Path(config.codebook) for config in configs if config.codebook is not None]
        hashes = sorted({_hash(file) for file in files if file.is_file()})  # a file that is missing stops the training
        return {
            "configurations": [config.model_dump(mode="json") for config in configs],
            "data": hashlib.sha256("".join(hashes).encode()).hexdigest(),
            "decoding": list(self.variants[name].decode),
        }


_hash = functools.cache(sha256_of)


def _same(kept: Sequence[Any], now: Sequence[Any]) -> bool:
    """Whether configurations are the same; one that was kept before a key came in has its default."""
    try:
        return [TrainConfig.model_validate(config).model_dump(mode="json") for config in kept] == list(now)
    except ValidationError:
        return False


def score(bundle: Path, config: TrainConfig, decode: Sequence[str], console: Console) -> tuple[Report, int | None]:
    """Scores a bundle on the validation documents of the target, each half under what was fitted to the other.

    Args:
        config: what the bundle was trained with.
        decode: `field=value` laid over each calibration.

    Returns:
        The report without intervals, and the number of target paragraphs trained on, where that is known.
    """
    loaded = load_bundle(bundle)
    target = config.data.model_copy(update={"files": (), "soft": (), "max_paragraphs": None})
    data = load_data(config.model_copy(update={"data": target}), loaded.codebook)
    loaded.model.to(choose_device())  # type: ignore[arg-type]

    def fit(model: DetenteModel, reader: Reader, paragraphs: Sequence[LabelledParagraph]) -> Calibration:
        """As `fit_calibration` does, with the changes made before anything is fitted that depends on them."""
        reader = replace(reader, calibration=changed(fit_temperatures(model, reader, paragraphs), decode))
        read = read_labelled_paragraphs(reader, paragraphs)
        calibration = changed(fit_thresholds(reader, paragraphs, [reading for reading, _ in read]), decode)
        found = [prediction(reading, marked, reader.codebook, calibration) for reading, marked in read]
        weights = fit_stance_weights(paragraphs, found, reader.codebook)
        return changed(replace(calibration, stance_weights=weights), decode)

    reader = make_reader(loaded.model, loaded.tokenizer, loaded.codebook, Calibration())
    with progress_bar(console, "scoring", len(data.validation)) as update:
        fitting = fit if decode else fit_calibration
        predictions = cross_fitted_predictions(loaded.model, reader, data.validation, fitting, update)
    report = evaluate(data.validation, predictions, loaded.codebook, bootstrap=0)
    return report, len(data.train) if config.data.max_paragraphs is None else None


def trained_parameters(folder: Path, config: TrainConfig) -> int | None:
    """How many weights a run has trained, by its last checkpoint; None where that is gone."""
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return None
    with safe_open(Path(checkpoint) / SAFE_WEIGHTS_NAME, "pt") as file:
        names = file.keys()
        if config.lora is not None:
            names = [name for name in names if ".lora_" in name or not name.startswith("encoder.")]
        return sum(int(math.prod(file.get_slice(name).get_shape())) for name in names)
