"""Files that appear when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from detente.errors import DetenteError


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that appears at `path` when it is complete, or not at all.

    Raises:
        DetenteError: the file cannot be written.
    """
    # A lone surrogate has no UTF-8; written as \ud800 it is the escape that JSON knows.
    making = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with making.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            yield file
        os.replace(making, path)
    except OSError as error:
        raise DetenteError(f"cannot write {path}: {error.strerror}") from error
    finally:
        making.unlink(missing_ok=True)
