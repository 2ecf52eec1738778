"""One training run: configuration and labelled files in, a bundle out.

The run folder holds `config.yaml`, `run.json` (data hashes, versions), `checkpoints/`, `log.jsonl` and, at the end,
the bundle itself in `bundle/`. An interrupted run goes on from its last checkpoint with `--resume` and, on a CPU,
ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from transformers import PreTrainedTokenizerBase, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.errors import ConfigError, DataError, DetenteError, MissingExtraError
from detente.network import DetenteConfig, DetenteModel
from detente_training.card import source_name
from detente_training.config import TrainConfig
from detente_training.dataset import collate, training_windows
from detente_training.encoders import (
    ResolvedEncoder,
    load_encoder,
    load_tokenizer_and_encoder_config,
    resolve_encoder,
)
from detente_training.finish import BUNDLE, finish, make_reader
from detente_training.labelled import LabelledParagraph, assign_splits, read_sources
from detente_training.metrics import evaluate
from detente_training.predict import predict
from detente_training.report import headline
from detente_training.trainer import DetenteTrainer, EarlyStopping, PeriodicCheckpoint, ProgressDisplay

CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class InterruptedRunError(DetenteError):
    """Ctrl-C while training; a checkpoint was saved."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run learns from, is chosen by, and is measured on at the end; no document is in two of them."""

    train: tuple[LabelledParagraph, ...]
    validation: tuple[LabelledParagraph, ...]
    tests: Mapping[str, tuple[LabelledParagraph, ...]]


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
    if config.data.max_paragraphs is not None and len(train) > config.data.max_paragraphs:
        train = random.Random(config.seed).sample(train, config.data.max_paragraphs)  # noqa: S311 - no secret
    _check_figure(config.training.select_by, validation)
    return TrainingData(tuple(train), tuple(validation), tests)


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


def new_model(
    config: TrainConfig, encoder: ResolvedEncoder, codebook: Codebook
) -> tuple[DetenteModel, PreTrainedTokenizerBase]:
    """The pretrained encoder with fresh heads, and its tokenizer."""
    tokenizer = load_tokenizer_and_encoder_config(encoder).tokenizer
    pretrained = load_encoder(encoder)
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(pretrained.config, name):
            setattr(pretrained.config, name, 0.0)  # on a CPU it keeps attention off its fast path
    limit = getattr(pretrained.config, "max_position_embeddings", None) or config.model.window_tokens
    if pretrained.config.model_type in ("roberta", "xlm-roberta", "mpnet", "camembert"):
        limit -= 2  # their positions count from the padding id on
    if config.model.window_tokens > limit:
        raise DetenteError(
            f"`model.window_tokens` is {config.model.window_tokens}, but {encoder.name} reads at most {limit} tokens; "
            f"set model.window_tokens={limit} or less"
        )
    model = DetenteModel(
        DetenteConfig(
            encoder=pretrained.config.to_diff_dict() | {"model_type": pretrained.config.model_type},
            codebook=codebook.to_dict(),
            window_tokens=config.model.window_tokens,
            overlap_tokens=config.model.overlap_tokens,
            head_dropout=config.model.head_dropout,
        )
    )
    if getattr(pretrained, "pooler", None) is not None:
        pretrained.pooler = None  # type: ignore[assignment]
    model.encoder.load_state_dict(pretrained.state_dict())
    return model, tokenizer


def add_lora(model: DetenteModel, config: TrainConfig) -> None:
    """Freezes the encoder and puts low-rank adapters beside its linear layers."""
    from peft import LoraConfig, get_peft_model

    assert config.lora is not None
    target = config.lora.target
    model.encoder = get_peft_model(
        model.encoder,
        LoraConfig(
            r=config.lora.rank,
            lora_alpha=config.lora.alpha,  # type: ignore[arg-type]
            lora_dropout=config.lora.dropout,
            target_modules=target if isinstance(target, str) else list(target),
            layers_to_transform=None if config.lora.layers is None else list(config.lora.layers),
        ),
    )


def use_bfloat16(setting: bool | str) -> bool:
    """Whether to compute in bfloat16: as told or, for "auto", where the GPU or the processor has it in hardware."""
    if setting != "auto":
        return bool(setting)
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_avx512_bf16_supported()


def make_trainer(
    config: TrainConfig,
    model: DetenteModel,
    tokenizer: PreTrainedTokenizerBase,
    codebook: Codebook,
    data: TrainingData,
    folder: Path,
    console: Console,
) -> DetenteTrainer:
    settings = config.training
    rows = training_windows(data.train, tokenizer, codebook, config.model.window_tokens, config.model.overlap_tokens)

    def score(network: Any) -> dict[str, float]:
        reader = make_reader(network, tokenizer, codebook, Calibration())
        report = evaluate(data.validation, predict(reader, data.validation), codebook, bootstrap=0)
        figures = headline(report)
        chosen = ("topics_f1", "voice_stance_f1", "paragraph_stance_f1")
        known = [figures[name] for name in chosen if name in figures]
        figures["mean"] = float(np.mean(known)) if known else 0.0
        return {settings.select_by: 0.0} | figures  # a figure without a case in gold or predictions is undefined

    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup_ratio,
        max_grad_norm=settings.max_grad_norm,
        weight_decay=settings.weight_decay,
        bf16=use_bfloat16(settings.bf16),
        use_cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=settings.select_by,
        greater_is_better=True,
        logging_steps=20,
        report_to=[],
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        remove_unused_columns=False,
        label_names=["topic_labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = DetenteTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,  # only asks that there is one; `evaluate` reads whole paragraphs
        data_collator=partial(collate, pad_id=tokenizer.pad_token_id or 0),
        settings=settings,
        score=score,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressDisplay(console))
    trainer.checkpointing = PeriodicCheckpoint(settings.checkpoint_every_steps)
    trainer.add_callback(trainer.checkpointing)
    trainer.stopping = EarlyStopping(settings.select_by, settings.early_stopping_patience)
    trainer.add_callback(trainer.stopping)
    if settings.tensorboard:
        trainer.add_callback(tensorboard_log(folder / TENSORBOARD))
    return trainer


def tensorboard_log(folder: Path) -> Any:
    """The callback that writes a TensorBoard log to `folder`.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    from transformers.integrations.integration_utils import TensorBoardCallback

    try:
        callback = TensorBoardCallback()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise MissingExtraError(
            '`training.tensorboard` needs a package that is not installed: pip install "detente[tensorboard]"'
        ) from error
    callback.logging_dir = str(folder)
    return callback


def train(config: TrainConfig, folder: Path, *, resume: bool = False, console: Console | None = None) -> Path:
    """Trains, calibrates and saves a bundle.

    Args:
        config: the whole configuration.
        folder: the run folder; must not hold a run unless `resume`.
        resume: go on from the last checkpoint in `folder`; from the start where it has none.
        console: where progress is shown; default is standard error.

    Returns:
        The folder of the bundle, `folder/bundle`.

    Raises:
        DetenteError: the folder holds another run, or cannot be written; data or encoder that cannot be used.
        InterruptedRunError: Ctrl-C; a checkpoint was saved.
    """
    console = console or Console(stderr=True)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    codebook = Codebook.default() if config.codebook is None else Codebook.from_yaml(config.codebook)
    data = load_data(config, codebook)
    encoder = resolve_encoder(config.encoder)
    record = run_record(config, codebook, encoder, data)
    checkpoint = open_run(folder, config, record, resume)
    if (folder / BUNDLE).exists():
        console.print(f"this run is finished; its bundle is {folder / BUNDLE}")
        return folder / BUNDLE
    console.print(
        f"training on {len(data.train):,} paragraphs of {len({p.document for p in data.train}):,} documents, "
        f"choosing by {len(data.validation):,} of {len({p.document for p in data.validation}):,} others; "
        f"run folder {folder}"
    )
    set_seed(config.seed)
    model, tokenizer = new_model(config, encoder, codebook)
    if config.lora is not None:
        add_lora(model, config)
    trainer = make_trainer(config, model, tokenizer, codebook, data, folder, console)
    if checkpoint is not None and trainer.stopping.has_ended(_state(checkpoint)):
        trainer.take_best(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    lines = (json.dumps(entry) + "\n" for entry in trainer.state.log_history)
    (folder / LOG).write_text("".join(lines), encoding="utf-8")
    if trainer.checkpointing.interrupted:
        raise InterruptedRunError(
            f"stopped; the same command with --resume goes on from step {trainer.state.global_step}"
        )
    if config.lora is not None:
        model.encoder = model.encoder.merge_and_unload()
    return finish(folder, config, record, model, tokenizer, codebook, data.validation, data.tests, console)


def run_record(config: TrainConfig, codebook: Codebook, encoder: ResolvedEncoder, data: TrainingData) -> dict[str, Any]:
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
        "train": described(data.train),
        "validation": described(data.validation),
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


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


def _state(checkpoint: str) -> TrainerState:
    state: TrainerState = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    return state


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a run: a kill may have left one that is not."""
    found = (folder / CHECKPOINTS).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    for checkpoint in sorted(found, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            _state(str(checkpoint))  # it is written last
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None
