"""Low-rank adapters (LoRA, Hu et al. 2021): a small model file beside an encoder that comes from elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from detente.checksums import sha256_of
from detente.encoder_cache import WEIGHTS
from detente.encoders import ResolvedEncoder, load_encoder, resolve_encoder
from detente.errors import BundleError
from detente.network import DetenteModel


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Which linear layers of an encoder have an adapter, and how large it is.

    Attributes:
        rank, alpha: the update of a layer is alpha / rank times a product of two matrices of this rank.
        target: names of the layers, or "all-linear", or a pattern.
        layers: numbers of the encoder's layers, from 0; None is all.
    """

    rank: int
    alpha: float
    target: str | tuple[str, ...]
    layers: tuple[int, ...] | None = None


def add_adapters(model: DetenteModel, shape: LoraShape, dropout: float = 0.0) -> None:
    """Freezes the encoder and puts adapters, which change nothing yet, beside its linear layers."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=shape.target if isinstance(shape.target, str) else list(shape.target),
        layers_to_transform=None if shape.layers is None else list(shape.layers),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that it will drop
        model.encoder = get_peft_model(model.encoder, lora)


def has_adapters(model: DetenteModel) -> bool:
    return hasattr(model.encoder, "merge_and_unload")


def merge_adapters(model: DetenteModel) -> None:
    """Adds the adapters to the weights they stand beside: the same network, without their cost."""
    if has_adapters(model):
        model.encoder = model.encoder.merge_and_unload()


def adapter_weights(model: DetenteModel) -> dict[str, Tensor]:
    """What the encoder does not bring: adapters and heads."""
    return {
        name: value for name, value in model.state_dict().items() if not name.startswith("encoder.") or ".lora_" in name
    }


def describe(shape: LoraShape, encoder: ResolvedEncoder, requested: str) -> dict[str, Any]:
    """What `DetenteConfig.adapter` keeps: the shape, and the encoder by the name asked for and its weights' hash."""
    return {"encoder": requested, "sha256": weights_hash(encoder), **asdict(shape)}


def load_with_encoder(
    model: DetenteModel, adapter: Mapping[str, Any], weights: Mapping[str, Tensor], encoder: str | None = None
) -> None:
    """Fills a network from its encoder, its adapters and its heads; the adapters are merged.

    Args:
        model: a network of the right configuration, with any weights.
        adapter: `DetenteConfig.adapter`.
        weights: what `adapter_weights` gave.
        encoder: a local folder or a hub id in place of the encoder named in `adapter`.

    Raises:
        MissingExtraError: the packages that carry the encoder are not installed.
        BundleError: the encoder is not the one that the adapters were trained beside, or weights are lacking.
        ConfigError: no such encoder.
    """
    resolved = resolve_encoder(encoder or adapter["encoder"])
    pretrained = load_encoder(resolved)
    if adapter["sha256"] is not None and (found := weights_hash(resolved)) != adapter["sha256"]:
        raise BundleError(
            f"the encoder {resolved.name} is not the one this model was trained beside: the SHA-256 of its {WEIGHTS} "
            f"is {found}, it must be {adapter['sha256']}. Name the right one, or leave the encoder out"
        )
    if getattr(pretrained, "pooler", None) is not None:
        pretrained.pooler = None  # type: ignore[assignment]
    model.encoder.load_state_dict(pretrained.state_dict())
    layers = adapter["layers"]
    shape = LoraShape(
        adapter["rank"],
        adapter["alpha"],
        adapter["target"] if isinstance(adapter["target"], str) else tuple(adapter["target"]),
        None if layers is None else tuple(layers),
    )
    add_adapters(model, shape)
    lacking = sorted(adapter_weights(model).keys() - weights.keys())
    if lacking:
        raise BundleError(f"the adapter lacks {', '.join(lacking[:3])}{', …' * (len(lacking) > 3)}; restore the bundle")
    model.load_state_dict(dict(weights), strict=False)
    merge_adapters(model)
    model.eval()  # type: ignore[no-untyped-call]  # as `from_pretrained` leaves a network


def weights_hash(encoder: ResolvedEncoder) -> str | None:
    """SHA-256 of an encoder's weights file, that of a hub's in the local cache; None where there is none."""
    if encoder.sha256 is not None or Path(encoder.path_or_id).is_dir():
        return encoder.sha256
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(encoder.path_or_id, WEIGHTS)
    return sha256_of(Path(cached)) if isinstance(cached, str) else None
