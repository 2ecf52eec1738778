"""The committed labelled data: whole, clean, split by document. Counts are literal: no change goes unseen."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detente.codebook import Codebook
from detente_training.labelled import Check, check_labelled

CORPUS = Path(__file__).parents[2] / "training" / "corpus"
STANDOFF = CORPUS / "standoff"
SLICES = {"DW": 425, "EP": 466, "GW": 530, "HN": 372, "KW": 371, "MV": 340, "OP": 431, "ST": 414}


@pytest.fixture(scope="module")
def check() -> Check:
    return check_labelled([CORPUS], Codebook.default())


def standoff(name: str) -> list[dict[str, Any]]:
    lines = (STANDOFF / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def counts(check: Check, group: str) -> dict[str, tuple[int, int]]:
    """value -> documents, paragraphs."""
    return {count.value: (count.documents, count.paragraphs) for count in check.counts if count.group == group}


def test_the_corpus_has_no_mistake(check: Check) -> None:
    assert [str(problem) for problem in (*check.errors, *check.warnings)] == []
    assert len(check.paragraphs) == 3349


def test_everything_is_labelled_and_described(check: Check) -> None:
    for paragraph in check.paragraphs:
        assert paragraph.topics is not None
        assert paragraph.voices is not None
        assert paragraph.narrator_labelled
        assert paragraph.title
        assert paragraph.style
        assert paragraph.region
        assert re.fullmatch(r"\d{4}", paragraph.year or "")
        assert paragraph.id.startswith(f"{paragraph.document}-")


def test_slices(check: Check) -> None:
    found = {Path(file).stem: paragraphs for file, (_, paragraphs) in counts(check, "file").items()}
    assert found == SLICES
    assert all(paragraph.document[:2] in SLICES for paragraph in check.paragraphs)


def test_labels(check: Check) -> None:
    assert {topic: n for topic, (_, n) in counts(check, "topic").items()} == {
        "human_rights": 971,
        "military_tension": 947,
        "diplomacy": 1902,
        "none": 523,
    }
    assert {stance: n for stance, (_, n) in counts(check, "narrator").items()} == {
        "engagement": 155,
        "pressure": 133,
        "mixed": 62,
        "neutral": 116,
        "none": 2883,
    }
    assert {count.value: count.voices for count in check.counts if count.group == "stance"} == {
        "engagement": 1089,
        "pressure": 1164,
        "mixed": 368,
        "neutral": 1494,
        "none": 0,
    }


def test_the_split_is_by_document_and_reaches_every_slice_style_and_region(check: Check) -> None:
    splits: dict[str, set[str | None]] = {}
    for paragraph in check.paragraphs:
        splits.setdefault(paragraph.document, set()).add(paragraph.split)
    assert {len(found) for found in splits.values()} == {1}
    assert counts(check, "split") == {"train": (500, 2345), "validation": (72, 335), "test": (143, 669)}
    for split in ("train", "validation", "test"):
        members = [paragraph for paragraph in check.paragraphs if paragraph.split == split]
        assert len({paragraph.document[:2] for paragraph in members}) == 8
        assert len({paragraph.style for paragraph in members}) == 13
        assert len({paragraph.region for paragraph in members}) == 23


@pytest.mark.parametrize(
    ("name", "records", "documents"), [("realtrain.jsonl", 17268, 4208), ("realdev.jsonl", 369, 64)]
)
def test_standoff_files_hold_labels_and_no_text(name: str, records: int, documents: int) -> None:
    data = standoff(name)
    assert (len(data), len({record["document"] for record in data})) == (records, documents)
    assert len({record["id"] for record in data}) == len({record["sha1"] for record in data}) == records
    book = Codebook.default()
    for record in data:
        assert list(record) == [
            *("id", "document", "source", "region", "style", "licence", "sha1", "length", "split"),
            *("topics", "narrator", "voices"),
        ]
        assert re.fullmatch(r"[0-9a-f]{40}", record["sha1"])
        assert record["licence"]
        assert set(record["topics"]) <= set(book.topic_names)
        assert record["narrator"] in (None, *book.stance_names)
        end = 0
        for voice in record["voices"]:
            assert list(voice) == ["start", "end", "stance"]
            assert end <= voice["start"] < voice["end"] <= record["length"]
            assert voice["stance"] in book.stance_names
            end = voice["end"]


def test_a_tenth_of_realtrain_is_held_out_by_document() -> None:
    held = (STANDOFF / "heldout.txt").read_text(encoding="utf-8").split()
    data = standoff("realtrain.jsonl")
    assert (len(held), held) == (415, sorted(set(held)))
    assert {record["document"] for record in data if record["split"] == "validation"} == set(held)
    assert {record["document"] for record in data if record["split"] == "train"}.isdisjoint(held)
    assert sum(record["split"] == "validation" for record in data) == 1725
    assert Counter(record["split"] for record in data) == {"train": 15495, "validation": 1725, "test": 48}


def test_realdev_is_for_testing_alone() -> None:
    data, train = standoff("realdev.jsonl"), standoff("realtrain.jsonl")
    assert {record["split"] for record in data} == {"test"}
    for key in ("document", "id", "sha1"):
        assert {record[key] for record in data}.isdisjoint(record[key] for record in train)


def test_the_datasheet_says_who_labelled_and_counts_right(check: Check) -> None:
    sheet = (CORPUS / "DATASHEET.md").read_text(encoding="utf-8")
    flat = " ".join(sheet.split())
    assert "No human coder has checked any of them." in flat
    assert "produced by a large language model" in flat
    for style, (documents, paragraphs) in counts(check, "style").items():
        assert f"| {style} | {documents:,} | {paragraphs:,} |" in sheet
    for stance in Codebook.default().stance_names:
        number = next(c.voices for c in check.counts if (c.group, c.value) == ("stance", stance))
        assert re.search(rf"\| `{stance}` \|.*\| {number:,} \|", sheet)
