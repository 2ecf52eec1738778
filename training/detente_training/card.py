"""The model card that travels in a bundle, generated from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente_training.config import TrainConfig
from detente_training.estimates import Figure
from detente_training.report import Report
from detente_training.tables import FIGURES, headline_figures

if TYPE_CHECKING:
    from detente_training.renaming import SwapReport
    from detente_training.speed import Speed
    from detente_training.suite import SuiteReport

Groups = Mapping[str, Mapping[str, Report]]  # field -> value -> report, as `evaluation.by_group` gives them
SMALLEST_GROUP = 20  # paragraphs
GROUP_FIGURES = ("topics macro-F1", "voices F1", "voice+stance F1", "paragraph stance macro-F1")
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
    *,
    groups: Mapping[str, Groups] | None = None,
    suite: SuiteReport | None = None,
    swaps: SwapReport | None = None,
    speed: Speed | None = None,
    wrong: str | None = None,
) -> str:
    """Markdown: what the model is, made from what and how, how well it does, and what it must not be used for.

    Args:
        record: encoder, data hashes and versions of the run; of soft labels and first weights too, if it had any.
        reports: evaluation by the name of the data; "validation" is what checkpoint and calibration were chosen on.
        groups: evaluation by style, region, …, by the name of the data.
        suite: minimal pairs.
        swaps: what other names do to its stances.
        speed: a benchmark.
        wrong: what it gets wrong, Markdown.
    """
    encoder = record["encoder"]
    labels = (", ".join(codebook.topic_names), ", ".join(codebook.stance_names))
    sections = [
        f"# {encoder_name(config.encoder)} reader of {'; '.join(filter(None, labels))}",
        "A detente bundle: topics, voices and the stance of every voice, paragraph by paragraph. Load it with "
        "`detente tag --model FOLDER` or `Tagger.from_pretrained(FOLDER)`.",
        "## Made from",
        _data(record),
        _files(config),
        f"Encoder: {encoder['name']} (licence {encoder['licence'] or 'unknown'}, weights SHA-256 "
        f"`{(encoder['sha256'] or 'unknown')[:16]}`). Codebook version {codebook.version}, "
        f"hash `{codebook.hash[:16]}`. Seed {record['seed']}. Versions: "
        + ", ".join(f"{k} {v}" for k, v in record["versions"].items())
        + ".",
        *_learned_before(record),
        "Where the labels are those of detente's own corpus or of its stand-off files, text (corpus) and labels were "
        "made by a large language model under the codebook; **no human coder has checked them**. Figures below say how "
        "well the model agrees with such labels.",
        "## Figures",
        "With 95% bootstrap interval by document, and the number of labelled items in brackets; ECE is the expected "
        "calibration error in ten equal-mass bins. Definitions: docs/evaluation.md. Checkpoint, temperatures and "
        "thresholds were chosen on the column `validation`, which is therefore somewhat too good; nothing was trained "
        "on or fitted to the others.",
        _figures(reports),
        *_topics(reports),
        *(part for name, fields in (groups or {}).items() for part in _groups(name, fields)),
        *_robustness(suite, swaps),
        *_speed(speed),
        "## Thresholds",
        _thresholds(codebook, calibration),
        *(("## What it gets wrong", wrong.strip()) if wrong else ()),
        "## Limits",
        LIMITS,
        "## Recipe",
        f"```yaml\n{_portable(config).to_yaml()}```",
    ]
    return "\n\n".join(sections) + "\n"


def _data(record: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            *(f"{part[key]:,}" for key in ("paragraphs", "documents", "voices")),
            f"`{part['sha256'][:16]}…`",
        )
        for name, part in (("trained on", record["train"]), ("chosen and calibrated on", record["validation"]))
    ]
    return _table(("", "paragraphs", "documents", "voices", "SHA-256 of the labelled records"), rows)


def _files(config: TrainConfig) -> str:
    helping, target = (
        ", ".join(f"`{source_name(file)}`" for file in files) for files in (config.data.files, config.data.target)
    )
    if not (helping and target):
        return f"Labelled files: {helping or target or 'unknown'}."
    return f"Labelled files: {helping}; and, as the kind of text that the model is for, {target}."


def _learned_before(record: Mapping[str, Any]) -> list[str]:
    """Sentences on what the model learned from other models."""
    said = []
    if soft := record.get("soft"):
        teachers = ", ".join(f"`{teacher[:16]}…`" for teacher in soft.get("teachers", ()))
        said.append(
            f"It also learned from soft labels, the probabilities that teacher models gave to {soft['paragraphs']:,} "
            f"paragraphs, {soft['unlabelled']:,} of which have no other label. SHA-256 of the soft labels: "
            f"`{soft['sha256'][:16]}…`" + (f"; of the teachers' manifests: {teachers}." if teachers else ".")
        )
    if start := record.get("start"):
        said.append(f"Training went on from the weights of an earlier model, SHA-256 `{start[:16]}…`.")
    return said


def _portable(config: TrainConfig) -> TrainConfig:
    """The recipe without the folders of the machine that trained."""
    files, target, soft = (
        tuple(map(source_name, paths)) for paths in (config.data.files, config.data.target, config.data.soft)
    )
    data = config.data.model_copy(update={"files": files, "target": target, "soft": soft})
    codebook, start = (None if path is None else source_name(path) for path in (config.codebook, config.start))
    update = {"encoder": encoder_name(config.encoder), "codebook": codebook, "start": start, "output": "run"}
    return config.model_copy(update=update | {"data": data})


def encoder_name(name: str) -> str:
    """A hub id as it is; of a local folder, the last part of its path."""
    return source_name(name) if Path(name).expanduser().is_dir() else name


def source_name(path: str) -> str:
    """What documents call a data file or folder: the last part of its path."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{_bare(figure)} ({figure.support:,})"


def _bare(figure: Figure | None) -> str:
    """A figure without its support."""
    if figure is None or figure.value is None:
        return "-"
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval}"


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


def _groups(name: str, fields: Groups) -> list[str]:
    """For each field a heading and a table, and what it leaves out."""
    parts = []
    for field, by_value in fields.items():
        shown = {value: report for value, report in by_value.items() if report.paragraphs >= SMALLEST_GROUP}
        small = [report.paragraphs for value, report in by_value.items() if value not in shown]
        left_out = f" Groups of fewer than {SMALLEST_GROUP} paragraphs are left out: {len(small)}, with {sum(small)} "
        left_out += "paragraphs together."
        parts.append(f"By {field}, on `{name}`." + left_out * bool(small))
        if shown:
            rows = [
                (value, f"{report.paragraphs:,}", *(_bare(headline_figures(report)[f]) for f in GROUP_FIGURES))
                for value, report in shown.items()
            ]
            parts.append(_table((field, "paragraphs", *GROUP_FIGURES), rows))
    return parts


def _robustness(suite: SuiteReport | None, swaps: SwapReport | None) -> list[str]:
    parts = ["## Robustness"] if suite or swaps else []
    if suite is not None:
        parts.append(
            "Minimal pairs: two paragraphs that differ in little and are labelled apart. Share of pairs with both "
            "sides right, with 95% Wilson interval: the stance on the labelled mentions that the pair is about, on "
            "all of them, and end to end (exactly the labelled voices, each with its stance)."
        )
        rows = [
            (name, f"{scores.pairs:,}", *map(_bare, (scores.in_question, scores.on_gold_mentions, scores.end_to_end)))
            for name, scores in (*suite.phenomena.items(), ("all", suite.all))
        ]
        parts.append(_table(("phenomenon", "pairs", "voices in question", "all gold mentions", "end to end"), rows))
    if swaps is not None:
        parts.append(
            "Other names in the same text ought to leave every stance as it is: names of states, of persons, and "
            "English ones for Korean, Persian and Burmese ones. Stances of labelled voices that change, in the "
            f"{swaps.paragraphs:,} paragraphs with {swaps.voices:,} voices of `validation`:"
        )
        kinds = [
            (
                kind,
                *(f"{number:,}" for number in (count.paragraphs, count.voices, count.changed)),
                _bare(count.share),
                f"{count.changed / swaps.voices:.3f}" if swaps.voices else "-",
            )
            for kind, count in swaps.kinds.items()
        ]
        head = ("names", "paragraphs with some", "voices there", "changed", "share of these", "share of all voices")
        parts.append(_table(head, kinds))
    return parts


def _speed(speed: Speed | None) -> list[str]:
    if speed is None:
        return []
    return [
        "## Speed",
        f"{speed.paragraphs_per_second:,.1f} paragraphs a second on {speed.place}, from texts to tags "
        f"({speed.paragraphs:,} paragraphs of {speed.tokens / speed.paragraphs:.0f} tokens on average). That takes "
        f"{speed.ratio:.2f} times as long as the forward pass of the bare encoder over the same batches (median of "
        f"{speed.rounds} rounds in turns).",
    ]


def _thresholds(codebook: Codebook, calibration: Calibration) -> str:
    text = (
        "Topics: "
        + ", ".join(f"{t} {calibration.topic_threshold(t):.3f}" for t in codebook.topic_names)
        + f". Voices {calibration.voice_threshold:.3f}, narrator {calibration.narrator_threshold:.3f}. Temperatures: "
        f"topics {calibration.topic_temperature:.3f}, voices {calibration.voice_temperature:.3f}, narrator "
        f"{calibration.narrator_temperature:.3f}, stance {calibration.stance_temperature:.3f}."
    )
    if calibration.stance_weights:
        weights = ", ".join(f"{s} {calibration.stance_weights.get(s, 1.0):.3f}" for s in codebook.stance_names)
        text += f" A voice's stance is the one with the largest probability times weight: {weights}."
    return text
