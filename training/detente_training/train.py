"""One training run: configuration and labelled files in, a bundle out.

The run folder holds `config.yaml`, `run.json` (data hashes, versions), `checkpoints/`, `log.jsonl` and, at the end,
the bundle itself in `bundle/`. An interrupted run goes on from its last checkpoint with `--resume` and, on a CPU,
ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from detente.adapter import LoraShape, add_adapters, describe, merge_adapters
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.encoders import (
    ResolvedEncoder,
    load_encoder,
    load_tokenizer_and_encoder_config,
    resolve_encoder,
)
from detente.errors import BundleError, DetenteError, MissingExtraError
from detente.network import DetenteConfig, DetenteModel
from detente_training.config import TrainConfig
from detente_training.dataset import collate, training_windows
from detente_training.finish import BUNDLE, finish, make_reader
from detente_training.metrics import evaluate
from detente_training.predict import predict
from detente_training.report import headline
from detente_training.run_folder import CHECKPOINTS, open_run, read_state, run_record, start_file
from detente_training.trainer import DetenteTrainer, EarlyStopping, PeriodicCheckpoint, ProgressDisplay
from detente_training.training_data import TrainingData, load_data

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class InterruptedRunError(DetenteError):
    """Ctrl-C while training; a checkpoint was saved."""


def new_model(
    config: TrainConfig, encoder: ResolvedEncoder, codebook: Codebook
) -> tuple[DetenteModel, PreTrainedTokenizerBase]:
    """The pretrained encoder with fresh heads, and its tokenizer."""
    tokenizer = load_tokenizer_and_encoder_config(encoder).tokenizer
    pretrained = load_encoder(encoder)
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(pretrained.config, name):
            setattr(pretrained.config, name, 0.0)  # on a CPU it keeps attention off its fast path
    if config.model.encoder_dropout is not None:
        for name in ("hidden_dropout_prob", "dropout", "hidden_dropout"):
            if hasattr(pretrained.config, name):
                setattr(pretrained.config, name, config.model.encoder_dropout)
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
            mention_attention=config.model.mention_attention,
            stance_by_poles=config.model.stance_by_poles,
        )
    )
    if getattr(pretrained, "pooler", None) is not None:
        pretrained.pooler = None  # type: ignore[assignment]
    model.encoder.load_state_dict(pretrained.state_dict())
    return model, tokenizer


def start_from(model: DetenteModel, file: Path) -> None:
    """Takes those weights of a saved network that are trained: with adapters, these and the heads.

    Raises:
        BundleError: the file lacks weights that are trained, or they have other shapes: another encoder or adapter.
    """
    weights = load_file(file)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    unfit = [name for name, own in trained.items() if name not in weights or weights[name].shape != own.shape]
    if unfit:
        raise BundleError(
            f"`start`: {file} does not fit the network of this configuration: {len(unfit)} weights are lacking or "
            f"have another shape, {unfit[0]} among them; take the same encoder, adapters and heads"
        )
    model.load_state_dict({name: weights[name] for name in trained}, strict=False)


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
    window, overlap = config.model.window_tokens, config.model.overlap_tokens
    rows = training_windows(data.train, tokenizer, codebook, window, overlap, data.soft or None)

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
        lr_scheduler_type={"linear": "linear", "constant": "constant_with_warmup"}[settings.schedule],
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
    start = start_file(config.start)
    record = run_record(config, codebook, encoder, data, start)
    checkpoint = open_run(folder, config, record, resume)
    if (folder / BUNDLE).exists():
        console.print(f"this run is finished; its bundle is {folder / BUNDLE}")
        return folder / BUNDLE
    console.print(
        f"training on {len(data.train):,} paragraphs of {len({p.document for p in data.train}):,} documents"
        + (f" ({len(data.labelled):,} of them labelled), " if data.soft else ", ")
        + f"choosing by {len(data.validation):,} of {len({p.document for p in data.validation}):,} others; "
        f"run folder {folder}"
    )
    set_seed(config.seed)
    model, tokenizer = new_model(config, encoder, codebook)
    if config.lora is not None:
        lora = config.lora
        shape = LoraShape(lora.rank, lora.alpha, lora.target, lora.layers)
        add_adapters(model, shape, lora.dropout)
        model.config.adapter = None if lora.merge else describe(shape, encoder, config.encoder)
    if start is not None:
        start_from(model, start)
    trainer = make_trainer(config, model, tokenizer, codebook, data, folder, console)
    if checkpoint is not None and trainer.stopping.has_ended(read_state(checkpoint)):
        trainer.take_best(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    lines = (json.dumps(entry) + "\n" for entry in trainer.state.log_history)
    (folder / LOG).write_text("".join(lines), encoding="utf-8")
    if trainer.checkpointing.interrupted:
        raise InterruptedRunError(
            f"stopped; the same command with --resume goes on from step {trainer.state.global_step}"
        )
    if model.config.adapter is None:
        merge_adapters(model)
    return finish(folder, config, record, model, tokenizer, codebook, data.validation, data.tests, console)
