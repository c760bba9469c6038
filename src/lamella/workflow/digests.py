"""Digests of records, settings and files: how a step knows that nothing has changed since it last ran.

A digest goes by content, never by a date alone, so a project may be copied or moved and nothing is done again. Of
files above 64 MiB a sample is read: sixteen pieces of 1 MiB, evenly spaced from the first to the last byte, and the
size. The digest of a file is remembered together with its size and time of change, and taken again when they differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FileDigests", "digest", "file_digest"]

_WHOLE_BYTES = 64 * 2**20
_PIECES = 16
_PIECE_BYTES = 2**20


def digest(value: Any) -> str:
    """Digest of a record, a mapping, an array or anything made of them; equal values have equal digests."""
    state = hashlib.blake2b(digest_size=16)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        state.update(f"<{type(value).__name__}".encode())
        for entry in fields(value):
            state.update(entry.name.encode() + b"=")
            _feed(state, getattr(value, entry.name))
        state.update(b">")
    elif isinstance(value, np.ndarray):
        state.update(f"array{value.dtype.str}{value.shape}".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        state.update(b"{")
        for key in sorted(value, key=str):
            state.update(str(key).encode() + b":")
            _feed(state, value[key])
        state.update(b"}")
    elif isinstance(value, (list, tuple)):
        state.update(b"[")
        for entry in value:
            _feed(state, entry)
            state.update(b",")
        state.update(b"]")
    elif isinstance(value, np.generic):
        _feed(state, value.item())
    elif value is None or isinstance(value, (bool, int, float, str)):
        state.update(json.dumps(value).encode())
    elif isinstance(value, Path):
        state.update(json.dumps(str(value)).encode())
    else:
        raise TypeError(f"no digest of a {type(value).__name__}")


def file_digest(path: Path) -> str:
    """Digest of a file's content: the whole of a small one, a sample and the size of a big one."""
    size = path.stat().st_size
    state = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as handle:
        if size <= _WHOLE_BYTES:
            while piece := handle.read(_PIECE_BYTES):
                state.update(piece)
        else:
            for start in np.linspace(0, size - _PIECE_BYTES, _PIECES).astype(np.int64):
                handle.seek(int(start))
                state.update(handle.read(_PIECE_BYTES))
    return state.hexdigest()


@dataclass
class FileDigests:
    """Digests of files, each taken once as long as its size and time of change stay.

    Attributes
    ----------
    known
        path → (size, time of change in ns, digest), from an earlier run.
    fresh
        those that were taken now.
    """

    known: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    fresh: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """Digest of a file; the word ``missing`` where there is none."""
        try:
            status = path.stat()
        except OSError:
            return "missing"
        key = str(path)
        known = self.known.get(key)
        if known and known[:2] == (status.st_size, status.st_mtime_ns):
            return known[2]
        found = (status.st_size, status.st_mtime_ns, file_digest(path))
        self.known[key] = self.fresh[key] = found
        return found[2]
