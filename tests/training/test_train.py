"""Whole runs on a tiny encoder: what is written, what is refused, and data, codebooks and encoders of other kinds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from detente.bundle import check_bundle, load_bundle
from detente.codebook import Codebook
from detente.errors import ConfigError, DataError, DetenteError, MissingExtraError
from detente.tagger import Tagger
from detente_training.annotation import LabelledParagraph
from detente_training.train import last_checkpoint, load_data, train, use_bfloat16

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
    from safetensors.torch import load_file

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
    from safetensors.torch import load_file

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
    from safetensors.torch import load_file

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
