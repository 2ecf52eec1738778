"""A tiny encoder, a small labelled corpus, and a model trained on it once for all tests that need one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detente_training.annotation import LabelledParagraph, LabelledVoice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detente_training.config import TrainConfig

Mark = Callable[..., LabelledParagraph]
STANCES = {"e": "engagement", "p": "pressure", "m": "mixed", "n": "neutral"}
WORDS = """the a in on of to and must said say that drills talks sanctions go stay while hotline open fleet sailed
harvest rice was poor this year who will pay for more envoys ? . , " minister envoy king Varga Okoro Lindt Petrov"""
SENTENCES = (
    ("{{e|%s}} said talks must go on.", ["diplomacy"], None),
    ("{{p|%s}} said sanctions must stay.", ["diplomacy"], None),
    ("{{m|%s}} said drills must go on while the hotline stays open.", ["military_tension", "diplomacy"], None),
    ("The rice harvest was poor, {{n|%s}} said.", [], None),
    ("The fleet of %s sailed on Monday.", ["military_tension"], None),
    ("Who will pay for more envoys to %s?", ["diplomacy"], "p"),
)
SPEAKERS = ("the minister", "the envoy", "Varga", "Okoro", "the king", "Lindt", "Petrov", "a reporter")
DOCUMENT_SPLITS = ("train", "train", "validation", "train", "train", "test", "train", "validation")


def marked(text: str, identifier: str = "a-0", **fields: Any) -> LabelledParagraph:
    """A labelled paragraph from the codebook's markup: in "{{e|Varga}} said" the voice Varga favours engagement."""
    plain, voices, last = "", [], 0
    for match in re.finditer(r"\{\{([epmn])\|(.*?)\}\}", text):
        plain += text[last : match.start()]
        voices.append(LabelledVoice(len(plain), len(plain) + len(match[2]), STANCES[match[1]]))
        plain += match[2]
        last = match.end()
    plain += text[last:]
    known = {"document": identifier.split("-")[0], "topics": (), "narrator": None, "narrator_labelled": True}
    return LabelledParagraph(id=identifier, text=plain, **{**known, "voices": tuple(voices), **fields})


@pytest.fixture(scope="session")
def mark() -> Mark:
    return marked


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """WordPiece over whole lower-case words where it knows them, else letter by letter."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS.lower().split())]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789'-:;!"
    pieces += [p for letter in letters for p in (letter, f"##{letter}") if p not in pieces]
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerBase) -> Path:
    """The folder of a random BERT of two layers that reads at most 64 tokens."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoders") / "tiny-bert"
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus() -> list[LabelledParagraph]:
    """48 paragraphs of 8 documents, split by document: 5 train, 2 validation, 1 test."""
    made = []
    for number, split in enumerate(DOCUMENT_SPLITS):
        for row, (sentence, topics, narrator) in enumerate(SENTENCES):
            speaker = SPEAKERS[(number + row) % len(SPEAKERS)]
            text = sentence % (speaker[0].upper() + speaker[1:] if sentence.startswith("{") else speaker)
            made.append(
                marked(
                    text,
                    f"d{number}-{row}",
                    topics=tuple(topics),
                    narrator=STANCES.get(narrator or ""),
                    split=split,
                    style="news" if number % 2 else "oped",
                )
            )
    return made


def write_records(path: Path, records: Iterable[LabelledParagraph | dict[str, Any]]) -> Path:
    rows = [r.to_dict() if isinstance(r, LabelledParagraph) else r for r in records]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Iterable[Any]], Path]:
    """Writes labelled paragraphs, or plain records, to a JSONL file."""
    return write_records


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory, corpus: list[LabelledParagraph]) -> Path:
    return write_records(tmp_path_factory.mktemp("data") / "tiny.jsonl", corpus)


@pytest.fixture(scope="session")
def tiny_config(tiny_encoder: Path, corpus_file: Path) -> Callable[..., TrainConfig]:
    """A configuration of the tiny encoder on the tiny corpus, with `--set` texts laid over it."""

    def made(*sets: str, data: Path | None = None) -> TrainConfig:
        from detente_training.config import load_config

        base = (
            f"encoder={tiny_encoder}",
            "model.window_tokens=48",
            "model.overlap_tokens=12",
            "training.epochs=2",
            "training.batch_size=6",
            "training.learning_rate=2e-3",
            "training.head_learning_rate=1e-2",
            "training.bf16=false",
            "training.threads=1",
        )
        return load_config(None, [*base, *sets], [str(data or corpus_file)])

    return made


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[..., TrainConfig]) -> Path:
    """The run folder of a model that was trained until it reads the tiny corpus well."""
    from detente_training.train import train

    folder = tmp_path_factory.mktemp("runs") / "trained"
    sets = ("epochs=12", "batch_size=2", "learning_rate=5e-3", "early_stopping_patience=0")
    train(tiny_config(*(f"training.{text}" for text in sets)), folder)
    return folder
