"""The wheel: what it carries, and that it tags an article from an environment that has only the wheel."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder, without this process's Python paths; what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing stale of the checkout gets in and nothing is left there."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "corpus")
    for name in ("model", "training"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", folder=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it; what detente depends on is read from the running one.

    The running environment is put behind the new one as plain folders, in which `.pth` files (an editable
    installation of detente) have no effect.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    python = folder / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        folder=folder,
    )
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "behind.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def test_the_wheel_carries_the_model_and_no_pickle(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= {
        "detente/py.typed",
        "detente/codebook.yaml",
        "detente/models/small/model.safetensors",
        "detente_training/py.typed",
        "detente_training/cli.py",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"detente", "detente_training"}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".jsonl"))]


def test_detente_comes_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    code = "import detente, detente_training; print(detente.__file__); print(detente_training.__file__)"
    for line in run(environment / "bin" / "python", "-c", code, folder=tmp_path).splitlines():
        assert Path(line).is_relative_to(environment)


def test_the_installed_command_tags_the_sample_article(environment: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "envoy.txt", tmp_path)
    detente = environment / "bin" / "detente"
    assert "envoy" in run(detente, "tag", "envoy.txt", folder=tmp_path)
    run(detente, "tag", "envoy.txt", "--output", "tags.jsonl", folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 3
    assert any(row["topics"] for row in rows)
    assert any(row["voices"] for row in rows)
