"""Rows out: JSONL, CSV and Parquet, whole or not at all.

Rows go to a hidden file beside the target, which takes the target's name when the last row is on the disk.
If a run breaks off (Ctrl-C, a full disk, an error), the target is untouched and the rows that were written
whole are kept as NAME.partial.SUFFIX.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from detente.errors import DataError, DetenteError
from detente.tags import ParagraphTags

Item = TypeVar("Item")


class Output(ABC, Generic[Item]):
    """Takes items one by one and writes them to one or two files.

    As a context manager it closes the files at the end and, on any exception, keeps what was written whole.

    Attributes:
        paths: the files that a whole run makes.
        partial: the files that a broken run left; empty until then.

    Raises:
        DataError: on opening: an output that exists (unless `overwrite`), is no regular file, or has no
            folder.
        DetenteError: on writing: the disk is full or cannot be written; the rows so far are in `partial`.
    """

    def __init__(self, paths: Sequence[Path], overwrite: bool) -> None:
        self.paths = tuple(Path(os.path.realpath(path)) for path in paths)
        for path in self.paths:
            check_output(path, overwrite)
        self.partial: tuple[Path, ...] = ()
        self._finished = False

    def write(self, item: Item) -> None:
        """Adds one item."""
        with self._reporting():
            self._add(item)

    def close(self) -> None:
        """Puts the files in place; afterwards they are whole and on the disk."""
        if self._finished:
            return
        with self._reporting():
            self._commit()
        self._finished = True

    def abort(self) -> None:
        """Leaves the target as it was, and the rows written so far in `partial`."""
        if not self._finished:
            self._finished = True
            self.partial = self._salvage()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns a failure of the disk into an error that says what is left."""
        try:
            yield
        except OSError as error:
            self.abort()
            kept = f"what was written whole is kept in {', '.join(map(str, self.partial))}"
            raise DetenteError(
                f"cannot write {self.paths[0]}: {error.strerror or error}; "
                f"{kept if self.partial else 'nothing could be kept'}. Free some space, or write elsewhere"
            ) from error

    @abstractmethod
    def _add(self, item: Item) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _salvage(self) -> tuple[Path, ...]: ...


Writer = Output[ParagraphTags]


def check_output(path: Path, overwrite: bool) -> None:
    """Whether an output can be made at this path.

    Raises:
        DataError: it exists and may not be replaced, is a folder or a device, or its folder does not exist.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no regular file; name another output")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; name another output, or replace it with --overwrite")
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist; make it first")


def temporary(path: Path) -> Path:
    """A new hidden name beside a file."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def put_in_place(made: Path, path: Path) -> None:
    """Gives a file that is on the disk its final name, also on the disk."""
    os.replace(made, path)
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def partial_path(path: Path) -> Path:
    """NAME.SUFFIX -> NAME.partial.SUFFIX."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")
