"""Whole runs on a tiny encoder: what is written, what is refused, and data, codebooks and encoders of other kinds."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from detente.adapter import LoraShape, add_adapters
from detente.bundle import check_bundle, load_bundle
from detente.codebook import Codebook
from detente.documents import Paragraph
from detente.encoders import resolve_encoder
from detente.errors import BundleError, ConfigError, DataError, DetenteError, MissingExtraError
from detente.tagger import Tagger
from detente_training.annotation import LabelledParagraph
from detente_training.distil import distil
from detente_training.run_folder import last_checkpoint
from detente_training.soft_labels import SoftLabels, read_soft_labels, write_soft_labels
from detente_training.train import make_trainer, new_model, start_from, train, use_bfloat16
from detente_training.training_data import load_data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from detente.network import DetenteModel
    from detente_training.config import TrainConfig

Config = Callable[..., "TrainConfig"]
Write = Callable[[Path, Iterable[Any]], Path]
Mark = Callable[..., LabelledParagraph]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def epochs(folder: Path) -> list[dict[str, Any]]:
    """The log's validation entries."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if "eval_mean" in entry]


def test_a_run_ends_in_a_bundle(trained: Path, corpus: list[LabelledParagraph]) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [
        "bundle", "checkpoints", "config.yaml", "log.jsonl", "run.json",
    ]  # fmt: skip
    bundle = load_bundle(trained / "bundle")
    assert not [p for p in (trained / "bundle").iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert bundle.codebook == Codebook.default()
    assert (bundle.model.config.window_tokens, bundle.model.config.overlap_tokens) == (48, 12)
    assert set(bundle.calibration.topic_thresholds) == {"human_rights", "military_tension", "diplomacy"}
    metrics = json.loads((trained / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["validation", "tiny.jsonl"]
    assert (metrics["validation"]["paragraphs"], metrics["tiny.jsonl"]["paragraphs"]) == (12, 6)
    assert metrics["tiny.jsonl"]["voices"]["with_stance"]["f1"]["support"] == 5
    card = (trained / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "| figure | validation | tiny.jsonl |" in card
    assert len(epochs(trained)) == 12


def test_the_bundle_tags(trained: Path) -> None:
    (tags,) = Tagger.from_pretrained(trained, device="cpu").tag_paragraphs(["The king said sanctions must stay."])
    assert tags.topics == ("diplomacy",)
    assert [voice.mention for voice in tags.voices] == ["The king"]


def test_what_it_was_made_from_is_written_down(trained: Path, corpus: list[LabelledParagraph]) -> None:
    record = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    assert check_bundle(trained / "bundle")["made_from"] == record
    assert record["codebook"] == Codebook.default().hash
    assert record["seed"] == 13
    assert record["encoder"]["name"] == "tiny-bert"
    assert len(record["encoder"]["sha256"]) == 64
    assert {k: record["train"][k] for k in ("paragraphs", "documents", "voices")} == {
        "paragraphs": 30,
        "documents": 5,
        "voices": 25,
    }
    assert record["validation"]["paragraphs"] == 12
    assert record["train"]["sha256"] != record["validation"]["sha256"]
    assert {"python", "detente", "torch", "transformers"} <= set(record["versions"])


def test_the_bundle_holds_no_folder_of_the_machine(trained: Path, tiny_encoder: Path, corpus_file: Path) -> None:
    for path in (trained / "bundle").iterdir():
        content = path.read_bytes()
        for folder in (trained, tiny_encoder.parent, corpus_file.parent, Path.home()):
            assert str(folder).encode() not in content, path.name


def test_the_best_epoch_is_kept_and_not_the_last(tiny_config: Config, tmp_path: Path) -> None:
    # every further step destroys: the rate is far too high and the first epoch is the best
    sets = ("training.epochs=4", "training.learning_rate=0.9", "training.head_learning_rate=0.9")
    bundle = train(tiny_config(*sets, "training.early_stopping_patience=0"), tmp_path / "run", console=quiet())
    figures = [entry["eval_mean"] for entry in epochs(tmp_path / "run")]
    best = epochs(tmp_path / "run")[figures.index(max(figures))]["step"]
    assert best < epochs(tmp_path / "run")[-1]["step"]
    saved = load_file(bundle / "model.safetensors")
    kept = load_file(tmp_path / "run" / "checkpoints" / f"checkpoint-{best}" / "model.safetensors")
    assert all((kept[name].half() == saved[name]).all() for name in kept)
    assert set(kept) == set(saved)


def test_early_stopping(tiny_config: Config, tmp_path: Path) -> None:
    still = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12", "training.epochs=9")
    train(tiny_config(*still, "training.early_stopping_patience=2"), tmp_path / "run", console=quiet())
    assert [entry["epoch"] for entry in epochs(tmp_path / "run")] == [1, 2, 3]  # the first was the best, then two


def test_a_second_run_does_not_overwrite_the_first(trained: Path, tiny_config: Config) -> None:
    before = (trained / "run.json").read_bytes()
    with pytest.raises(DetenteError, match=r"holds a run already; go on with it by --resume, or name another folder"):
        train(tiny_config(), trained, console=quiet())
    with pytest.raises(DetenteError, match=r"made from something else \(configuration changed\); restore it to resume"):
        train(tiny_config(), trained, resume=True, console=quiet())
    assert (trained / "run.json").read_bytes() == before


def test_other_data_or_another_encoder_do_not_resume(
    tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path
) -> None:
    data = write(tmp_path / "mine.jsonl", corpus)
    config = tiny_config("training.epochs=1", data=data)
    train(config, tmp_path / "run", console=quiet())
    write(data, [replace(corpus[0], topics=()), *corpus[1:]])
    with pytest.raises(DetenteError, match=r"made from something else \(train changed\)"):
        train(config, tmp_path / "run", resume=True, console=quiet())
    write(data, [p for p in corpus if p.id != "d2-0"])
    with pytest.raises(DetenteError, match=r"made from something else \(validation changed\)"):
        train(config, tmp_path / "run", resume=True, console=quiet())
    write(data, corpus)
    with pytest.raises(DetenteError, match=r"\(configuration, seed changed\)"):
        train(config.model_copy(update={"seed": 1}), tmp_path / "run", resume=True, console=quiet())


def test_a_finished_run_is_left_alone(trained: Path, tiny_config: Config) -> None:
    sets = ("epochs=12", "batch_size=2", "learning_rate=5e-3", "early_stopping_patience=0")
    config, console = tiny_config(*(f"training.{text}" for text in sets)), quiet()
    assert train(config, trained, resume=True, console=console) == trained / "bundle"
    assert "this run is finished" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_folder_that_cannot_be_written(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DetenteError, match=r"cannot write the run folder .*file"):
        train(tiny_config(), tmp_path / "file", console=quiet())


# --- data of other kinds ----------------------------------------------------------------------------------------------


def test_data_without_splits(tiny_config: Config, mark: Mark, write: Write, tmp_path: Path) -> None:
    records = [
        mark("{{e|Varga}} said talks must go on." if n % 2 else "Rice was poor.", f"doc{n}-0") for n in range(40)
    ]
    data = load_data(tiny_config(data=write(tmp_path / "mine.jsonl", records)), Codebook.default())
    assert len(data.train) + len(data.validation) == 40
    assert 1 <= len(data.validation) <= 8
    assert data.tests == {}
    again = load_data(tiny_config(data=write(tmp_path / "half.jsonl", records[20:])), Codebook.default())
    assert {p.id for p in again.validation} == {
        p.id for p in data.validation if p in records[20:] or int(p.id[3:-2]) >= 20
    }
    bundle = train(tiny_config("training.epochs=1", data=tmp_path / "mine.jsonl"), tmp_path / "run", console=quiet())
    assert list(json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))) == ["validation"]


def test_too_little_data_says_what_there_is(tiny_config: Config, mark: Mark, write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [mark("Rice was poor.", split="train")])
    with pytest.raises(
        DataError, match=r"have \{'train': 1, 'validation': 0, 'test': 0\}\. Add more documents, or name"
    ):
        train(tiny_config(data=path), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_the_target_decides_and_the_rest_only_trains(
    tiny_config: Config, corpus: list[LabelledParagraph], mark: Mark, write: Write, tmp_path: Path
) -> None:
    files = write(tmp_path / "files.jsonl", corpus)
    target = write(
        tmp_path / "target.jsonl",
        [mark("Rice was poor.", f"t{n}-0", split=s) for n, s in enumerate(("train", "validation", "test"))],
    )
    config = tiny_config(f"data.files=[{files}]", data=target)
    data = load_data(config, Codebook.default())
    assert len(data.train) == 31
    assert [p.id for p in data.validation] == ["t1-0"]
    assert {name: len(found) for name, found in data.tests.items()} == {"files.jsonl": 6, "target.jsonl": 1}
    fewer = config.model_copy(update={"data": config.data.model_copy(update={"max_paragraphs": 10})})
    drawn = load_data(fewer, Codebook.default())
    assert len(drawn.train) == 10
    assert drawn == load_data(fewer, Codebook.default())
    assert set(drawn.train) < set(data.train)
    assert drawn.validation == data.validation


def test_test_sets_of_one_name_are_kept_apart(
    tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path
) -> None:
    paths = []
    for folder in ("a", "b", "validation"):
        (tmp_path / folder).mkdir()
        records = [replace(p, id=f"{folder}-{p.id}", document=f"{folder}-{p.document}") for p in corpus]
        paths.append(write(tmp_path / folder / "mine.jsonl", records))
    paths[2] = paths[2].parent  # a folder with the name of the column that checkpoints are chosen by
    config = tiny_config(f"data.files=[{', '.join(map(str, paths))}]")
    config = config.model_copy(update={"data": config.data.model_copy(update={"target": ()})})
    tests = load_data(config, Codebook.default()).tests
    assert {name: {p.id.partition("-")[0] for p in found} for name, found in tests.items()} == {
        "mine.jsonl": {"a"},
        "mine.jsonl (2)": {"b"},
        "validation (2)": {"validation"},
    }


def test_topics_alone(tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path) -> None:
    records = [replace(p, voices=None, narrator=None, narrator_labelled=False) for p in corpus]
    path = write(tmp_path / "topics.jsonl", records)
    bundle = train(tiny_config(data=path), tmp_path / "run", console=quiet())
    metrics = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["voices"] is None
    assert metrics["validation"]["topics"]["macro"]["f1"]["support"] == 12
    assert load_bundle(bundle).calibration.voice_threshold == 0.5
    with pytest.raises(
        ConfigError, match=r"`training\.select_by` is voice_stance_f1, but no validation .* mean, topics_f1"
    ):
        train(tiny_config("training.select_by=voice_stance_f1", data=path), tmp_path / "other", console=quiet())


def test_no_label_at_all(tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path) -> None:
    nothing = {"voices": None, "narrator": None, "narrator_labelled": False, "topics": None}
    path = write(tmp_path / "unlabelled.jsonl", [replace(p, **nothing) for p in corpus])
    with pytest.raises(ConfigError, match="no validation paragraph has the labels for it; label some of them"):
        train(tiny_config(data=path), tmp_path / "run", console=quiet())


CODEBOOKS = {
    "other": """version: mine
topics: [{name: sport}, {name: weather}]
poles: [{name: home}, {name: away}]
stances:
  - {name: home, poles: [home]}
  - {name: away, poles: [away]}
  - {name: both, poles: [home, away]}
  - {name: nobody}
""",
    "exclusive": """version: classes
poles: [{name: joy}, {name: anger}, {name: fear}]
stances: [{name: joyful, poles: [joy]}, {name: angry, poles: [anger]}, {name: afraid, poles: [fear]}, {name: calm}]
""",
    "topics": "version: t\ntopics: [{name: sport}, {name: weather}]\n",
}


def of_codebook(kind: str, corpus: list[LabelledParagraph]) -> list[dict[str, Any]]:
    """The tiny corpus in the labels of another codebook."""
    book = Codebook.default()
    topics = {"military_tension": "sport", "diplomacy": "weather"}
    stances = {
        "other": ("home", "away", "both", "nobody"),
        "exclusive": ("joyful", "angry", "afraid", "calm"),
        "topics": (),
    }[kind]
    names = dict(zip(book.stance_names, stances, strict=False))
    made = []
    for record in (p.to_dict() for p in corpus):
        record["topics"] = [topics[t] for t in record["topics"]]
        if kind == "exclusive":
            del record["topics"]
        if names:
            record["narrator"] = names.get(record["narrator"] or "")
            record["voices"] = [v | {"stance": names[v["stance"]]} for v in record["voices"]]
        else:
            del record["narrator"], record["voices"]
        made.append(record)
    return made


@pytest.mark.parametrize("kind", list(CODEBOOKS))
def test_another_codebook(
    tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path, kind: str
) -> None:
    book = tmp_path / "book.yaml"
    book.write_text(CODEBOOKS[kind], encoding="utf-8")
    data = write(tmp_path / "mine.jsonl", of_codebook(kind, corpus))
    config = tiny_config("training.epochs=8", f"codebook={book}", "training.early_stopping_patience=0", data=data)
    folder = train(config, tmp_path / "run", console=quiet())
    tagger = Tagger.from_pretrained(folder, device="cpu")
    assert tagger.codebook == Codebook.from_yaml(book)
    (tags,) = tagger.tag_paragraphs(["Varga said talks must go on."])
    assert set(tags.topic_probabilities) == set(tagger.codebook.topic_names)
    assert set(tags.stance_probabilities) == set(tagger.codebook.stance_names)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if kind == "exclusive":
        assert metrics["validation"]["topics"] is None
        assert metrics["validation"]["stance"]["confusion"]["rows"] == ["joyful", "angry", "afraid", "calm"]
        assert tags.lean is None  # three poles have no one direction
    else:
        assert metrics["validation"]["topics"]["macro"]["f1"]["value"] > 0.5
    if kind == "topics":
        assert (tags.voices, tags.stance, tags.lean) == ((), None, None)


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_lora_is_merged_into_a_whole_bundle(
    tiny_config: Config, tiny_encoder: Path, trained: Path, tmp_path: Path
) -> None:
    bundle = train(tiny_config("training.epochs=2", "lora.rank=4", "lora.alpha=8"), tmp_path / "run", console=quiet())
    weights = load_file(bundle / "model.safetensors")
    assert set(weights) == set(load_file(trained / "bundle" / "model.safetensors"))
    before = load_file(tiny_encoder / "model.safetensors")
    changed = {
        n for n, w in before.items() if not n.startswith("pooler") and (weights[f"encoder.{n}"] != w.half()).any()
    }
    assert changed  # what LoRA adds to
    assert all(name.endswith("weight") for name in changed)
    assert not any("embeddings" in name or "LayerNorm" in name for name in changed)
    Tagger.from_pretrained(bundle, device="cpu").tag_paragraphs(["Varga said talks must go on."])


@pytest.mark.parametrize("kind", ["modernbert", "deberta-v2", "mpnet"])
def test_other_encoders(
    networks: Callable[[str], DetenteModel],
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
    tiny_config: Config,
    tmp_path: Path,
    kind: str,
) -> None:
    networks(kind).encoder.save_pretrained(tmp_path / kind)
    tokenizers(kind).save_pretrained(tmp_path / kind)
    config = tiny_config(f"encoder={tmp_path / kind}", "training.epochs=1", "model.head_dropout=0")
    bundle = train(config, tmp_path / "run", console=quiet())
    best = load_file(Path(str(last_checkpoint(tmp_path / "run"))) / "model.safetensors")
    assert all((best[n].half() == w).all() for n, w in load_file(bundle / "model.safetensors").items())
    loaded = load_bundle(bundle)
    start = load_file(tmp_path / kind / "model.safetensors")
    assert any(
        (loaded.model.state_dict()[f"encoder.{n}"] != w.half()).any() for n, w in start.items() if "pooler" not in n
    )
    tags = Tagger.from_bundle(loaded, device="cpu").tag_paragraphs(["Varga said talks must go on. " * 30])
    assert "windowed" in tags[0].flags


@pytest.mark.parametrize(
    ("encoder", "window", "limit"),
    [("bert", 72, 64), ("mpnet", 513, 512), ("xlm-roberta", 514, 512)],
)
def test_a_window_that_the_encoder_cannot_read(
    networks: Callable[[str], DetenteModel],
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
    tiny_config: Config,
    tiny_encoder: Path,
    tmp_path: Path,
    encoder: str,
    window: int,
    limit: int,
) -> None:
    folder = tiny_encoder
    if encoder != "bert":
        folder = tmp_path / encoder
        networks(encoder).encoder.save_pretrained(folder)
        tokenizers(encoder).save_pretrained(folder)
    config = tiny_config(f"encoder={folder}", f"model.window_tokens={window}")
    message = (
        rf"`model\.window_tokens` is {window}, but .* reads at most {limit} tokens; set model\.window_tokens={limit}"
    )
    with pytest.raises(DetenteError, match=message):
        train(config, tmp_path / "run", console=quiet())


def test_bfloat16(tiny_config: Config, tmp_path: Path) -> None:
    bundle = train(tiny_config("training.epochs=1", "training.bf16=true"), tmp_path / "run", console=quiet())
    Tagger.from_pretrained(bundle, device="cpu").tag_paragraphs(["Varga said talks must go on."])
    assert (use_bfloat16(True), use_bfloat16(False)) == (True, False)
    assert use_bfloat16("auto") in (True, False)


def test_tensorboard(tiny_config: Config, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_config("training.tensorboard=true"), tmp_path / "run", console=quiet())
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("eval/mean")] == [5, 10]
    assert [event.value for event in events.Scalars("eval/mean")] == pytest.approx(
        [entry["eval_mean"] for entry in epochs(tmp_path / "run")]
    )


def test_tensorboard_that_is_not_installed(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    with pytest.raises(MissingExtraError, match=r'not installed: pip install "detente\[tensorboard\]"'):
        train(tiny_config("training.tensorboard=true"), tmp_path / "run", console=quiet())


def test_progress_is_told(tiny_config: Config, tmp_path: Path) -> None:
    console = quiet()
    train(tiny_config(), tmp_path / "run", console=console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("training on 30 paragraphs of 5 documents, choosing by 12 of 2 others; run folder")
    assert [line[:20] for line in lines if line.startswith("epoch")] == ["epoch 1  validation ", "epoch 2  validation "]


# --- soft labels


def believed(identifier: str, document: str | None = None, text: str = "Varga said.") -> SoftLabels:
    """What some teacher believes of a paragraph of three words."""
    voices = np.array([(0.75, 0.0), (0.0, 0.0), (0.0, 0.0)], dtype=np.float16)
    stances = np.array([(0.5, 0.25, 0.0, 0.0)], dtype=np.float16)
    topics = np.array((0.0, 0.25, 1.0), dtype=np.float16)
    return SoftLabels(identifier, document or identifier, text, topics, 0.5, voices, ((0, 5),), stances)


def test_nothing_is_learned_of_documents_that_are_kept_out(
    tiny_config: Config, corpus: list[LabelledParagraph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # of the tiny corpus d2 and d7 are validation documents, d5 is a test document
    kept = [
        believed("p-0", "pool"),
        believed("d1:9"),
        believed("d1#9", "another"),
        believed("d25:1"),
        believed("lone"),
        believed("d0-0", "d0", text=corpus[0].text),  # labelled too
    ]
    left_out = [
        believed("p-1", "d2"),
        believed("d2:1"),
        believed("d5#12", "another"),
        believed("d7:1#2", "d7:1#2"),
        believed("d2-0", "pool", text=next(p.text for p in corpus if p.id == "d2-0")),  # labelled as one of d2
    ]
    write_soft_labels(tmp_path / "soft.parquet", kept + left_out, Codebook.default())
    with caplog.at_level("WARNING"):
        data = load_data(tiny_config(f"data.soft={tmp_path / 'soft.parquet'}"), Codebook.default())
    assert caplog.messages == ["5 paragraphs with soft labels are of validation or test documents: left out"]
    assert list(data.soft) == [labels.id for labels in kept]
    assert len(data.labelled) == 30
    assert data.train[:30] == data.labelled
    taught = data.train[30:]
    assert [(p.id, p.document) for p in taught] == [
        ("p-0", "pool"),
        ("d1:9", "d1"),
        ("d1#9", "another"),
        ("d25:1", "d25"),
        ("lone", "lone"),
    ]
    for p in taught:
        assert (p.topics, p.voices, p.narrator, p.narrator_labelled, p.split) == (None, None, None, False, "train")
        assert p.text == "Varga said."


def test_soft_labels_of_another_text_are_refused(tiny_config: Config, tmp_path: Path) -> None:
    write_soft_labels(tmp_path / "soft.parquet", [believed("d0-0", "d0")], Codebook.default())
    with pytest.raises(
        DataError, match="the soft labels of d0-0 were made for another text; run `detente distil` again"
    ):
        load_data(tiny_config(f"data.soft={tmp_path / 'soft.parquet'}"), Codebook.default())


def test_a_run_learns_from_a_teacher(
    trained: Path, tiny_config: Config, corpus: list[LabelledParagraph], write: Write, tmp_path: Path
) -> None:
    # Labels for two documents alone, and none of voices: all that there is of those is what the teacher says.
    pool = [Paragraph(p.text, f"pool:{p.id}", f"pool:{p.id}", 0) for p in corpus if p.document in ("d3", "d4", "d6")]
    pool.append(Paragraph("Talks must go on, Varga said. " * 20, "pool:long", "pool:long", 0))  # of several windows
    known = [Paragraph(p.text, p.id, p.document, 0) for p in corpus if p.document in ("d0", "d2")]
    distil(Tagger.from_pretrained(trained, device="cpu").reader, [*pool, *known], tmp_path / "soft", "teacher")
    unmarked = [replace(p, voices=None) for p in corpus if p.document in ("d0", "d1")]
    few = write(tmp_path / "few.jsonl", [*unmarked, *(p for p in corpus if p.split == "validation")])
    longer = ("epochs=6", "batch_size=2", "learning_rate=5e-3", "early_stopping_patience=0")
    config = tiny_config(f"data.soft={tmp_path / 'soft'}", *(f"training.{text}" for text in longer), data=few)
    console = quiet()
    bundle = train(config, tmp_path / "run", console=console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith("training on 31 paragraphs of 3 documents (12 of them labelled), choosing by 12 of 2 others")
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (record["train"]["paragraphs"], record["soft"]["paragraphs"], record["soft"]["unlabelled"]) == (12, 25, 19)
    assert len(record["soft"]["sha256"]) == 64
    assert max(entry["eval_voices_f1"] for entry in epochs(tmp_path / "run")) > 0.8
    (tags,) = Tagger.from_pretrained(bundle, device="cpu").tag_paragraphs(["The king said sanctions must stay."])
    assert [voice.mention for voice in tags.voices] == ["The king"]
    taught = read_soft_labels([tmp_path / "soft"], Codebook.default())
    rows = [replace(labels, topics=labels.topics * np.float16(0.5)) for labels in taught.values()]
    write_soft_labels(tmp_path / "soft" / "part-00000.parquet", rows, Codebook.default())
    with pytest.raises(DetenteError, match=r"made from something else \(soft changed\)"):
        train(config, tmp_path / "run", resume=True, console=quiet())


# --- where a run starts


STILL = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12", "training.epochs=1")  # changes nothing


def same_weights(bundle: Path, model: DetenteModel) -> bool:
    saved = load_bundle(bundle).model.state_dict()
    return all(torch.allclose(weight, saved[name], atol=2e-3) for name, weight in model.state_dict().items())


def test_a_run_starts_from_a_bundle(trained: Path, tiny_config: Config, tmp_path: Path) -> None:
    bundle = train(tiny_config(*STILL, f"start={trained}"), tmp_path / "run", console=quiet())
    assert same_weights(bundle, load_bundle(trained).model)
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["start"] == check_bundle(trained / "bundle")["files"]["model.safetensors"]
    assert "start" not in json.loads((trained / "run.json").read_text(encoding="utf-8"))


def test_adapters_are_saved_alone_and_gone_on_from(
    tiny_config: Config, tiny_encoder: Path, trained: Path, tmp_path: Path
) -> None:
    lora = ("lora.rank=4", "lora.alpha=8")
    first = train(tiny_config(*lora, "training.epochs=1", "lora.merge=false"), tmp_path / "first", console=quiet())
    assert [path.name for path in first.glob("*.safetensors")] == ["adapter.safetensors"]
    checkpoint = Path(str(last_checkpoint(tmp_path / "first")))
    best = load_file(checkpoint / "model.safetensors")
    saved = load_file(first / "adapter.safetensors")
    assert set(saved) == {name for name in best if not name.startswith("encoder.") or ".lora_" in name}
    assert all(torch.equal(best[name].half(), weight) for name, weight in saved.items())
    loaded = load_bundle(first)  # by the local folder that the configuration named
    assert loaded.model.config.adapter["encoder"] == str(tiny_encoder)
    assert loaded.model.config.adapter["rank"] == 4
    whole = load_bundle(trained).model
    assert set(loaded.model.state_dict()) == set(whole.state_dict())
    elsewhere = Path(shutil.copytree(tiny_encoder, tmp_path / "elsewhere"))
    assert same_weights(first, load_bundle(first, str(elsewhere)).model)
    before = load_file(tiny_encoder / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert (loaded.model.encoder.state_dict()[name] - before[name]).abs().max() > 1e-3  # what was learned is in it
    # a checkpoint, and the bundle of adapters, are gone on from
    for place, file in ((checkpoint, checkpoint / "model.safetensors"), (first, first / "adapter.safetensors")):
        folder = tmp_path / f"from-{place.name}"
        merged = train(tiny_config(*lora, *STILL, f"start={place}"), folder, console=quiet())
        assert [path.name for path in merged.glob("*.safetensors")] == ["model.safetensors"]
        assert load_bundle(merged).model.config.adapter is None
        assert same_weights(merged, loaded.model)
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert record["start"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_start_that_holds_no_weights(tiny_config: Config, tmp_path: Path) -> None:
    for start in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=f"`start`: {start} is neither a bundle nor a checkpoint: it holds no we"):
            train(tiny_config(f"start={start}"), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def built(config: TrainConfig) -> DetenteModel:
    return new_model(config, resolve_encoder(config.encoder), Codebook.default())[0]


def test_a_start_that_does_not_fit(tiny_config: Config, trained: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    whole = trained / "bundle" / "model.safetensors"
    heads_alone = built(tiny_config())
    heads_alone.encoder.requires_grad_(False)
    message = (
        r"`start`: .*model\.safetensors does not fit the network of this configuration: 14 weights are lacking or have "
        r"another shape, topic_head\.weight among them; take the same encoder, adapters and heads"
    )
    with pytest.raises(BundleError, match=message):
        start_from(heads_alone, tiny_encoder / "model.safetensors")
    adapted = built(tiny_config())
    add_adapters(adapted, LoraShape(4, 8, "all-linear"))
    with pytest.raises(BundleError, match=r"lora_A\.default\.weight among them"):
        start_from(adapted, whole)
    plain = built(tiny_config("model.mention_attention=false"))
    with pytest.raises(BundleError, match=r": 1 weights are lacking .*stance_head\.0\.weight among them"):
        start_from(plain, whole)
    start_from(built(tiny_config()), whole)


def test_adapters_start_beside_the_encoders_own_weights(tiny_config: Config, tmp_path: Path) -> None:
    before, model = built(tiny_config()), built(tiny_config())
    add_adapters(model, LoraShape(4, 8, "all-linear"))
    ones = {name: torch.ones_like(weight) for name, weight in model.state_dict().items()}
    save_file(ones, tmp_path / "ones.safetensors")
    start_from(model, tmp_path / "ones.safetensors")
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert (weight == 1).all(), name
    embeddings = "embeddings.word_embeddings.weight"
    kept = model.encoder.base_model.model.state_dict()[embeddings]
    assert torch.equal(kept, before.encoder.state_dict()[embeddings])


# --- schedules and dropout


@pytest.mark.parametrize(("schedule", "after", "end"), [("linear", 0.5, 0.0), ("constant", 1.0, 1.0)])
def test_how_the_rates_go(tiny_config: Config, tmp_path: Path, schedule: str, after: float, end: float) -> None:
    config = tiny_config(f"training.schedule={schedule}", "training.warmup_ratio=0.1")
    model, tokenizer = new_model(config, resolve_encoder(config.encoder), Codebook.default())
    data = load_data(config, Codebook.default())
    trainer = make_trainer(config, model, tokenizer, Codebook.default(), data, tmp_path / "run", quiet())
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    rates = []
    for _ in range(100):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        rates.append(trainer.lr_scheduler.get_last_lr())
    encoder, heads = min(rates[9]), max(rates[9])
    assert (encoder, heads) == pytest.approx((2e-3, 1e-2))  # all the steps of the warm-up are done
    assert max(rates[4]) == pytest.approx(5e-3)
    assert max(rates[54]) == pytest.approx(after * 1e-2)
    assert max(rates[99]) == pytest.approx(end * 1e-2)


@pytest.mark.parametrize(("setting", "expected"), [("null", 0.1), ("0", 0.0), ("0.25", 0.25)])
def test_dropout_between_the_layers(tiny_config: Config, setting: str, expected: float) -> None:
    model = built(tiny_config(f"model.encoder_dropout={setting}", "model.head_dropout=0.5"))
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert rates["encoder.embeddings.dropout"] == expected
    assert rates["encoder.encoder.layer.1.output.dropout"] == expected
    assert rates["encoder.encoder.layer.1.attention.self.dropout"] == 0.0  # off its fast path with any
    assert rates["dropout"] == rates["stance_head.2"] == 0.5


def test_mention_attention_is_asked_for(tiny_config: Config, trained: Path) -> None:
    assert load_bundle(trained).model.config.mention_attention is True
    assert load_bundle(trained).model.mention_attention is not None
    assert built(tiny_config("model.mention_attention=false")).mention_attention is None
