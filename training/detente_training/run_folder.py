"""The folder of a run: what it was made from, and its checkpoints."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from detente.bundle import weights_file
from detente.checksums import sha256_of
from detente.codebook import Codebook
from detente.encoders import ResolvedEncoder
from detente.errors import ConfigError, DetenteError
from detente_training.config import TrainConfig
from detente_training.labelled import LabelledParagraph
from detente_training.training_data import TrainingData

CHECKPOINTS = "checkpoints"


def run_record(
    config: TrainConfig, codebook: Codebook, encoder: ResolvedEncoder, data: TrainingData, start: Path | None
) -> dict[str, Any]:
    """What a run was made from: encoder, codebook, data with hashes, versions; kept in run folder and bundle."""

    def described(paragraphs: Sequence[LabelledParagraph]) -> dict[str, Any]:
        lines = sorted(json.dumps(p.to_dict(), sort_keys=True, ensure_ascii=False) for p in paragraphs)
        return {
            "paragraphs": len(paragraphs),
            "documents": len({p.document for p in paragraphs}),
            "voices": sum(len(p.voices or ()) + (p.narrator is not None) for p in paragraphs),
            "sha256": hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest(),
        }

    packages = ("detente", "torch", "transformers", "tokenizers", "datasets", "accelerate", "peft", "numpy")
    return {
        "encoder": {"name": encoder.name, "sha256": encoder.sha256, "licence": encoder.licence},
        "codebook": codebook.hash,
        "train": described(data.labelled),
        "validation": described(data.validation),
        "seed": config.seed,
        **({"soft": _described_soft(data)} if data.soft else {}),
        **({"start": sha256_of(start)} if start is not None else {}),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def _described_soft(data: TrainingData) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, labels in sorted(data.soft.items()):
        for part in (name.encode(), labels.topics.tobytes(), labels.voices.tobytes(), labels.stances.tobytes()):
            digest.update(part)
    return {
        "paragraphs": len(data.soft),
        "unlabelled": len(data.train) - len(data.labelled),
        "sha256": digest.hexdigest(),
    }


def start_file(start: str | None) -> Path | None:
    """The weights that `start` names: of a bundle or run folder its bundle's, of a checkpoint its own.

    Raises:
        ConfigError: there are none.
    """
    if start is None:
        return None
    folder = Path(start).expanduser()
    for place in (folder, folder / "bundle"):
        if weights_file(place).is_file():
            return weights_file(place)
    raise ConfigError(f"`start`: {start} is neither a bundle nor a checkpoint: it holds no weights")


def open_run(folder: Path, config: TrainConfig, record: dict[str, Any], resume: bool) -> str | None:
    """Makes or checks the run folder; gives the checkpoint to go on from.

    Raises:
        DetenteError: a run is there and `resume` was not asked for, or the run there was made from something else.
    """
    settings, described = folder / "config.yaml", folder / "run.json"
    same = config.model_copy(update={"output": "."}).to_yaml()  # the folder may be moved
    if described.exists():
        if not resume:
            raise DetenteError(
                f"{folder} holds a run already; go on with it by --resume, or name another folder with --output"
            )
        before = json.loads(described.read_text(encoding="utf-8"))
        changed = [key for key in record if key != "versions" and before.get(key) != record[key]]
        if settings.read_text(encoding="utf-8") != same:
            changed.insert(0, "configuration")
        if changed:
            raise DetenteError(
                f"the run in {folder} was made from something else ({', '.join(changed)} changed); "
                "restore it to resume, or name another folder with --output"
            )
        return last_checkpoint(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(same, encoding="utf-8")
        described.write_text(json.dumps(record, indent=2), encoding="utf-8")
    except OSError as error:
        raise DetenteError(f"cannot write the run folder {folder}: {error.strerror}") from error
    return None


def read_state(checkpoint: str) -> TrainerState:
    state: TrainerState = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    return state


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a run: a kill may have left one that is not."""
    found = (folder / CHECKPOINTS).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    for checkpoint in sorted(found, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            read_state(str(checkpoint))  # it is written last
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None
