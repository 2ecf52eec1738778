"""The model card that travels in a bundle, generated from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente_training.config import TrainConfig
from detente_training.estimates import Figure
from detente_training.report import Report
from detente_training.tables import FIGURES, headline_figures

LIMITS = """\
- It reads one paragraph at a time. A speaker named only in the paragraph before is found as "he" or "she".
- It reads English.
- It gives the stance that a voice takes in the words of the paragraph; it does not know who said what elsewhere.
- Irony, rhetorical questions, nested attribution and conditions are where it errs most.
- A figure on a text unlike those it was measured on is a guess: label a sample of yours and run `detente evaluate`.
- Probabilities are calibrated on the validation documents named above, not on your archive, whose shares differ.

**Not for**: judging persons, automated moderation or targeting, evidence in any proceeding, or any count that is
printed without having been checked against a hand-labelled sample of the same texts."""


def model_card(
    config: TrainConfig,
    record: Mapping[str, Any],
    codebook: Codebook,
    calibration: Calibration,
    reports: Mapping[str, Report],
) -> str:
    """Markdown: what the model is, made from what and how, how well it does, and what it must not be used for.

    Args:
        record: encoder, data hashes and versions of the run.
        reports: evaluation by the name of the data; "validation" is what checkpoint and calibration were chosen on.
    """
    encoder = record["encoder"]
    labels = (", ".join(codebook.topic_names), ", ".join(codebook.stance_names))
    sections = [
        f"# {encoder_name(config.encoder)} reader of {'; '.join(filter(None, labels))}",
        "A detente bundle: topics, voices and the stance of every voice, paragraph by paragraph. Load it with "
        "`detente tag --model FOLDER` or `Tagger.from_pretrained(FOLDER)`.",
        "## Made from",
        _table(
            ("", "paragraphs", "documents", "voices", "SHA-256 of the labelled records"),
            [
                (
                    name,
                    f"{part['paragraphs']:,}",
                    f"{part['documents']:,}",
                    f"{part['voices']:,}",
                    f"`{part['sha256'][:16]}…`",
                )
                for name, part in (
                    ("trained on", record["train"]),
                    ("chosen and calibrated on", record["validation"]),
                )
            ],
        ),
        f"Encoder: {encoder['name']} (licence {encoder['licence'] or 'unknown'}, weights SHA-256 "
        f"`{(encoder['sha256'] or 'unknown')[:16]}`). Codebook version {codebook.version}, "
        f"hash `{codebook.hash[:16]}`. Seed {record['seed']}. Versions: "
        + ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        + ".",
        "Where the labels are those of detente's own corpus or of its stand-off files, text (corpus) and labels were "
        "made by a large language model under the codebook; **no human coder has checked them**. Figures below say how "
        "well the model agrees with such labels.",
        "## Figures",
        "With 95% bootstrap interval by document, and the number of labelled items in brackets; ECE is the expected "
        "calibration error in ten equal-mass bins. Definitions: docs/evaluation.md. Checkpoint, temperatures and "
        "thresholds were chosen on the column `validation`, which is therefore somewhat too good.",
        _figures(reports),
        *_topics(reports),
        "## Thresholds",
        "Topics: "
        + ", ".join(f"{t} {calibration.topic_threshold(t):.3f}" for t in codebook.topic_names)
        + f". Voices {calibration.voice_threshold:.3f}, narrator {calibration.narrator_threshold:.3f}. Temperatures: "
        f"topics {calibration.topic_temperature:.3f}, voices {calibration.voice_temperature:.3f}, narrator "
        f"{calibration.narrator_temperature:.3f}, stance {calibration.stance_temperature:.3f}.",
        "## Limits",
        LIMITS,
        "## Recipe",
        f"```yaml\n{_portable(config).to_yaml()}```",
    ]
    return "\n\n".join(sections) + "\n"


def _portable(config: TrainConfig) -> TrainConfig:
    """The recipe without the folders of the machine that trained."""
    files, target = (tuple(map(source_name, paths)) for paths in (config.data.files, config.data.target))
    data = config.data.model_copy(update={"files": files, "target": target})
    codebook = None if config.codebook is None else source_name(config.codebook)
    update = {"encoder": encoder_name(config.encoder), "codebook": codebook, "output": "run", "data": data}
    return config.model_copy(update=update)


def encoder_name(name: str) -> str:
    """A hub id as it is; of a local folder, the last part of its path."""
    return source_name(name) if Path(name).expanduser().is_dir() else name


def source_name(path: str) -> str:
    """What documents call a data file or folder: the last part of its path."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval} ({figure.support:,})"


def _figures(reports: Mapping[str, Report]) -> str:
    columns = {name: headline_figures(report) for name, report in reports.items()}
    rows = [(row, *(_shown(column[row]) for column in columns.values())) for row in FIGURES]
    sizes = ("paragraphs (documents)", *(f"{r.paragraphs:,} ({r.documents:,})" for r in reports.values()))
    return _table(("figure", *columns), [sizes, *rows])


def _topics(reports: Mapping[str, Report]) -> list[str]:
    rows = [
        (name, topic, _shown(scores.precision), _shown(scores.recall), _shown(scores.f1))
        for name, report in reports.items()
        if report.topics
        for topic, scores in report.topics.labels.items()
    ]
    return ["By topic:", _table(("data", "topic", "precision", "recall", "F1"), rows)] if rows else []
