"""`scripts/ship.py` end to end on tiny runs: a whole model, and one of adapters."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from detente.bundle import ADAPTER, CARD, METRICS, WEIGHTS, load_bundle, weights_file
from detente_training.annotation import LabelledParagraph
from detente_training.config import TrainConfig
from detente_training.renaming import SwapReport
from detente_training.report import Report
from detente_training.speed import Speed
from detente_training.suite import SuiteReport

ROOT = Path(__file__).parents[2]
Ship = Callable[..., Any]


def script() -> Any:
    spec = importlib.util.spec_from_file_location("ship_script", ROOT / "scripts" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ship(
    tmp_path: Path,
    corpus_file: Path,
    corpus: list[LabelledParagraph],
    write: Callable[[Path, Iterable[Any]], Path],
    mark: Callable[..., LabelledParagraph],
) -> Ship:
    """Runs the script on a bundle; the tiny corpus stands for all data."""
    realdev = [p.to_dict() | {"split": None} for p in corpus[:24]]
    sides = (
        mark("{{e|Varga}} said talks must go on.", "pair-a"),
        mark("{{p|Varga}} said drills must go on.", "pair-b"),
    )
    pairs = [side.to_dict() | {"phenomenon": "wording"} for side in sides]
    files = {
        "corpus": corpus_file,
        "heldout": corpus_file,
        "realdev": write(tmp_path / "realdev.jsonl", realdev),
        "suite": write(tmp_path / "suite.jsonl", pairs),
        "output": tmp_path / "models",
    }

    def call(bundle: Path, name: str, *more: str, **others: Path) -> Any:
        options = [text for key, path in {**files, **others}.items() for text in (f"--{key}", str(path))]
        return CliRunner().invoke(script().app, [str(bundle), name, *options, *more])

    return call


def test_a_whole_model(ship: Ship, trained: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text("- It takes “of course” at its word.\n", encoding="utf-8")
    result = ship(trained / "bundle", "tiny", errors=wrong)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "tiny"
    assert result.stdout == f"{folder}\n"
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    before, after = load_bundle(trained / "bundle"), load_bundle(folder)
    assert after.manifest["made_from"] == before.manifest["made_from"]
    assert (folder / WEIGHTS).read_bytes() == (trained / "bundle" / WEIGHTS).read_bytes()
    changed = {name for name, sha256 in after.manifest["files"].items() if before.manifest["files"][name] != sha256}
    assert changed == {METRICS, CARD}

    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    assert list(metrics) == ["validation", "corpus", "realdev", "by", "suite", "swaps", "speed"]
    reports = {name: Report.from_dict(metrics[name]) for name in ("validation", "corpus", "realdev")}
    assert [(r.paragraphs, r.seed, r.resamples) for r in reports.values()] == [
        (12, 0, 1000),
        (6, 0, 0),  # one document has no interval
        (24, 0, 1000),
    ]
    assert {field: list(values) for field, values in metrics["by"]["realdev"].items()} == {
        "style": ["news", "oped"],
        "region": ["(none)"],
    }
    assert Report.from_dict(metrics["by"]["realdev"]["region"]["(none)"]) == reports["realdev"]
    assert SuiteReport.from_dict(metrics["suite"]).phenomena["wording"].pairs == 1
    assert SwapReport.from_dict(metrics["swaps"]).paragraphs == 12
    assert Speed.from_dict(metrics["speed"]).paragraphs == 6

    card = (folder / CARD).read_text(encoding="utf-8")
    assert "| figure | validation | corpus | realdev |" in card
    assert "By region, on `realdev`." in card
    assert "| wording | 1 |" in card
    assert "paragraphs a second on" in card
    assert "- It takes “of course” at its word." in card
    assert str(tmp_path) not in card


def test_a_model_of_adapters(
    ship: Ship, tiny_config: Callable[..., TrainConfig], tiny_encoder: Path, tmp_path: Path
) -> None:
    from detente_training.train import train

    sets = ("lora.merge=false", "lora.rank=2", "training.epochs=1", "data.max_paragraphs=6")
    bundle = train(tiny_config(*sets), tmp_path / "run")
    result = ship(bundle, "adapters", "--encoder", str(tiny_encoder))
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "adapters"
    assert weights_file(folder).name == ADAPTER
    assert weights_file(folder).read_bytes() == (bundle / ADAPTER).read_bytes()
    assert load_bundle(folder, str(tiny_encoder)).manifest["files"][CARD] != load_bundle(bundle).manifest["files"][CARD]


def test_what_stops_it_before_anything_is_measured(
    ship: Ship, trained: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "models" / "there").mkdir(parents=True)
    for result, message in (
        (ship(trained / "bundle", "there"), "exists already; remove it or choose another name"),
        (ship(tiny_bundle, "new"), "does not lie in the folder of its run: there is no "),
        (ship(trained / "bundle", "new", errors=tmp_path / "none.md"), "cannot read "),
        (
            ship(trained / "bundle", "new", heldout=tmp_path / "realdev.jsonl"),
            "has the split `validation`; there are: none",
        ),
        (ship(trained / "bundle", "new", suite=tmp_path / "realdev.jsonl"), "is no suite of minimal pairs"),
    ):
        assert result.exit_code == 1
        assert message in result.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["there"]
