"""Temperatures and thresholds: what turns logits into probabilities and probabilities into decisions.

They are fitted on validation documents by `detente train` and travel in the bundle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detente.errors import BundleError


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted constants of one model; as they stand here, those of a model that was not fitted.

    Attributes:
        topic_temperature, voice_temperature, narrator_temperature, stance_temperature: logits are divided by these
            before sigmoid or softmax (temperature scaling, Guo et al. 2017); > 0.
        topic_thresholds: smallest probability at which each topic is given; a topic not named here has 0.5.
        stance_weights: a voice has the stance whose probability times its weight is largest; a stance not named here
            has 1.
        voice_threshold, narrator_threshold: smallest presence probability at which a voice is given.
        candidate_floor: presence probability under which a span is no candidate at all.
        low_confidence: a paragraph whose most probable stance is under this carries the flag `low_confidence`.

    Raises:
        BundleError: values that are no numbers or out of range; all are listed.
    """

    topic_temperature: float = 1.0
    voice_temperature: float = 1.0
    narrator_temperature: float = 1.0
    stance_temperature: float = 1.0
    topic_thresholds: Mapping[str, float] = field(default_factory=dict)
    stance_weights: Mapping[str, float] = field(default_factory=dict)
    voice_threshold: float = 0.5
    narrator_threshold: float = 0.5
    candidate_floor: float = 0.02
    low_confidence: float = 0.5

    def __post_init__(self) -> None:
        problems = []
        for name in ("topic", "voice", "narrator", "stance"):
            value = getattr(self, f"{name}_temperature")
            if not (_is_number(value) and value > 0):
                problems.append(f"{name}_temperature must be a number above 0, not {value!r}")
        probabilities: dict[str, Any] = {}
        if isinstance(self.topic_thresholds, Mapping):
            probabilities |= {f"topic_thresholds.{k}": v for k, v in self.topic_thresholds.items()}
        else:
            problems.append(f"topic_thresholds must name a threshold for each topic, not {self.topic_thresholds!r}")
        if isinstance(self.stance_weights, Mapping):
            problems += [
                f"stance_weights.{stance} must be a number above 0, not {value!r}"
                for stance, value in self.stance_weights.items()
                if not (_is_number(value) and value > 0)
            ]
        else:
            problems.append(f"stance_weights must name a weight for each stance, not {self.stance_weights!r}")
        for name in ("voice_threshold", "narrator_threshold", "candidate_floor", "low_confidence"):
            probabilities[name] = getattr(self, name)
        for name, value in probabilities.items():
            if not (_is_number(value) and 0 <= value <= 1):
                problems.append(f"{name} must be a probability in [0, 1], not {value!r}")
        if problems:
            raise BundleError("the calibration does not hold:\n" + "\n".join(f"  - {p}" for p in problems))

    def topic_threshold(self, topic: str) -> float:
        return self.topic_thresholds.get(topic, 0.5)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, path: Path) -> Calibration:
        """Read a calibration file.

        Raises:
            BundleError: it is no JSON, or has unknown keys or values out of range.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(**data)
        except (ValueError, TypeError) as error:
            raise BundleError(f"{path} is not a calibration file of detente: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
