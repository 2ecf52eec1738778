"""`transformers.Trainer` with our loss, our metrics after each epoch, and a display of what is left."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from detente_training.config import TrainingConfig
from detente_training.objective import losses, soft_losses

Metrics = dict[str, float]


class DetenteTrainer(Trainer):
    """A Trainer that minimises the sum of the head losses and scores whole validation paragraphs."""

    checkpointing: PeriodicCheckpoint
    stopping: EarlyStopping

    def __init__(
        self,
        *args: Any,
        settings: TrainingConfig,
        score: Callable[[nn.Module], Metrics] | None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings
        self.score = score
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # the loss is a mean over each batch's own labels

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        outputs = model(**{name: inputs[name] for name in ("input_ids", "attention_mask", "mentions")})
        weights = self.settings.loss_weights
        total = sum(getattr(weights, name) * value for name, value in losses(outputs, inputs).items())
        taught = soft_losses(outputs, inputs)
        total += weights.soft * sum(getattr(weights, name) * value for name, value in taught.items())
        return (total, outputs) if return_outputs else total

    @property
    def network(self) -> nn.Module:
        assert self.model is not None
        return self.model

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(model or self.network, self.settings)
            fused = self.args.device.type in ("cpu", "cuda")
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=fused)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        return LengthGrouped(
            rows["length"], self.args.train_batch_size * self.args.gradient_accumulation_steps, self.args.seed
        )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)
        except BaseException:  # the callbacks give back the terminal and Ctrl-C, whatever ended the training
            self.callback_handler.on_train_end(self.args, self.state, self.control)
            raise

    def take_best(self, checkpoint: str) -> None:
        """Loads the best weights of a training that was over when `checkpoint` was saved."""
        self.state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        folder = _best_checkpoint(self.args, self.state) or Path(checkpoint)
        self.network.load_state_dict(load_file(folder / SAFE_WEIGHTS_NAME))

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> Metrics:
        assert self.score is not None
        self.network.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.score(self.network).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class LengthGrouped(Sampler[int]):
    """Rows in an order that brings rows of like length into one batch: a pure function of seed and epoch.

    The sampler of transformers draws from the global generator, and a run that is resumed within an epoch cannot
    know the state which that had when the epoch began.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        order = get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)  # type: ignore[no-untyped-call]
        return iter(order)


def parameter_groups(model: nn.Module, settings: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters with their learning rate and weight decay.

    The heads have their own rate. The encoder's falls by `layer_decay` from each layer to the one below it,
    the embeddings counting as the lowest. Biases and norms are not decayed.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    layer_of = {name: re.search(r"\.(?:layers?|h|blocks)\.(\d+)\.", name) for name, _ in named}
    depth = 1 + max((int(m.group(1)) for m in layer_of.values() if m), default=-1)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if name.startswith(("topic_head", "voice_head", "stance_head", "mention_attention")):
            rate = settings.head_learning_rate
        else:
            match = layer_of[name]
            # Above the embeddings, whatever belongs to no layer (a final norm) goes with the top one.
            above = int(match.group(1)) + 1 if match else 0 if "embed" in name else depth
            rate = settings.learning_rate * settings.layer_decay ** (depth - above)
        decay = 0.0 if parameter.ndim < 2 else settings.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def _best_checkpoint(args: TrainingArguments, state: TrainerState) -> Path | None:
    """The best checkpoint in the run folder, wherever that lay when the state was written."""
    folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
    return folder if state.best_global_step and folder.is_dir() else None


class PeriodicCheckpoint(TrainerCallback):
    """Saves a checkpoint every so many steps, beside the one that each epoch ends with.

    The first Ctrl-C finishes the step at hand, saves and stops; a second one stops at once.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.interrupted = False
        self._before: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if best := _best_checkpoint(args, state):
            state.best_model_checkpoint = str(best)
        try:
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        except ValueError:  # not in the main thread, where no signals arrive
            self._before = None

    def _interrupt(self, _: int, __: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # The last step of an epoch is saved when the epoch has been scored: a run resumed from before that would
        # never score it.
        if not _ends_epoch(state) and (self.interrupted or state.global_step % self.every == 0):
            control.should_save = True
        if self.interrupted:
            control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.interrupted and not _ends_epoch(state):  # stopped within the epoch: there is nothing to score yet
            control.should_evaluate = control.should_save = False

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


def _ends_epoch(state: TrainerState) -> bool:
    return state.global_step >= state.max_steps or float(state.epoch or 0).is_integer()


class EarlyStopping(TrainerCallback):
    """Stops when the last `patience` epochs brought no better figure than one before them; 0 never stops.

    It keeps no count: it reads the log, which every checkpoint holds, so that a resumed run stops where an unbroken
    one does.
    """

    def __init__(self, figure: str, patience: int) -> None:
        self.figure = f"eval_{figure}"
        self.patience = patience

    def has_ended(self, state: TrainerState) -> bool:
        """Whether nothing is left to train: every step is done, or the patience is."""
        values = [entry[self.figure] for entry in state.log_history if self.figure in entry]
        waited = len(values) - 1 - values.index(max(values)) if values else 0
        return state.global_step >= state.max_steps or 0 < self.patience <= waited

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.has_ended(state):
            control.should_training_stop = True


class ProgressDisplay(TrainerCallback):
    """A live bar with loss and time left on a terminal; elsewhere a plain line now and then."""

    def __init__(self, console: Console, every_seconds: float = 30.0) -> None:
        self.console = console
        self.every_seconds = every_seconds
        self._progress: Progress | None = None
        self._begun = self._printed = 0.0
        self._from_step = 0
        self._loss = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = self._printed = time.monotonic()
        self._from_step = state.global_step
        if self.console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("epoch {task.fields[epoch]:.2f}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[loss]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._progress.add_task(
                "train", total=state.max_steps, completed=state.global_step, epoch=0.0, loss=""
            )
            self._progress.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=state.global_step, epoch=state.epoch, loss=self._loss)
            return
        now = time.monotonic()
        if now - self._printed >= self.every_seconds:
            self._printed = now
            left = (now - self._begun) / (state.global_step - self._from_step) * (state.max_steps - state.global_step)
            self.console.print(
                f"step {state.global_step} of {state.max_steps}, epoch {state.epoch:.2f} {self._loss}, "
                f"about {left / 60:.0f} min left"
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Metrics | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            self._loss = f"loss {logs['loss']:.3f}"
        figures = {k.removeprefix("eval_"): v for k, v in logs.items() if k.startswith("eval_")}
        if figures:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            self.console.print(f"epoch {state.epoch:.0f}  validation  {shown}")

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
