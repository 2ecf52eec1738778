"""What a run learns from, is chosen by, and is measured on."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from detente.codebook import Codebook
from detente.errors import ConfigError, DataError
from detente_training.card import source_name
from detente_training.config import TrainConfig
from detente_training.labelled import LabelledParagraph, assign_splits, read_sources
from detente_training.renaming import swap_countries, swap_persons
from detente_training.soft_labels import SoftLabels, read_soft_labels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run learns from, is chosen by, and is measured on at the end; no document is in two of them.

    Attributes:
        train: the labelled paragraphs, then those that have soft labels alone.
        tests: by the name of their source.
        soft: soft labels by paragraph id.
    """

    train: tuple[LabelledParagraph, ...]
    validation: tuple[LabelledParagraph, ...]
    tests: Mapping[str, tuple[LabelledParagraph, ...]]
    soft: Mapping[str, SoftLabels] = field(default_factory=dict)

    @property
    def labelled(self) -> tuple[LabelledParagraph, ...]:
        """The training paragraphs that have labels."""
        return tuple(p for p in self.train if p.topics is not None or p.voices is not None or p.narrator_labelled)


def load_data(config: TrainConfig, codebook: Codebook) -> TrainingData:
    """Reads the files of a configuration and takes the splits that their records name.

    Records without a split get one by their document's hash. Those of the split "test" are only measured on.

    Raises:
        DataError: no training or no validation paragraphs.
    """
    sources = read_sources(config.data.every_file, codebook)
    everything = assign_splits([p for paragraphs in sources.values() for p in paragraphs])
    split = {p.id: p for p in everything}
    sources = {source: [split[p.id] for p in paragraphs] for source, paragraphs in sources.items()}
    train = [p for p in everything if p.split == "train"]
    validation = [p for f in config.data.deciding_files for p in sources[f] if p.split == "validation"]
    tests: dict[str, tuple[LabelledParagraph, ...]] = {}
    for source, paragraphs in sources.items():
        if found := tuple(p for p in paragraphs if p.split == "test"):
            name, number = source_name(source), 1
            while name in (*tests, "validation"):  # two files of one name in two folders
                number += 1
                name = f"{source_name(source)} ({number})"
            tests[name] = found
    if not train or not validation:
        counts = {s: sum(p.split == s for p in everything) for s in ("train", "validation", "test")}
        raise DataError(
            f"training needs paragraphs of the splits train and validation; the files have {counts}. "
            "Add more documents, or name the split of each record in a column `split`"
        )
    if config.data.max_target_paragraphs is not None:
        of_target = [p.id for f in config.data.target for p in sources[f] if p.split == "train"]
        random.Random(config.seed).shuffle(of_target)  # noqa: S311 - no secret
        surplus = set(of_target[config.data.max_target_paragraphs :])
        train = [p for p in train if p.id not in surplus]
    if config.data.max_paragraphs is not None and len(train) > config.data.max_paragraphs:
        train = random.Random(config.seed).sample(train, config.data.max_paragraphs)  # noqa: S311 - no secret
    _check_figure(config.training.select_by, validation)
    kept_out = {p.document for p in everything if p.split != "train"}
    soft, taught = _soft_labels(config, codebook, {p.id: p for p in everything}, kept_out)
    train = [_renamed(p, config) for p in train]
    return TrainingData((*train, *taught), tuple(validation), tests, soft)


def _renamed(paragraph: LabelledParagraph, config: TrainConfig) -> LabelledParagraph:
    """A paragraph, or by the share of `data.swap_names` the same under other names.

    It then has an id of its own: soft labels are for the text that the teacher read.
    """
    if random.Random(f"{config.seed} {paragraph.id}").random() >= config.data.swap_names:  # noqa: S311 - no secret
        return paragraph
    salted = replace(paragraph, document=f"{paragraph.document} {config.seed}")
    swapped = swap_persons(swap_countries(salted))
    if swapped is salted:
        return paragraph
    return replace(swapped, document=paragraph.document, id=f"{paragraph.id}~names")


def _soft_labels(
    config: TrainConfig, codebook: Codebook, labelled: Mapping[str, LabelledParagraph], kept_out: set[str]
) -> tuple[dict[str, SoftLabels], list[LabelledParagraph]]:
    """Soft labels by id, and the paragraphs that have no others.

    Nothing is learned of a document that is kept out. A row without a document of its own belongs to what its id
    names before the first ":" or "#".

    Raises:
        DataError: soft labels that were made for another text than the labelled one.
    """
    soft: dict[str, SoftLabels] = {}
    taught: list[LabelledParagraph] = []
    left_out = 0
    for name, labels in read_soft_labels(config.data.soft, codebook).items():
        documents = {labels.document, *re.split("[:#]", name, maxsplit=1)[:1]}
        if name in labelled:
            if labelled[name].text != labels.text:
                raise DataError(f"the soft labels of {name} were made for another text; run `detente distil` again")
            documents.add(labelled[name].document)
        if documents & kept_out:
            left_out += 1
            continue
        soft[name] = labels
        if name not in labelled:
            document = documents - {labels.document} if labels.document == name else {labels.document}
            taught.append(
                LabelledParagraph(name, min(document, default=name), labels.text, None, None, None, False, "train")
            )
    if left_out:
        log.warning("%d paragraphs with soft labels are of validation or test documents: left out", left_out)
    return soft, taught


def _check_figure(name: str, validation: Sequence[LabelledParagraph]) -> None:
    """Raises ConfigError where nothing is labelled that the figure choosing the checkpoint could be computed from."""
    labelled = {
        "topics_f1": any(p.topics for p in validation),
        "voice_stance_f1": any(p.voices or p.narrator is not None for p in validation),
        "paragraph_stance_f1": any(p.voices is not None and p.narrator_labelled for p in validation),
    }
    if not labelled.get(name, any(labelled.values())):
        choices = ", ".join(f for f, there in labelled.items() if there)
        remedy = f"choose by one of: mean, {choices}" if choices else "label some of them"
        raise ConfigError(
            f"`training.select_by` is {name}, but no validation paragraph has the labels for it; {remedy}"
        )
