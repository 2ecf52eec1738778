"""The model card: what it must say, and what it must not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detente.calibration import Calibration
from detente.codebook import Codebook, Label
from detente_training.annotation import LabelledParagraph
from detente_training.card import encoder_name, model_card, source_name
from detente_training.config import DataConfig, TrainConfig, load_config
from detente_training.estimates import Figure
from detente_training.metrics import evaluate
from detente_training.predictions import PredictedVoice, Prediction
from detente_training.renaming import SwapCount, SwapReport
from detente_training.report import Report
from detente_training.speed import Speed
from detente_training.suite import SuiteReport, SuiteScores

Mark = Callable[..., LabelledParagraph]
BOOK = Codebook.default()
RECORD: dict[str, Any] = {
    "encoder": {
        "name": "sentence-transformers/all-MiniLM-L6-v2",
        "sha256": "53aa5117" + "0" * 56,
        "licence": "Apache-2.0",
    },
    "codebook": BOOK.hash,
    "train": {"paragraphs": 12345, "documents": 678, "voices": 20001, "sha256": "ab" * 32},
    "validation": {"paragraphs": 90, "documents": 7, "voices": 150, "sha256": "cd" * 32},
    "seed": 13,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
CALIBRATION = Calibration(
    topic_thresholds={"human_rights": 0.4}, voice_threshold=0.3, narrator_threshold=0.6, stance_temperature=1.25
)


@pytest.fixture
def report(mark: Mark) -> Report:
    """Two paragraphs of two documents: one topic of two found, one voice of two, with the right stance."""
    gold = [mark("{{e|Varga}} said.", topics=("diplomacy",)), mark("{{p|Okoro}} said.", "b-0", topics=("diplomacy",))]
    stances = {"engagement": 0.7, "pressure": 0.1, "mixed": 0.1, "neutral": 0.1}
    voice = PredictedVoice(0, 5, False, 0.9, "engagement", stances)
    topics = {"human_rights": 0.1, "military_tension": 0.2, "diplomacy": 0.9}
    found = Prediction(("diplomacy",), topics, (voice,), (voice,), "engagement", stances, (stances,))
    return evaluate(gold, [found, replace(found, topics=(), voices=(), stance="neutral")], BOOK, bootstrap=20)


def card(reports: dict[str, Report], config: TrainConfig | None = None, codebook: Codebook = BOOK, **more: Any) -> str:
    return model_card(config or TrainConfig(), RECORD, codebook, CALIBRATION, reports, **more)


def test_what_the_model_was_made_from(report: Report) -> None:
    text = card({"validation": report})
    assert text.startswith(
        "# minilm reader of human_rights, military_tension, diplomacy; engagement, pressure, mixed, n"
    )
    assert "| trained on | 12,345 | 678 | 20,001 | `abababababababab…` |" in text
    assert "| chosen and calibrated on | 90 | 7 | 150 | `cdcdcdcdcdcdcdcd…` |" in text
    assert "all-MiniLM-L6-v2 (licence Apache-2.0, weights SHA-256 `53aa511700000000`)" in text
    assert f"Codebook version 1.0, hash `{BOOK.hash[:16]}`. Seed 13. Versions: python 3.11.7, torch 2.13.0." in text


def test_every_figure_stands_with_its_interval_and_support(report: Report) -> None:
    rows = card({"validation": report, "corpus": report}).splitlines()
    assert "| figure | validation | corpus |" in rows
    assert "| paragraphs (documents) | 2 (2) | 2 (2) |" in rows
    (headline,) = (row for row in rows if row.startswith("| voice+stance F1 |"))
    assert re.fullmatch(r"\| voice\+stance F1 (\| 0\.667 \[\d\.\d{3}, \d\.\d{3}\] \(2\) ){2}\|", headline)
    (ece,) = (row for row in rows if row.startswith("| ECE topics |"))
    assert ece.endswith("(6) |")
    assert any(
        re.match(r"\| corpus \| diplomacy \| 1\.000 .*\(2\) \| 0\.500 .*\(2\) \| 0\.667 .*\(2\) \|", r) for r in rows
    )
    assert any(row.startswith("| corpus | human_rights | - | - | - |") for row in rows)  # in neither gold nor found


def test_what_a_user_must_know(report: Report) -> None:
    text = card({"validation": report})
    assert "large language model" in text
    assert "no human coder has checked them" in text
    assert "## Limits" in text
    assert "It reads English." in text
    assert "**Not for**: judging persons" in text
    assert "column `validation`, which is therefore somewhat too good" in text


def test_thresholds_and_temperatures(report: Report) -> None:
    text = card({"validation": report})
    assert "Topics: human_rights 0.400, military_tension 0.500, diplomacy 0.500. Voices 0.300, narrator 0.600." in text
    assert "topics 1.000, voices 1.000, narrator 1.000, stance 1.250." in text


def test_no_folder_of_the_machine(report: Report, tmp_path: Path) -> None:
    (tmp_path / "my-bert").mkdir()
    config = TrainConfig(
        encoder=str(tmp_path / "my-bert"),
        codebook=str(tmp_path / "book.yaml"),
        output=str(tmp_path / "runs"),
        start=str(tmp_path / "earlier"),
        data=DataConfig(
            files=(str(tmp_path / "corpus") + "/",),
            target=(str(tmp_path / "real.jsonl"),),
            soft=(str(tmp_path / "pool"),),
        ),
    )
    text = card({"validation": report}, config)
    assert str(tmp_path) not in text
    assert text.startswith("# my-bert reader of")
    recipe = text.partition("```yaml\n")[2].removesuffix("```\n")
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    read = load_config(tmp_path / "recipe.yaml")
    assert (read.encoder, read.codebook, read.start, read.output) == ("my-bert", "book.yaml", "earlier", "run")
    assert read.data == DataConfig(files=("corpus",), target=("real.jsonl",), soft=("pool",))
    assert read.training == config.training


def test_which_files_were_learned_from(report: Report) -> None:
    def said(**data: Any) -> str:
        return card({"validation": report}, TrainConfig(data=DataConfig(**data)))

    assert "Labelled files: `corpus`, `contrast`." in said(files=("training/corpus", "training/corpus/contrast"))
    assert "Labelled files: `mine.csv`." in said(target="mine.csv")
    both = said(files="training/corpus", target="real.jsonl")
    assert "Labelled files: `corpus`; and, as the kind of text that the model is for, `real.jsonl`." in both


def test_what_was_learned_from_other_models(report: Report) -> None:
    assert "soft labels" not in card({"validation": report})
    soft = {"paragraphs": 36000, "unlabelled": 19595, "sha256": "ef" * 32}

    def said(**record: Any) -> str:
        return model_card(TrainConfig(), RECORD | record, BOOK, CALIBRATION, {"validation": report})

    text = said(soft=soft, start="01" * 32)
    assert "gave to 36,000 paragraphs, 19,595 of which have no other label." in text
    assert "SHA-256 of the soft labels: `efefefefefefefef…`.\n" in text
    assert "went on from the weights of an earlier model, SHA-256 `0101010101010101…`." in text
    text = said(soft=soft | {"teachers": ["23" * 32, "45" * 32]})
    assert "of the teachers' manifests: `2323232323232323…`, `4545454545454545…`." in text


def test_figures_by_group(report: Report) -> None:
    large = replace(report, paragraphs=20)
    groups = {
        "realdev": {
            "style": {"op|ed": replace(report, paragraphs=1234), "news": large, "un": replace(report, paragraphs=19)},
            "region": {"iran": report, "none": report},
        },
        "corpus": {"style": {"wire": large}},
    }
    text = card({"validation": report}, groups=groups)
    head = "| style | paragraphs | topics macro-F1 | voices F1 | voice+stance F1 | paragraph stance macro-F1 |"
    assert text.count(head) == 2
    rows = text.splitlines()
    first = next(row for row in rows if row.startswith("| op"))
    assert re.fullmatch(r"\| op\\\|ed \| 1,234 \| 0\.667 \[.{12}\] \| 0\.667 \[.{12}\] \| 0\.667 .*\|", first)
    assert "| un |" not in text
    assert (
        "By style, on `realdev`. Groups of fewer than 20 paragraphs are left out: 1, with 19 paragraphs together."
        in rows
    )
    assert (
        "By region, on `realdev`. Groups of fewer than 20 paragraphs are left out: 2, with 4 paragraphs together."
        in rows
    )
    assert "By style, on `corpus`." in rows
    assert "| region |" not in text


def test_robustness(report: Report) -> None:
    assert "## Robustness" not in card({"validation": report})
    scores = SuiteScores(
        30, Figure(0.6, 0.423, 0.754, 30), Figure(0.5, 0.331, 0.669, 30), Figure(0.1, 0.035, 0.256, 30)
    )
    suite = SuiteReport({"irony": scores}, scores)
    swaps = SwapReport(1725, 2648, {"countries": SwapCount(1000, 1500, 45), "persons": SwapCount(0, 0, 0)})
    text = card({"validation": report}, suite=suite, swaps=swaps)
    assert text.count("## Robustness") == 1
    rows = text.splitlines()
    assert "| irony | 30 | 0.600 [0.423, 0.754] | 0.500 [0.331, 0.669] | 0.100 [0.035, 0.256] |" in rows
    assert "| all | 30 | 0.600 [0.423, 0.754] | 0.500 [0.331, 0.669] | 0.100 [0.035, 0.256] |" in rows
    assert "1,725 paragraphs with 2,648 voices of `validation`" in text
    assert "| countries | 1,000 | 1,500 | 45 | 0.030 [0.022, 0.040] | 0.017 |" in rows
    assert "| persons | 0 | 0 | 0 | - | 0.000 |" in rows
    assert "## Robustness" in card({"validation": report}, swaps=swaps)


def test_speed_and_what_it_gets_wrong(report: Report) -> None:
    speed = Speed(256, 25600, 81.25, 1.043, 3, "cpu", 2)
    text = card({"validation": report}, speed=speed, wrong="\n- Irony: “of course”.\n\n")
    assert "81.2 paragraphs a second on 2 CPU threads, from texts to tags (256 paragraphs of 100 tokens on" in text
    assert "1.04 times as long as the forward pass of the bare encoder" in text
    assert "\n\n## What it gets wrong\n\n- Irony: “of course”.\n\n## Limits\n\n" in text
    assert "## What it gets wrong" not in card({"validation": report})


def test_weights_of_stances(report: Report) -> None:
    assert "times weight" not in card({"validation": report})
    weighed = replace(CALIBRATION, stance_weights={"mixed": 1.5, "pressure": 0.8})
    text = model_card(TrainConfig(), RECORD, BOOK, weighed, {"validation": report})
    assert "probability times weight: engagement 1.000, pressure 0.800, mixed 1.500, neutral 1.000." in text


def test_other_codebooks(report: Report) -> None:
    text = card({"validation": replace(report, topics=None)}, codebook=Codebook("2", (), BOOK.poles, BOOK.stances))
    assert text.startswith("# minilm reader of engagement, pressure, mixed, neutral\n")
    assert "By topic" not in text
    text = card({"validation": report}, codebook=Codebook("2", (Label("sport"),), (), ()))
    assert text.startswith("# minilm reader of sport\n")
    unknown = RECORD | {"encoder": {"name": "mine", "sha256": None, "licence": None}}
    assert "Encoder: mine (licence unknown, weights SHA-256 `unknown`)" in model_card(
        TrainConfig(), unknown, BOOK, CALIBRATION, {}
    )


def test_names(tmp_path: Path) -> None:
    assert source_name("/data/real/") == "real"
    assert source_name("C:\\data\\real.jsonl") == "real.jsonl"
    assert source_name("corpus") == "corpus"
    assert encoder_name("org/model") == "org/model"
    assert encoder_name(f"{tmp_path}/") == tmp_path.name
