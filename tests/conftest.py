"""Tiny tokenizers, networks and bundles, built in memory: random weights, two layers, words of a few sentences."""

from __future__ import annotations

import os

# Set before anything loads these libraries; subprocesses of the tests inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from detente.bundle import Bundle
    from detente.network import DetenteModel
    from detente.tagger import Tagger

KINDS = ("bert", "roberta", "mpnet", "deberta-v2", "modernbert", "xlm-roberta")

SENTENCES = (
    "The envoy urged the government to keep up the pressure, while opposition groups wanted reconciliation.",
    "“Accountability must come first,” said Marzuki Darusman, the U.N. rapporteur.",
    "Pyongyang has denied the abuses but has refused to let inspectors in.",
    "These groups say trade and contact would give the North reasons to open up.",
    "The minister said drills would go on while the hotline stayed open.",
    "Two soldiers were wounded by landmines at the border in August.",
    "Officials hope that talks will resume; nobody spoke of sanctions, missiles or prison camps.",
)
SEED = 21  # with it the tiny BERT finds the narrator and voices of several stances


def _pieces(join: str, start: str) -> list[str]:
    """Characters, short words, and longer words in two pieces: made by hand, for training depends on hash order."""
    words = sorted({word for sentence in SENTENCES for word in sentence.lower().split()})
    pieces = {start + character for word in words for character in word}
    pieces |= {join + character for word in words for character in word}
    pieces |= {start + (word if len(word) < 5 else word[:3]) for word in words}
    pieces |= {join + word[3:] for word in words if len(word) > 4}
    return sorted(pieces - {start, join})


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the make that the real models of this kind have."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bert_names = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
    roberta_names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    names = bert_names if kind in ("bert", "deberta-v2", "modernbert") else roberta_names
    special = list(names.values())
    raw: Any
    if kind in ("bert", "mpnet"):
        vocabulary = {piece: number for number, piece in enumerate((*special, *_pieces("##", "")))}
        raw = Tokenizer(models.WordPiece(vocabulary, unk_token=names["unk"]))
        raw.normalizer = normalizers.BertNormalizer(lowercase=True)
        raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        raw.decoder = decoders.WordPiece()
    elif kind in ("roberta", "modernbert"):
        raw = Tokenizer(models.BPE())
        if kind == "modernbert":
            raw.normalizer = normalizers.NFC()
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        raw.train_from_iterator(SENTENCES, trainer)
    else:
        scored = [(name, 0.0) for name in special] + [("▁", -3.0)]
        scored += [(piece, -4.0 if len(piece) > 2 else -8.0) for piece in _pieces("", "▁")]
        raw = Tokenizer(models.Unigram(scored, unk_id=special.index(names["unk"]), byte_fallback=False))
        raw.normalizer = normalizers.NFKC()
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
    raw.add_special_tokens(special)
    cls, sep = ((names[name], raw.token_to_id(names[name])) for name in ("cls", "sep"))
    if kind == "roberta":
        raw.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    else:
        raw.post_processor = processors.TemplateProcessing(single=f"{cls[0]} $A {sep[0]}", special_tokens=[cls, sep])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **{f"{name}_token": token for name, token in names.items()}, model_max_length=512
    )


def _network(kind: str, tokenizer: PreTrainedTokenizerFast, window: int = 64, overlap: int = 16) -> DetenteModel:
    """A network with random weights, the same at every call."""
    import torch
    from transformers import AutoConfig

    from detente.network import DetenteConfig, DetenteModel

    own: dict[str, Any] = {
        "roberta": {"max_position_embeddings": 514},
        "xlm-roberta": {"max_position_embeddings": 514},
        "mpnet": {"max_position_embeddings": 514},
        "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
        "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},
    }
    tokens = {
        f"{name}_token_id": getattr(tokenizer, f"{role}_token_id")
        for name, role in (("pad", "pad"), ("bos", "cls"), ("eos", "sep"), ("cls", "cls"), ("sep", "sep"))
    }
    encoder = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        **tokens,
        **own.get(kind, {}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = DetenteModel(
            DetenteConfig(encoder=encoder.to_dict(), window_tokens=window, overlap_tokens=overlap)
        ).eval()
        with torch.no_grad():
            for head in (model.topic_head, model.voice_head, *model.stance_head):
                if isinstance(head, torch.nn.Linear):  # as small as they start, all probabilities would be alike
                    head.weight.normal_(std=0.7)
            model.voice_head.bias.copy_(torch.tensor([1.0, -0.5, 0.5]))
    return model


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of encoder in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def tokenizers() -> Callable[[str], PreTrainedTokenizerFast]:
    """kind -> its tokenizer, made once."""
    made: dict[str, PreTrainedTokenizerFast] = {}

    def tokenizer(kind: str) -> PreTrainedTokenizerFast:
        if kind not in made:
            made[kind] = _tokenizer(kind)
        return made[kind]

    return tokenizer


@pytest.fixture(scope="session")
def networks(tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> Callable[[str], DetenteModel]:
    """kind -> a network over an encoder of this kind, made once; not to be changed by a test."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    made: dict[str, DetenteModel] = {}

    def network(kind: str) -> DetenteModel:
        if kind not in made:
            made[kind] = _network(kind, tokenizers(kind))
        return made[kind]

    return network


@pytest.fixture(scope="session")
def make_bundle(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], networks: Callable[[str], DetenteModel]
) -> Callable[[Path], Path]:
    """Saves a tiny bundle (BERT, windows of 64 tokens, fixed weights) to a folder that is not there yet."""
    from detente.bundle import save_bundle
    from detente.calibration import Calibration
    from detente.codebook import Codebook

    def save(folder: Path) -> Path:
        save_bundle(
            folder,
            networks("bert"),
            tokenizers("bert"),
            Codebook.default(),
            Calibration(topic_thresholds={"diplomacy": 0.45}, voice_threshold=0.3, narrator_threshold=0.6),
            metrics={"topics": {"f1": 0.5}},
            card="# A tiny model\n\nIts weights are random.\n",
            record={"encoder": {"name": "tiny-bert"}, "train": {"paragraphs": 7}, "seed": SEED},
        )
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_bundle(make_bundle: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle, shared by all tests: read it, never change it."""
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def loaded_bundle(tiny_bundle: Path) -> Bundle:
    from detente.bundle import load_bundle

    return load_bundle(tiny_bundle)


@pytest.fixture(scope="session")
def tagger(loaded_bundle: Bundle) -> Tagger:
    """A tagger over the tiny bundle, on the CPU."""
    from detente.tagger import Tagger

    return Tagger.from_bundle(loaded_bundle, device="cpu")
