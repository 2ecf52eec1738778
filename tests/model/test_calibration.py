"""Temperatures and thresholds: what is kept, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from detente.calibration import Calibration
from detente.errors import BundleError


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    fitted = Calibration(
        topic_temperature=1.25,
        voice_temperature=0.8,
        narrator_temperature=2,
        stance_temperature=1.5,
        topic_thresholds={"diplomacy": 0.35, "human_rights": 1},
        stance_weights={"mixed": 1.8},
        voice_threshold=0.4,
        narrator_threshold=0.7,
        candidate_floor=0.0,
        low_confidence=0.45,
    )
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(fitted.to_dict()), encoding="utf-8")
    assert Calibration.from_json(path) == fitted


def test_a_topic_without_a_threshold_has_one_half() -> None:
    assert Calibration(topic_thresholds={"diplomacy": 0.35}).topic_threshold("diplomacy") == 0.35
    assert Calibration().topic_threshold("diplomacy") == 0.5


def test_every_mistake_is_listed() -> None:
    with pytest.raises(BundleError) as caught:
        Calibration(
            topic_temperature=0,
            stance_temperature=float("nan"),
            topic_thresholds={"diplomacy": 1.5},
            stance_weights={"mixed": 0, "neutral": 1},
            voice_threshold=True,
            candidate_floor=-0.1,
        )
    assert str(caught.value) == (
        "the calibration does not hold:\n"
        "  - topic_temperature must be a number above 0, not 0\n"
        "  - stance_temperature must be a number above 0, not nan\n"
        "  - stance_weights.mixed must be a number above 0, not 0\n"
        "  - topic_thresholds.diplomacy must be a probability in [0, 1], not 1.5\n"
        "  - voice_threshold must be a probability in [0, 1], not True\n"
        "  - candidate_floor must be a probability in [0, 1], not -0.1"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "is not a calibration file of detente: "),
        ('{"voice_treshold": 0.5}', "is not a calibration file of detente: .*voice_treshold"),
        ("[1]", "is not a calibration file of detente"),
        ('"text"', "is not a calibration file of detente"),
        ("\udcff", "is not a calibration file of detente"),
        ('{"topic_thresholds": [0.5]}', "topic_thresholds must name a threshold for each topic, not [0.5]"),
        ('{"stance_weights": [2]}', "stance_weights must name a weight for each stance, not [2]"),
        ('{"voice_threshold": "high"}', "voice_threshold must be a probability in [0, 1], not 'high'"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, data: str, message: Any) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(data.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=message if ".*" in message else re.escape(message)):
        Calibration.from_json(path)
