"""Every recipe that the project ships loads, and opens with the command that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from detente_training.config import load_config

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for path in (ROOT / "configs").glob("*.yaml") if path.name != "codebook.yaml")


def test_the_recipes_are_there() -> None:
    assert {path.stem for path in RECIPES} >= {"base", "corpus", "quick", "small"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_holds(path: Path) -> None:
    config = load_config(path)
    assert config.output == f"runs/{path.stem}"
    assert config.data.files == ("training/corpus",)
    assert (ROOT / config.data.files[0]).is_dir()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# detente train configs/{path.name}")


def test_what_sets_the_recipes_apart() -> None:
    loaded = {path.stem: load_config(path) for path in RECIPES}
    assert loaded["quick"].data.max_paragraphs is not None
    assert loaded["base"].encoder == "mpnet"
    assert loaded["base"].lora is not None
    assert loaded["base"].lora.dropout == 0
    assert {loaded[name].encoder for name in ("quick", "corpus", "small")} == {"minilm"}
    small = load_config(ROOT / "configs" / "small.yaml", data=["realtrain.jsonl"])
    assert small.data.deciding_files == ("realtrain.jsonl",)
