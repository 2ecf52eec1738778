"""The saved folder: whole, checked, and never half there."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from detente.bundle import (
    CALIBRATION,
    CARD,
    CODEBOOK,
    CONFIG,
    MANIFEST,
    METRICS,
    REQUIRED,
    TOKENIZER,
    WEIGHTS,
    check_bundle,
    find_bundle,
    load_bundle,
    save_bundle,
    shipped_models,
)
from detente.calibration import Calibration
from detente.codebook import Codebook
from detente.errors import BundleError
from detente.network import DetenteModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from detente.bundle import Bundle


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def edit(path: Path, change: Callable[[Any], Any], *, manifest: bool = True) -> None:
    """Changes a JSON file of a bundle and, so that it counts as whole, its hash in the manifest."""
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(data) or data), encoding="utf-8")
    if manifest:
        rehash(path)


def rehash(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(path.parent / MANIFEST, lambda m: m["files"].update({path.name: digest}), manifest=False)


# --- what is saved is what is loaded


def test_a_bundle_is_a_folder_of_plain_files(tiny_bundle: Path) -> None:
    names = {path.name for path in tiny_bundle.iterdir()}
    assert names >= {CONFIG, WEIGHTS, TOKENIZER, CODEBOOK, CALIBRATION, METRICS, CARD, MANIFEST}
    assert [name for name in names if name.endswith(".safetensors")] == [WEIGHTS]
    assert {weight.dtype for weight in load_file(tiny_bundle / WEIGHTS).values()} == {torch.float16}
    manifest = json.loads((tiny_bundle / MANIFEST).read_text(encoding="utf-8"))
    assert set(manifest["files"]) == names - {MANIFEST}
    assert manifest["format"] == 1
    assert manifest["codebook"] == Codebook.default().hash
    assert manifest["made_from"]["encoder"] == {"name": "tiny-bert"}


def test_a_loaded_bundle_is_the_one_that_was_saved(
    loaded_bundle: Bundle,
    networks: Callable[[str], DetenteModel],
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    saved = networks("bert").state_dict()
    loaded = loaded_bundle.model.state_dict()
    assert set(loaded) == set(saved)
    for name, weight in loaded.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, saved[name].half().float()), name
    assert loaded_bundle.codebook == Codebook.default()
    assert loaded_bundle.calibration == Calibration(
        topic_thresholds={"diplomacy": 0.45}, voice_threshold=0.3, narrator_threshold=0.6
    )
    text = "“Accountability must come first,” said Marzuki Darusman. [SEP]"
    assert loaded_bundle.tokenizer(text)["input_ids"] == tokenizers("bert")(text)["input_ids"]
    assert loaded_bundle.tokenizer.pad_token_id == tokenizers("bert").pad_token_id


def test_the_same_logits_within_float16(loaded_bundle: Bundle, networks: Callable[[str], DetenteModel]) -> None:
    ids = torch.tensor([[0, 20, 21, 22, 23, 1]])
    with torch.inference_mode():
        before, after = networks("bert")(ids), loaded_bundle.model.eval()(ids)
    for name in ("topics", "voices"):
        torch.testing.assert_close(after[name], before[name], atol=0.02, rtol=0.01)


def test_a_bundle_is_a_plain_transformers_model(tiny_bundle: Path, loaded_bundle: Bundle) -> None:
    model = AutoModel.from_pretrained(tiny_bundle, dtype=torch.float32).eval()
    inputs = AutoTokenizer.from_pretrained(tiny_bundle)("Officials hope that talks will resume.", return_tensors="pt")
    with torch.inference_mode():
        topics = model(inputs["input_ids"], inputs["attention_mask"]).topics
        expected = loaded_bundle.model.eval()(inputs["input_ids"]).topics
    assert topics.shape == (1, 3)
    np.testing.assert_allclose(topics, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "deberta-v2", "modernbert", "xlm-roberta"])
def test_a_bundle_over_another_encoder(
    kind: str,
    networks: Callable[[str], DetenteModel],
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bundle"
    save_bundle(folder, networks(kind), tokenizers(kind), Codebook.default(), Calibration(), {}, "", {})
    loaded = load_bundle(folder)
    saved = networks(kind).state_dict()
    assert all(torch.equal(weight, saved[name].half().float()) for name, weight in loaded.model.state_dict().items())
    text = "Talks, said  Marzuki\u00a0Darusman…"
    assert loaded.tokenizer(text)["input_ids"] == tokenizers(kind)(text)["input_ids"]


# --- saving


def test_a_folder_that_exists_is_never_written_to(make_bundle: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(BundleError, match="mine exists already; remove it or choose another folder"):
        make_bundle(folder)
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_save_that_fails_leaves_nothing(
    networks: Callable[[str], DetenteModel],
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_bundle(
            tmp_path / "deep" / "bundle",
            networks("bert"),
            tokenizers("bert"),
            Codebook.default(),
            Calibration(),
            metrics={},
            card="",
            record={"when": object()},
        )
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")] == []
    assert not (tmp_path / "deep" / "bundle").exists()


def test_parent_folders_are_made(make_bundle: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "a" / "b" / "bundle")
    assert check_bundle(folder)["made_from"]["seed"] == 21
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


# --- what is not whole is refused


@pytest.mark.parametrize("name", [*REQUIRED, WEIGHTS, METRICS])
def test_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"the model in {bundle} is not whole:\n  - {name}: missing\nRestore it"):
        load_bundle(bundle)


def test_every_fault_is_named(bundle: Path) -> None:
    weights = bundle / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    (bundle / CODEBOOK).write_text("version: 2\n", encoding="utf-8")
    (bundle / TOKENIZER).unlink()
    edit(bundle / MANIFEST, lambda m: m["files"].pop(CALIBRATION) and None, manifest=False)
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    assert caught.value.args[0].splitlines()[1:-1] == [
        "  - calibration.json: not in the manifest",
        "  - codebook.yaml: truncated or altered (its SHA-256 is not the manifest's)",
        "  - model.safetensors: truncated or altered (its SHA-256 is not the manifest's)",
        "  - tokenizer.json: missing",
    ]


def test_one_altered_byte_is_seen(bundle: Path) -> None:
    weights = bytearray((bundle / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(weights)
    with pytest.raises(BundleError, match=r"model\.safetensors: truncated or altered"):
        load_bundle(bundle)


def test_a_manifest_that_points_outside_the_folder_is_refused(bundle: Path) -> None:
    digest = hashlib.sha256((bundle / CARD).read_bytes()).hexdigest()
    edit(bundle / MANIFEST, lambda m: m["files"].update({f"../copy/{CARD}": digest}), manifest=False)
    with pytest.raises(BundleError, match=r"  - \.\./copy/README\.md: missing"):
        check_bundle(bundle)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "extra.pkl", "optimizer.pt", "state.PTH"])
def test_a_folder_with_a_pickle_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(BundleError, match=f"holds {name}: such files can run code when they are loaded"):
        load_bundle(bundle)


def test_a_folder_that_is_no_bundle(tmp_path: Path, networks: Callable[[str], DetenteModel]) -> None:
    networks("bert").save_pretrained(tmp_path)
    with pytest.raises(BundleError, match=r"is no model of detente: it has no manifest\.json\. `detente train` makes"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("number", [2, 0, "1", None])
def test_another_format_number(bundle: Path, number: Any) -> None:
    edit(bundle / MANIFEST, lambda m: m.update(format=number), manifest=False)
    with pytest.raises(BundleError, match=f"has format {number}, this version of detente reads format 1"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": ["a"]}', '{"files": 3}', "\udcff"]
)
def test_a_damaged_manifest(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged \(.*\); restore the bundle"):
        load_bundle(bundle)


def test_two_codebooks_that_differ(bundle: Path) -> None:
    other = Codebook.default().to_dict() | {"version": "of another model"}
    other["stances"] = [stance | {"poles": list(stance["poles"])} for stance in other["stances"]]
    (bundle / CODEBOOK).write_text(yaml.safe_dump(other), encoding="utf-8")
    rehash(bundle / CODEBOOK)
    with pytest.raises(BundleError, match=r"codebook\.yaml and config\.json hold different codebooks"):
        load_bundle(bundle)


def test_weights_that_lack_a_part_are_not_made_up(bundle: Path) -> None:
    weights = load_file(bundle / WEIGHTS)
    del weights["topic_head.bias"]
    save_file(weights, bundle / WEIGHTS, metadata={"format": "pt"})
    rehash(bundle / WEIGHTS)
    with pytest.raises(BundleError, match=r"does not fit .*: it lacks topic_head\.bias; restore"):
        load_bundle(bundle)


def test_a_calibration_that_does_not_hold(bundle: Path) -> None:
    edit(bundle / CALIBRATION, lambda c: c.update(voice_threshold=2))
    with pytest.raises(BundleError, match="voice_threshold must be a probability"):
        load_bundle(bundle)


# --- names


def test_a_run_folder_stands_for_its_bundle(tiny_bundle: Path) -> None:
    assert find_bundle(tiny_bundle.parent) == tiny_bundle
    assert find_bundle(str(tiny_bundle)) == tiny_bundle


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonesuch", "there is no model `nonesuch`; give the folder of a bundle, or one of: "),
        ("./runs/nonesuch", r"there is no model `\./runs/nonesuch`"),
        ("runs/nonesuch", "the model `runs/nonesuch` is not on this machine and no hub is in reach; give the folder"),
        ("runs/none such", "there is no folder `runs/none such`, and it is no hub id either"),
        ("a/b/c", "there is no model `a/b/c`"),
    ],
)
def test_an_unknown_name_without_a_hub(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=message):
        find_bundle(name)


def test_a_file_is_no_model(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="is a file, not the folder of a model"):
        find_bundle(tiny_bundle / WEIGHTS)


def test_a_name_that_is_nearly_right(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detente.bundle.shipped_models", lambda: {"small": tiny_bundle})
    assert find_bundle("small") == tiny_bundle
    with pytest.raises(BundleError, match=r"there is no model `smal`; did you mean `small`\?; give .* one of: small"):
        find_bundle("smal")


def test_shipped_models_are_whole() -> None:
    for folder in shipped_models().values():
        check_bundle(folder)
