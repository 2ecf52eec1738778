"""The schema of a training run: every key, what it may hold, its default and what it does.

`docs/configuration.md` is generated from it (`config_reference`). Reading files and wording mistakes is done
in `config`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A frozen mapping of known keys; what it adds to pydantic is stated in `_as_written`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """One text stands for a list of one, an empty section for its defaults; yes and no are no numbers."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        choices = options(annotation)
        if isinstance(value, str) and tuple[str, ...] in choices and str not in choices:
            return (value,)
        if value is None and is_section(annotation):
            return {}
        if isinstance(value, bool) and bool not in choices:
            raise ValueError("true and false are no numbers and no texts")
        return value


class DataConfig(Section):
    """Which labelled files are read."""

    files: tuple[str, ...] = Field(
        default=(),
        description="Labelled files or folders to train on. The `split` of the records tells train and "
        "validation documents apart.",
    )
    target: tuple[str, ...] = Field(
        default=(),
        description="Labelled files of the kind of text the model is for; `--data` adds to it. Trained on "
        "like `files`; its validation documents choose the checkpoint and fit the calibration (those of "
        "`files` do where `target` is empty).",
    )
    soft: tuple[str, ...] = Field(
        default=(),
        description="Soft labels: folders that `detente distil` wrote, one for each teacher. Paragraphs without a "
        "label are learned from their soft labels alone; those of validation and test documents are left out.",
    )
    swap_names: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the labelled training paragraphs in which other states and invented persons take the "
        "place of those named, so that a stance is not learned by the name.",
    )
    max_paragraphs: int | None = Field(
        default=None, ge=1, description="Train on this many paragraphs, drawn by `seed`; null: on all."
    )
    max_target_paragraphs: int | None = Field(
        default=None,
        ge=1,
        description="Train on this many paragraphs of `target`, drawn by `seed` before `max_paragraphs` counts; with "
        "one seed a larger number adds to a smaller. null: on all.",
    )

    @property
    def every_file(self) -> tuple[str, ...]:
        """All the files, each once: `files`, then what `target` adds."""
        return tuple(dict.fromkeys(self.files + self.target))

    @property
    def deciding_files(self) -> tuple[str, ...]:
        """The files whose validation documents choose the checkpoint and fit the calibration."""
        return self.target or self.files


class ModelConfig(Section):
    """How paragraphs are read, and the heads."""

    window_tokens: int = Field(
        default=384,
        ge=16,
        le=8192,
        description="Longest window the encoder reads at once; longer paragraphs are read in several.",
    )
    overlap_tokens: int = Field(default=64, ge=0, description="Tokens that neighbouring windows share.")
    head_dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before each head.")
    encoder_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout between the encoder's layers; null: as it was pretrained. On a CPU it costs a tenth of "
        "the speed.",
    )
    stance_by_poles: bool = Field(
        default=False,
        description="The stance head decides pole by pole (mixed is both, neutral is none) instead of choosing one "
        "of the stances.",
    )
    mention_attention: bool = Field(
        default=True,
        description="The stance head also reads what a query from the mention finds among the tokens.",
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> ModelConfig:
        if self.overlap_tokens * 2 > self.window_tokens:
            raise ValueError(
                f"`overlap_tokens` ({self.overlap_tokens}) must be at most half of "
                f"`window_tokens` ({self.window_tokens})"
            )
        return self


class LossWeights(Section):
    """How much each head counts in the loss; 0 leaves it untrained."""

    topics: float = Field(default=1.0, ge=0, description="Weight of the topic loss.")
    voices: float = Field(
        default=5.0,
        ge=0,
        description="Weight of the voice loss, a mean over all words, most of them easy: at 1 the others drown it.",
    )
    stance: float = Field(default=1.0, ge=0, description="Weight of the stance loss.")
    soft: float = Field(
        default=1.0, ge=0, description="Weight of each head's loss against soft labels beside that against labels."
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossWeights:
        if not (self.topics or self.voices or self.stance):
            raise ValueError("at least one weight must be above 0")
        return self


class TrainingConfig(Section):
    """The optimisation."""

    epochs: float = Field(default=3, gt=0, description="Passes over the training paragraphs.")
    batch_size: int = Field(
        default=16,
        ge=1,
        description="Windows in a batch on each device; a paragraph is one unless it is long.",
    )
    learning_rate: float = Field(
        default=5e-5, gt=0, lt=1, description="Peak learning rate of the encoder (or of LoRA)."
    )
    head_learning_rate: float = Field(default=5e-4, gt=0, lt=1, description="Peak learning rate of the heads.")
    schedule: Literal["linear", "constant"] = Field(
        default="linear",
        description="How the rates go after the warm-up: down to 0, or on as they are (to be gone on from).",
    )
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1, description="Share of the steps in which the rates rise.")
    weight_decay: float = Field(
        default=0.01, ge=0, lt=1, description="AdamW's weight decay; biases and norms have none."
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor on the learning rate from one encoder layer to the next lower; 1: all the same.",
    )
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    gradient_accumulation: int = Field(default=1, ge=1, description="Batches whose gradients are summed for one step.")
    early_stopping_patience: int = Field(
        default=2, ge=0, description="Epochs without a better `select_by` before training stops; 0: never."
    )
    select_by: Literal["voice_stance_f1", "topics_f1", "paragraph_stance_f1", "mean"] = Field(
        default="mean",
        description="Validation figure that chooses the checkpoint; `mean` is that of the other three.",
    )
    checkpoint_every_steps: int = Field(
        default=200, ge=1, description="Steps between the checkpoints `--resume` needs."
    )
    bf16: bool | Literal["auto"] = Field(
        default="auto",
        description="Compute in bfloat16; `auto`: where the processor or GPU has it.",
    )
    tensorboard: bool = Field(
        default=False,
        description='Write a TensorBoard log to the run folder; needs `pip install "detente[tensorboard]"`.',
    )
    loss_weights: LossWeights = Field(default_factory=LossWeights, description="How much each head counts in the loss.")
    threads: int | None = Field(default=None, ge=1, description="Processor threads; null: as many as there are cores.")


class LoraSettings(Section):
    """Low-rank adapters: the encoder's own weights stay; small matrices beside them are trained."""

    rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(default=32, gt=0, description="Scale of the adapters; they count `alpha / rank` times.")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout before the adapters; anything above 0 costs a third of the speed.",
    )
    target: str | tuple[str, ...] = Field(
        default="all-linear",
        description="Modules that get an adapter: `all-linear`, a pattern, or a list of names.",
    )
    layers: tuple[int, ...] | None = Field(
        default=None,
        description="Encoder layers that get one, counted from 0; null: all. Needs `target` as a list.",
    )

    merge: bool = Field(
        default=True,
        description="Save complete weights; false: adapters and heads alone, a file of a few megabytes that needs "
        "the encoder beside it.",
    )

    @model_validator(mode="after")
    def _layers_need_names(self) -> LoraSettings:
        if self.layers is not None and isinstance(self.target, str):
            raise ValueError("`layers` needs `target` to be a list of module names, as in [query, value]")
        if any(layer < 0 for layer in self.layers or ()):
            raise ValueError("`layers` are counted from 0")
        return self


class TrainConfig(Section):
    """Everything a training run is made from; the defaults suit MiniLM on a few thousand paragraphs."""

    encoder: str = Field(
        default="minilm",
        min_length=1,
        description="`minilm`, `mpnet`, a local folder, or the id of a model on a hub.",
    )
    codebook: str | None = Field(default=None, description="Codebook file; null: the built-in one.")
    seed: int = Field(
        default=13,
        ge=0,
        le=2**32 - 1,
        description="Seed of the heads' first weights, dropout, order and subset.",
    )
    start: str | None = Field(
        default=None,
        description="A bundle, or a checkpoint of a run with the same encoder and adapters, whose weights training "
        "starts from; null: the pretrained encoder and fresh heads.",
    )
    output: str = Field(default="runs/model", min_length=1, description="Folder of the run; `--output` sets it.")
    data: DataConfig = Field(default_factory=DataConfig, description="Which labelled files are read.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="How paragraphs are read, and the heads.")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="The optimisation.")
    lora: LoraSettings | None = Field(
        default=None,
        description="Low-rank adapters instead of training the whole encoder; null: the whole encoder.",
    )

    def to_yaml(self) -> str:
        """The whole configuration with every default written out; `load_config` reads it back unchanged."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def section_of(annotation: Any) -> type[Section] | None:
    return next((o for o in options(annotation) if isinstance(o, type) and issubclass(o, Section)), None)


def is_section(annotation: Any) -> bool:
    """Whether a key is a section that cannot be null."""
    return section_of(annotation) is not None and type(None) not in options(annotation)


_KINDS = {int: "a whole number", float: "a number", str: "a text", type(None): "null"}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def allowed(field: FieldInfo) -> str:
    """What a key may hold, in words: "a whole number (at least 1) or null"."""
    words: list[str] = []
    for option in options(field.annotation):
        if typing.get_origin(option) is Literal:
            words += [f"`{choice}`" for choice in typing.get_args(option)]
        elif typing.get_origin(option) is tuple:
            words.append(f"a list of {_KINDS[typing.get_args(option)[0]].removeprefix('a ')}s")
        elif option is bool:
            words += ["true", "false"]
        else:
            words.append("a section of keys" if section_of(option) else _KINDS[option])
    bounds = [
        f"{word} {getattr(limit, name)}"
        for limit in field.metadata
        for name, word in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    if bounds:
        words[0] += f" ({' and '.join(bounds)})"
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def leaves(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the schema with its dotted name; a section that may be null counts as a key too."""
    for name, field in section.model_fields.items():
        below = section_of(field.annotation)
        if below is None or not is_section(field.annotation):
            yield prefix + name, field
        if below is not None:
            yield from leaves(below, f"{prefix}{name}.")


def config_reference() -> str:
    """A Markdown table of every key: what it may hold, its default and what it does."""
    rows = ["| key | allowed | default | what it does |", "|---|---|---|---|"]
    for name, field in leaves(TrainConfig):
        default = field.get_default(call_default_factory=True)
        shown = (
            "null" if default is None else yaml.safe_dump(default if not isinstance(default, tuple) else list(default))
        )
        shown = shown.removesuffix("...\n").strip()
        rows.append(f"| `{name}` | {allowed(field)} | `{shown}` | {field.description} |")
    return "\n".join(rows) + "\n"
