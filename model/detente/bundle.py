"""The saved model: one folder without pickles, whose manifest has the hash of every file.

config.json, model.safetensors   the network, float16; or, where the encoder comes from elsewhere,
adapter.safetensors              its adapters and heads alone
tokenizer.json, …                its tokenizer
codebook.yaml                    what the labels mean
calibration.json                 temperatures and thresholds
metrics.json                     figures measured when it was made
README.md                        the model card
manifest.json                    format, versions, SHA-256 of each file above
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from detente.adapter import adapter_weights, has_adapters, load_with_encoder
from detente.calibration import Calibration
from detente.checksums import sha256_of
from detente.codebook import Codebook
from detente.errors import BundleError
from detente.hub import hub_in_reach
from detente.network import DetenteConfig, DetenteModel

FORMAT = 1
MANIFEST = "manifest.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER = "adapter.safetensors"  # in place of the former
TOKENIZER = "tokenizer.json"
CODEBOOK = "codebook.yaml"
CALIBRATION = "calibration.json"
METRICS = "metrics.json"
CARD = "README.md"
REQUIRED = (CONFIG, TOKENIZER, CODEBOOK, CALIBRATION)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5")
DEFAULT_MODEL = "small"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that was loaded and checked."""

    path: Path
    model: DetenteModel
    tokenizer: PreTrainedTokenizerBase
    codebook: Codebook
    calibration: Calibration
    manifest: Mapping[str, Any]


def shipped_models() -> dict[str, Path]:
    """Names and folders of the models that came with the package."""
    folder = Path(str(resources.files("detente").joinpath("models")))
    return {path.name: path for path in sorted(folder.glob("*")) if (path / MANIFEST).is_file()}


def find_bundle(name: str | Path) -> Path:
    """The folder of a model: a shipped one by name, a local folder, or a download by hub id.

    Raises:
        BundleError: there is none.
    """
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / MANIFEST).exists() and (path / "bundle" / MANIFEST).exists():
            return path / "bundle"  # the run folder of `detente train`
        return path
    near = difflib.get_close_matches(str(name), shipped, n=1)
    meant = f"; did you mean `{near[0]}`?" if near else ""
    choices = f"give the folder of a bundle, or one of: {', '.join(shipped) or '(none is shipped)'}"
    if path.exists():
        raise BundleError(f"{name} is a file, not the folder of a model; {choices}")
    looks_like_id = isinstance(name, str) and 0 < name.count("/") <= 1 and not name.startswith((".", "~", "/"))
    if not looks_like_id:
        raise BundleError(f"there is no model `{name}`{meant}; {choices}")
    return _download(str(name), choices)


def _download(name: str, choices: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.yaml", "*.md", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise BundleError(f"there is no folder `{name}`, and it is no hub id either; {choices}") from error
    if not hub_in_reach():
        raise BundleError(f"the model `{name}` is not on this machine and no hub is in reach; {choices}")
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, OSError) as error:
        raise BundleError(f"the model `{name}` cannot be had from the hub: {error}") from error


def check_bundle(path: Path) -> dict[str, Any]:
    """Reads the manifest and holds every file against it.

    Raises:
        BundleError: no manifest, another format, a pickle, or files missing, truncated, altered; all are named.
    """
    pickles = sorted(p.name for p in path.iterdir() if p.suffix.lower() in PICKLES)
    if pickles:
        raise BundleError(
            f"{path} holds {', '.join(pickles)}: such files can run code when they are loaded. "
            "A bundle holds safetensors only; delete them if the model.safetensors beside them is the one you trust"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = dict(manifest["files"])
        form = manifest["format"]
    except FileNotFoundError as error:
        raise BundleError(
            f"{path} is no model of detente: it has no {MANIFEST}. `detente train` makes one in its folder `bundle`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / MANIFEST} is damaged ({error}); restore the bundle from where it came") from error
    if form != FORMAT:
        raise BundleError(
            f"{path} has format {form}, this version of detente reads format {FORMAT}; "
            "install the version named in its README.md, or train it again"
        )
    weights = ADAPTER if ADAPTER in files else WEIGHTS
    problems = [f"{name}: not in the manifest" for name in (*REQUIRED, weights) if name not in files]
    for name, expected in files.items():
        file = path / name
        if Path(name).name != name or not file.is_file():
            problems.append(f"{name}: missing")
        elif sha256_of(file) != expected:
            problems.append(f"{name}: truncated or altered (its SHA-256 is not the manifest's)")
    if problems:
        raise BundleError(
            f"the model in {path} is not whole:\n"
            + "\n".join(f"  - {p}" for p in problems)
            + "\nRestore it from where it came, or install the package again"
        )
    return manifest  # type: ignore[no-any-return]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without the progress bar that transformers draws for a load of half a second."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def weights_file(path: Path) -> Path:
    """The file of a bundle that has its weights: all of them, or those of adapters and heads."""
    return path / ADAPTER if (path / ADAPTER).is_file() else path / WEIGHTS


def load_bundle(name: str | Path = DEFAULT_MODEL, encoder: str | None = None) -> Bundle:
    """Loads a model and checks it against its manifest; weights are float32 in memory.

    Args:
        name: a shipped model, a folder, or a hub id.
        encoder: for a bundle of adapters, a local folder or a hub id to take the encoder from, in place of the
            packages that carry it.

    Raises:
        BundleError: see `find_bundle` and `check_bundle`; an encoder for a bundle that brings its own.
        MissingExtraError: the encoder of a bundle of adapters is not installed.
    """
    path = find_bundle(name)
    manifest = check_bundle(path)
    codebook = Codebook.from_yaml(path / CODEBOOK)
    with quiet_loading():
        config = DetenteConfig.from_pretrained(path)
        if Codebook.from_dict(config.codebook).hash != codebook.hash:
            raise BundleError(f"{path}: {CODEBOOK} and {CONFIG} hold different codebooks; restore the bundle")
        if config.adapter is not None:
            model = DetenteModel(config)
            load_with_encoder(model, config.adapter, load_file(path / ADAPTER), encoder)
        elif encoder is not None:
            raise BundleError(f"the model {name} brings its own encoder; leave out {encoder}")
        else:
            model = _whole_model(path, config)
        tokenizer = AutoTokenizer.from_pretrained(path)
    return Bundle(path, model, tokenizer, codebook, Calibration.from_json(path / CALIBRATION), manifest)


def _whole_model(path: Path, config: DetenteConfig) -> DetenteModel:
    loaded: Any = DetenteModel.from_pretrained(
        path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    model, loading = loaded
    # What the file lacks would be filled with random numbers.
    lacking = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    if lacking:
        raise BundleError(
            f"{path}: {WEIGHTS} does not fit the network of {CONFIG}, or this version of transformers: "
            f"it lacks {', '.join(lacking[:3])}{', …' * (len(lacking) > 3)}; restore the bundle, or train it again"
        )
    return model  # type: ignore[no-any-return]


def save_bundle(
    folder: Path,
    model: DetenteModel,
    tokenizer: PreTrainedTokenizerBase,
    codebook: Codebook,
    calibration: Calibration,
    metrics: Mapping[str, Any],
    card: str,
    record: Mapping[str, Any],
) -> None:
    """Writes a bundle in float16; `folder` appears whole or not at all.

    Args:
        model: the network. With adapters that are not merged, and its configuration's `adapter` filled in, only those
            and the heads are written, and loading takes the encoder from where it comes.
        metrics: figures to keep, as JSON.
        card: the model card, Markdown.
        record: what the model was made from; kept in the manifest under `made_from`.

    Raises:
        BundleError: the folder is there already.
    """
    with _new_folder(folder) as building:
        with quiet_loading():
            whole = not has_adapters(model)
            weights = {
                name: value.to(torch.float16) if value.is_floating_point() else value
                for name, value in (model.state_dict() if whole else adapter_weights(model)).items()
            }
            if whole:
                model.save_pretrained(building, state_dict=weights)
            else:
                model.config.save_pretrained(building)
                save_file({name: value.contiguous() for name, value in weights.items()}, building / ADAPTER)
            tokenizer.save_pretrained(building)
        labels = codebook.to_dict() | {"stances": _plain_stances(codebook)}
        text = yaml.safe_dump(labels, sort_keys=False, allow_unicode=True, width=100)
        (building / CODEBOOK).write_text(text, encoding="utf-8")
        (building / CALIBRATION).write_text(json.dumps(calibration.to_dict(), indent=2), encoding="utf-8")
        _write_figures(building, metrics, card)
        write_manifest(building, record)


def copy_bundle(bundle: Bundle, folder: Path, metrics: Mapping[str, Any], card: str) -> None:
    """Writes the same model with other figures and another card; `folder` appears whole or not at all.

    Raises:
        BundleError: the folder is there already.
    """
    with _new_folder(folder) as building:
        for name in bundle.manifest["files"]:
            shutil.copyfile(bundle.path / name, building / name)
        _write_figures(building, metrics, card)
        write_manifest(building, bundle.manifest["made_from"])


def write_manifest(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes the manifest of the bundle whose other files are in `folder`, the codebook among them.

    Args:
        record: what the model was made from; kept under `made_from`.
    """
    manifest = {
        "format": FORMAT,
        "detente": version("detente"),
        "codebook": Codebook.from_yaml(folder / CODEBOOK).hash,
        "made_from": record,
        "files": {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.name != MANIFEST},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, which takes its name once it is filled, or goes away."""
    if folder.exists():
        raise BundleError(f"{folder} exists already; remove it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield building
        building.chmod(0o755)
        os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write_figures(folder: Path, metrics: Mapping[str, Any], card: str) -> None:
    (folder / METRICS).write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def _plain_stances(codebook: Codebook) -> list[dict[str, Any]]:
    return [stance | {"poles": list(stance["poles"])} for stance in codebook.to_dict()["stances"]]
