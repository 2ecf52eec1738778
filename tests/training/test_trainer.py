"""Learning rates by layer, the order of the rows, checkpoints, early stopping, and what is shown meanwhile."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from detente_training.config import TrainingConfig
from detente_training.dataset import IGNORED
from detente_training.objective import soft_losses
from detente_training.trainer import (
    DetenteTrainer,
    EarlyStopping,
    LengthGrouped,
    PeriodicCheckpoint,
    ProgressDisplay,
    parameter_groups,
)

if TYPE_CHECKING:
    from detente.network import DetenteModel

SETTINGS = TrainingConfig(learning_rate=1e-4, head_learning_rate=1e-3, layer_decay=0.5, weight_decay=0.01)


def by_name(model: torch.nn.Module, settings: TrainingConfig) -> dict[str, tuple[float, float]]:
    """Parameter -> its learning rate and weight decay."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, settings)
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)  # each in one group alone
    return found


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        (
            "bert",
            {
                "embeddings.word_embeddings.weight": (2.5e-5, 0.01),
                "embeddings.LayerNorm.weight": (2.5e-5, 0.0),
                "encoder.layer.0.attention.self.query.weight": (5e-5, 0.01),
                "encoder.layer.0.attention.self.query.bias": (5e-5, 0.0),
                "encoder.layer.1.output.dense.weight": (1e-4, 0.01),
                "encoder.layer.1.output.LayerNorm.weight": (1e-4, 0.0),
            },
        ),
        (
            "deberta-v2",
            {
                "embeddings.word_embeddings.weight": (2.5e-5, 0.01),
                "encoder.layer.0.intermediate.dense.weight": (5e-5, 0.01),
                "encoder.layer.1.intermediate.dense.bias": (1e-4, 0.0),
                "encoder.rel_embeddings.weight": (2.5e-5, 0.01),
            },
        ),
        (
            "modernbert",
            {
                "embeddings.tok_embeddings.weight": (2.5e-5, 0.01),
                "embeddings.norm.weight": (2.5e-5, 0.0),
                "layers.0.attn.Wqkv.weight": (5e-5, 0.01),
                "layers.1.mlp_norm.weight": (1e-4, 0.0),
                "final_norm.weight": (1e-4, 0.0),  # in no layer, but above them
            },
        ),
    ],
)
def test_rates_fall_from_the_heads_to_the_embeddings(
    networks: Callable[[str], DetenteModel], kind: str, rates: dict[str, tuple[float, float]]
) -> None:
    model = networks(kind)
    found = by_name(model, SETTINGS)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert {name: found[f"encoder.{name}"] for name in rates} == rates
    heads = {name: value for name, value in found.items() if not name.startswith("encoder.")}
    assert heads == {
        "topic_head.weight": (1e-3, 0.01),
        "topic_head.bias": (1e-3, 0.0),
        "voice_head.weight": (1e-3, 0.01),
        "voice_head.bias": (1e-3, 0.0),
        "stance_head.0.weight": (1e-3, 0.01),
        "stance_head.0.bias": (1e-3, 0.0),
        "stance_head.3.weight": (1e-3, 0.01),
        "stance_head.3.bias": (1e-3, 0.0),
    }


def test_without_decay_by_layer_the_encoder_has_one_rate(networks: Callable[[str], DetenteModel]) -> None:
    groups = parameter_groups(networks("bert"), TrainingConfig())
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {(r, d) for r in (5e-5, 5e-4) for d in (0.0, 0.01)}


def test_only_what_is_trained_is_in_a_group(networks: Callable[[str], DetenteModel]) -> None:
    from copy import deepcopy

    from detente.adapter import LoraShape, add_adapters

    model = deepcopy(networks("bert"))
    add_adapters(model, LoraShape(2, 4, "all-linear"))
    found = by_name(model, SETTINGS)
    encoder = {name: value for name, value in found.items() if name.startswith("encoder.")}
    assert encoder
    assert all(".lora_" in name for name in encoder)
    assert {value for name, value in encoder.items() if ".layer.0." in name} == {(5e-5, 0.01)}
    assert {value for name, value in encoder.items() if ".layer.1." in name} == {(1e-4, 0.01)}
    assert "topic_head.weight" in found


def test_the_loss_is_the_weighted_sum_of_the_heads(networks: Callable[[str], DetenteModel], tmp_path: Any) -> None:
    batch = {
        "input_ids": torch.full((1, 16), 5),
        "attention_mask": torch.ones(1, 16, dtype=torch.long),
        "mentions": torch.tensor([[[1, 3]]]),
        "topic_labels": torch.tensor([[1, 0, IGNORED]]),
        "voice_labels": torch.zeros(1, 16, dtype=torch.long),
        "stance_labels": torch.tensor([[2]]),
    }

    def loss(topics: float, voices: float, stance: float) -> float:
        weights = {"topics": topics, "voices": voices, "stance": stance}
        trainer = DetenteTrainer(
            model=networks("bert"),
            args=TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True),
            settings=TrainingConfig.model_validate({"loss_weights": weights}),
            score=None,
        )
        with torch.no_grad():
            return float(trainer.compute_loss(networks("bert").eval(), batch))

    parts = [loss(1, 0, 0), loss(0, 1, 0), loss(0, 0, 1)]
    assert min(parts) > 0
    assert loss(1, 2, 0.5) == pytest.approx(parts[0] + 2 * parts[1] + parts[2] / 2)


def test_the_loss_against_a_teacher_is_added_with_its_weight(
    networks: Callable[[str], DetenteModel], tmp_path: Any
) -> None:
    model = networks("bert").eval()
    batch = {
        "input_ids": torch.full((1, 16), 5),
        "attention_mask": torch.ones(1, 16, dtype=torch.long),
        "mentions": torch.tensor([[[1, 3]]]),
        "topic_labels": torch.tensor([[1, 0, IGNORED]]),
        "voice_labels": torch.zeros(1, 16, dtype=torch.long),
        "stance_labels": torch.tensor([[2]]),
    }
    taught = {
        "soft_topics": torch.tensor([[0.5, 0.25, 1.0]]),
        "soft_voices": torch.full((1, 16, 3), 1 / 3),
        "soft_stances": torch.tensor([[[0.0, 0.5, 0.25, 0.0]]]),
    }

    def loss(batch: dict[str, torch.Tensor], soft: float) -> float:
        weights = {"topics": 1.0, "voices": 2.0, "stance": 0.5, "soft": soft}
        trainer = DetenteTrainer(
            model=model,
            args=TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True),
            settings=TrainingConfig.model_validate({"loss_weights": weights}),
            score=None,
        )
        with torch.no_grad():
            return float(trainer.compute_loss(model, batch))

    hard = loss(batch, 3)
    with torch.no_grad():
        output = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "mentions")})
    parts = {name: float(value) for name, value in soft_losses(output, taught).items()}
    soft = parts["topics"] + 2 * parts["voices"] + parts["stance"] / 2
    assert loss(batch | taught, 0) == pytest.approx(hard)
    assert loss(batch | taught, 1) == pytest.approx(hard + soft)
    assert loss(batch | taught, 3) == pytest.approx(hard + 3 * soft)


def test_the_order_of_the_rows_is_a_function_of_seed_and_epoch() -> None:
    lengths = [10, 80, 20, 70, 30, 60, 40, 50] * 8
    sampler = LengthGrouped(lengths, batch_size=4, seed=13)
    first = list(sampler)
    assert len(sampler) == 64
    assert sorted(first) == list(range(64))
    torch.manual_seed(99)  # what the global generator holds does not matter
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert sorted(second) == list(range(64))
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(LengthGrouped(lengths, batch_size=4, seed=14)) != first
    spreads = [max(batch) - min(batch) for batch in ([lengths[i] for i in first[n : n + 4]] for n in range(0, 64, 4))]
    assert max(spreads) <= 30  # up to 70 in a plain shuffle


@pytest.fixture
def arguments(tmp_path: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path / "checkpoints"), report_to=[], use_cpu=True)


def step_end(callback: Any, arguments: TrainingArguments, step: int, epoch: float, last: int = 20) -> TrainerControl:
    control = TrainerControl()
    callback.on_step_end(arguments, TrainerState(global_step=step, max_steps=last, epoch=epoch), control)
    return control


def test_a_checkpoint_every_so_many_steps(arguments: TrainingArguments) -> None:
    checkpoints = PeriodicCheckpoint(3)
    saved = [s for s in range(1, 21) if step_end(checkpoints, arguments, s, s / 5).should_save]
    assert saved == [3, 6, 9, 12, 18]  # 15 and 20 end an epoch, which saves when it has been scored
    assert not any(step_end(checkpoints, arguments, s, s / 5).should_training_stop for s in range(1, 21))


@pytest.fixture
def listening(arguments: TrainingArguments) -> Iterator[PeriodicCheckpoint]:
    callback = PeriodicCheckpoint(1000)
    before = signal.getsignal(signal.SIGINT)
    callback.on_train_begin(arguments, TrainerState(max_steps=20), TrainerControl())
    yield callback
    callback.on_train_end()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_interrupt_saves_and_stops(listening: PeriodicCheckpoint, arguments: TrainingArguments) -> None:
    assert not step_end(listening, arguments, 6, 1.2).should_training_stop
    os.kill(os.getpid(), signal.SIGINT)
    assert listening.interrupted
    control = step_end(listening, arguments, 7, 1.4)
    assert (control.should_save, control.should_training_stop) == (True, True)
    # within an epoch nothing is scored, so that the resumed run chooses among the same checkpoints
    control.should_evaluate = True
    listening.on_epoch_end(arguments, TrainerState(global_step=7, max_steps=20, epoch=1.4), control)
    assert (control.should_save, control.should_evaluate) == (False, False)


def test_an_interrupt_at_the_end_of_an_epoch_waits_for_its_score(
    listening: PeriodicCheckpoint, arguments: TrainingArguments
) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    control = step_end(listening, arguments, 10, 2.0)
    assert (control.should_save, control.should_training_stop) == (False, True)
    control.should_save = control.should_evaluate = True  # as transformers sets them
    listening.on_epoch_end(arguments, TrainerState(global_step=10, max_steps=20, epoch=2.0), control)
    assert (control.should_save, control.should_evaluate) == (True, True)


def test_the_second_interrupt_stops_at_once(listening: PeriodicCheckpoint) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_training_in_another_thread_leaves_signals_alone(arguments: TrainingArguments) -> None:
    before, callback = signal.getsignal(signal.SIGINT), PeriodicCheckpoint(1)
    failures: list[BaseException] = []

    def train() -> None:
        try:
            callback.on_train_begin(arguments, TrainerState(), TrainerControl())
            callback.on_train_end()
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert failures == []
    assert signal.getsignal(signal.SIGINT) is before


def test_a_moved_run_folder_has_its_best_checkpoint_still(
    arguments: TrainingArguments, listening: PeriodicCheckpoint, tmp_path: Any
) -> None:
    (tmp_path / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    state = TrainerState(best_global_step=5, best_model_checkpoint=None, max_steps=20)  # transformers lost its path
    listening.on_train_end()
    listening.on_train_begin(arguments, state, TrainerControl())
    assert state.best_model_checkpoint == str(tmp_path / "checkpoints" / "checkpoint-5")


@pytest.mark.parametrize(
    ("figures", "patience", "ended"),
    [
        ([], 2, False),
        ([0.5], 1, False),
        ([0.5, 0.6, 0.7], 1, False),
        ([0.5, 0.6, 0.6], 1, True),  # as good is not better
        ([0.5, 0.6, 0.6], 2, False),
        ([0.7, 0.6, 0.65], 2, True),
        ([0.7, 0.6, 0.5, 0.4], 0, False),
    ],
)
def test_patience_is_counted_in_the_log(
    arguments: TrainingArguments, figures: list[float], patience: int, ended: bool
) -> None:
    stopping = EarlyStopping("mean", patience)
    log = [entry for figure in figures for entry in ({"loss": 1.0}, {"eval_mean": figure, "eval_topics_f1": 0.0})]
    state, control = TrainerState(log_history=log, global_step=5, max_steps=20), TrainerControl()
    assert stopping.has_ended(state) is ended
    stopping.on_evaluate(arguments, state, control)
    assert control.should_training_stop is ended


def test_all_steps_done_is_an_end(arguments: TrainingArguments) -> None:
    assert EarlyStopping("mean", 0).has_ended(TrainerState(global_step=20, max_steps=20))


def shown(display: ProgressDisplay, arguments: TrainingArguments) -> None:
    control = TrainerControl()
    display.on_train_begin(arguments, TrainerState(global_step=4, max_steps=10), control)
    display.on_log(arguments, TrainerState(), control, logs={"loss": 1.2346, "learning_rate": 1e-4})
    for step in (5, 6):
        display.on_step_end(arguments, TrainerState(global_step=step, max_steps=10, epoch=step / 5), control)
    figures = {"eval_mean": 0.5, "eval_topics_f1": 0.81234}
    display.on_log(arguments, TrainerState(epoch=2.0), control, logs=figures)
    display.on_log(arguments, TrainerState(epoch=2.0), control)
    display.on_train_end()


def test_progress_where_there_is_no_terminal(arguments: TrainingArguments) -> None:
    out = io.StringIO()
    shown(ProgressDisplay(Console(file=out, width=120), every_seconds=0), arguments)
    assert out.getvalue().splitlines() == [
        "step 5 of 10, epoch 1.00 loss 1.235, about 0 min left",
        "step 6 of 10, epoch 1.20 loss 1.235, about 0 min left",
        "epoch 2  validation  mean 0.500  topics_f1 0.812",
    ]


def test_lines_come_now_and_then(arguments: TrainingArguments) -> None:
    out = io.StringIO()
    shown(ProgressDisplay(Console(file=out, width=120), every_seconds=3600), arguments)
    assert out.getvalue().splitlines() == ["epoch 2  validation  mean 0.500  topics_f1 0.812"]


def test_progress_on_a_terminal(arguments: TrainingArguments) -> None:
    out = io.StringIO()
    shown(ProgressDisplay(Console(file=out, width=120, force_terminal=True)), arguments)
    assert "epoch 1.20" in out.getvalue()
    assert "6/10" in out.getvalue()
    assert "loss 1.235" in out.getvalue()
    assert "topics_f1 " in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
