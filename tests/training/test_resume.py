"""Runs that are killed or interrupted: on a CPU they end, bit by bit, as an unbroken run does."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from detente.bundle import check_bundle
from detente_training import train as training
from detente_training import trainer as trainer_module
from detente_training.run_folder import last_checkpoint
from detente_training.train import InterruptedRunError, train

if TYPE_CHECKING:
    from detente_training.config import TrainConfig

Config = Callable[..., "TrainConfig"]
Unbroken = Callable[..., Path]
ROOT = Path(__file__).parents[2]
EPOCHS = "training.epochs=3"
PLAIN = (EPOCHS, "training.checkpoint_every_steps=1000", "training.early_stopping_patience=0")
STILL = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12")  # no epoch is better than the first


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def epochs(folder: Path) -> list[dict[str, Any]]:
    """The log's validation entries."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if "eval_mean" in entry]


@pytest.fixture(scope="module")
def unbroken(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The run folder of an unbroken run with these settings, made once for each."""
    made: dict[tuple[str, ...], Path] = {}

    def run(*sets: str) -> Path:
        if sets not in made:
            made[sets] = tmp_path_factory.mktemp("unbroken") / "run"
            train(tiny_config(*sets), made[sets], console=quiet())
        return made[sets]

    return run


def assert_same(one: Path, other: Path) -> None:
    """Two runs have, bit by bit, the same bundle, the same last checkpoint, and the same course."""
    first, second = (check_bundle(folder / "bundle")["files"] for folder in (one, other))
    assert first == second
    last = [last_checkpoint(folder) for folder in (one, other)]
    weights = [(Path(str(path)) / "model.safetensors").read_bytes() for path in last]
    assert Path(str(last[0])).name == Path(str(last[1])).name
    assert weights[0] == weights[1]
    assert epochs(one) == epochs(other)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], None]) -> None:
    """Does `stop` when this training step is done, before anything of it is saved."""
    usual = trainer_module.ProgressDisplay.on_step_end

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        usual(self, args, state, control, **kwargs)
        if state.global_step == step:
            stop()

    monkeypatch.setattr(trainer_module.ProgressDisplay, "on_step_end", on_step_end)


class Killed(BaseException):
    pass


def kill() -> None:
    raise Killed


def train_until(monkeypatch: pytest.MonkeyPatch, step: int, config: TrainConfig, folder: Path) -> None:
    """Trains, and dies when this step is done."""
    with monkeypatch.context() as patch:
        stop_at(patch, step, kill)
        with pytest.raises(Killed):
            train(config, folder, console=quiet())


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("step", "sets"),  # five steps to an epoch, a checkpoint every two of them
    [
        (1, ()),  # before any checkpoint
        (4, ()),  # within the first epoch
        (6, ()),  # between the end of an epoch and the next checkpoint
        (9, ()),  # within the second epoch
        (15, ()),  # the last step, before it is saved
        (9, ("lora.rank=4",)),
        (9, ("lora.rank=4", "lora.merge=false")),
        (5, ("training.gradient_accumulation=2",)),  # three steps to an epoch, the last of a single batch
        (7, ("training.epochs=1.5",)),
    ],
)
def test_a_killed_run_ends_as_an_unbroken_one(
    unbroken: Unbroken,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    sets: tuple[str, ...],
) -> None:
    every = (EPOCHS, "training.checkpoint_every_steps=2", "training.early_stopping_patience=0", *sets)
    whole = unbroken(*every)
    train_until(monkeypatch, step, tiny_config(*every), tmp_path / "run")
    assert not (tmp_path / "run" / "bundle").exists()
    train(tiny_config(*every), tmp_path / "run", resume=True, console=quiet())
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("step", [3, 8, 10, 15])
def test_an_interrupted_run_saves_and_ends_as_an_unbroken_one(
    unbroken: Unbroken, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole, before = unbroken(*PLAIN), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, step, interrupt)
        with pytest.raises(InterruptedRunError, match=f"--resume goes on from step {step}"):
            train(tiny_config(*PLAIN), tmp_path / "run", console=quiet())
    assert signal.getsignal(signal.SIGINT) is before
    assert Path(str(last_checkpoint(tmp_path / "run"))).name == f"checkpoint-{step}"
    train(tiny_config(*PLAIN), tmp_path / "run", resume=True, console=quiet())
    assert_same(tmp_path / "run", whole)


def test_patience_survives_a_kill(
    unbroken: Unbroken, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = (*STILL, "training.epochs=9", "training.early_stopping_patience=2")
    train_until(monkeypatch, 12, tiny_config(*sets), tmp_path / "run")  # in the third epoch
    train(tiny_config(*sets), tmp_path / "run", resume=True, console=quiet())
    assert len(epochs(tmp_path / "run")) == 3
    assert_same(tmp_path / "run", unbroken(*sets))


@pytest.mark.parametrize("sets", [("training.epochs=2",), ("training.epochs=1.5",), ("training.epochs=9",)])
def test_a_run_killed_while_it_is_measured_trains_no_more(
    unbroken: Unbroken,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sets: tuple[str, ...],
) -> None:
    sets = (*sets, *STILL)
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", lambda *_: kill())
        with pytest.raises(Killed):
            train(tiny_config(*sets), tmp_path / "run", console=quiet())
    with monkeypatch.context() as patch:
        patch.setattr(training.DetenteTrainer, "train", lambda *_, **__: kill())
        train(tiny_config(*sets), tmp_path / "run", resume=True, console=quiet())
    assert_same(tmp_path / "run", unbroken(*sets))


def test_a_moved_run_goes_on(
    unbroken: Unbroken, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_until(monkeypatch, 12, tiny_config(*PLAIN), tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    train(tiny_config(*PLAIN), tmp_path / "elsewhere", resume=True, console=quiet())
    assert_same(tmp_path / "elsewhere", unbroken(*PLAIN))


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for name, state in (
        ("checkpoint-90", '{"global_step": 90}'),
        ("checkpoint-100", '{"global_st'),
        ("checkpoint-110", None),
    ):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoints" / "checkpoint-90")


def test_sigkill(unbroken: Unbroken, tiny_config: Config, tmp_path: Path) -> None:
    sets = (EPOCHS, "training.checkpoint_every_steps=2", "training.early_stopping_patience=0")
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(tiny_config(*sets).to_yaml(), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "model"), str(ROOT / "training")])}
    process = subprocess.Popen(
        [sys.executable, "-c", "from detente_training.cli import app; app()", "train", recipe, "--output", folder],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(folder.glob("checkpoints/checkpoint-*/trainer_state.json")):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    train(tiny_config(*sets), folder, resume=True, console=quiet())
    assert_same(folder, unbroken(*sets))


def test_the_same_seed_is_the_same_model_and_another_is_not(
    unbroken: Unbroken, tiny_config: Config, tmp_path: Path
) -> None:
    train(tiny_config(*PLAIN), tmp_path / "same", console=quiet())
    assert_same(tmp_path / "same", unbroken(*PLAIN))
    other = train(tiny_config(*PLAIN, "seed=14"), tmp_path / "other", console=quiet())
    weights = "model.safetensors"
    assert (other / weights).read_bytes() != (tmp_path / "same" / "bundle" / weights).read_bytes()
