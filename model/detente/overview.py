"""What a saved model is, in a few words and figures, read from its files without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detente.bundle import CONFIG, METRICS, weights_file
from detente.encoders import MPNET_PACKAGES, find_parts, resolve_encoder
from detente.errors import DetenteError

PREFERRED = ("realdev", "validation")  # names of reports, the one to show first
_FIGURES = {  # name -> where it stands in a report
    "topics macro-F1": ("topics", "macro", "f1"),
    "voices F1": ("voices", "overlap", "f1"),
    "voice+stance F1": ("voices", "with_stance", "f1"),
    "paragraph stance macro-F1": ("paragraph_stance", "macro_f1"),
}
WITHIN, INSTALLED, MISSING, ON_HUB = "in the file", "installed", "not installed", "local or from a hub"


@dataclass(frozen=True, slots=True)
class Overview:
    """A saved model.

    Attributes:
        megabytes: size of the weights file, in 10^6 bytes.
        encoder: its published name.
        encoder_is: where the encoder's own weights are: WITHIN the file; or, for a model that is adapters to an
            encoder, INSTALLED, MISSING, or ON_HUB for a hub id, which is looked for only when the model is loaded.
        remedy: for one that is missing, the error that loading the model would give.
        measured_on: name of the data of `figures`, of PREFERRED; None if it was measured on neither.
        figures: by name, in [0, 1]; None where the model says nothing of the kind.
        paragraphs_per_second: None if its speed was not measured.
        speed_on: what that speed was measured on, as in "2 CPU threads".
    """

    megabytes: float
    encoder: str
    encoder_is: str
    remedy: str | None
    measured_on: str | None
    figures: Mapping[str, float | None]
    paragraphs_per_second: float | None
    speed_on: str | None


def overview(folder: Path, manifest: Mapping[str, Any]) -> Overview:
    """Describes a bundle; `manifest` is what `bundle.check_bundle` gave for it."""
    adapter = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("adapter")
    metrics: dict[str, Any] = {}
    if (folder / METRICS).is_file():
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    measured_on = next((name for name in PREFERRED if name in metrics), None)
    speed = metrics.get("speed") or {}
    encoder_is, remedy = (WITHIN, None) if adapter is None else _look_for(adapter["encoder"])
    return Overview(
        megabytes=weights_file(folder).stat().st_size / 1e6,
        encoder=manifest.get("made_from", {}).get("encoder", {}).get("name", "unknown"),
        encoder_is=encoder_is,
        remedy=remedy,
        measured_on=measured_on,
        figures={name: _value(metrics.get(measured_on or ""), path) for name, path in _FIGURES.items()},
        paragraphs_per_second=speed.get("paragraphs_per_second"),
        speed_on=speed.get("place"),
    )


def _look_for(encoder: str) -> tuple[str, str | None]:
    """Whether an encoder is on this machine, and if not, what to do; nothing is unpacked."""
    try:
        if encoder == "mpnet":
            find_parts(MPNET_PACKAGES)
            return INSTALLED, None
        resolved = resolve_encoder(encoder)
    except DetenteError as error:
        return MISSING, str(error)
    return (INSTALLED if Path(resolved.path_or_id).is_dir() else ON_HUB), None


def _value(report: Any, path: tuple[str, ...]) -> float | None:
    for key in (*path, "value"):
        report = report.get(key) if isinstance(report, Mapping) else None
    return None if report is None else float(report)
