"""Files that are whole or not there: written under another name, renamed when they are complete.

A crash or a full disk never leaves half a file under a good name. What a killed process leaves behind is a hidden file
in the same folder, which `remove_leftovers` clears away.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lamella.errors import OutputError

__all__ = ["atomic_folder", "atomic_path", "atomic_text", "output_errors", "remove_leftovers"]

MARK = ".lamella-part"

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too big",
}
_SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's word for a short write, without a number
_REFUSED = {errno.EACCES: "no permission", errno.EPERM: "no permission", errno.EROFS: "the file system is read-only"}


@contextmanager
def output_errors(path: Path, *, every: bool = False) -> Iterator[None]:
    """Turn the system's errors about a file that cannot be written into `OutputError`.

    Parameters
    ----------
    path
        the file that is being written, for the message.
    every
        whether any error of the system inside the block concerns this file; else only those of a full disk do.
    """
    try:
        yield
    except OSError as error:
        full = _FULL.get(error.errno or 0)
        if error.errno is None and _SHORT.search(str(error)):
            full = "the disk is full"
        if full is not None:
            raise OutputError(f"{path}: {full}", mend="make room (or raise the limit) and run it again") from error
        if not every:
            raise
        reason = _REFUSED.get(error.errno or 0) or error.strerror or str(error)
        raise OutputError(f"{path}: {reason}", mend="choose a folder that can be written to") from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary name in the same folder; rename it to `path` when the block ends without an error.

    The folder is made where it is missing. The temporary name keeps the suffix, since some writers go by it. Nothing is
    synchronised to the disk: a file survives the end of the process, not a power cut.

    Raises
    ------
    OutputError
        if the folder cannot be written to, or the disk is full; then nothing is left behind.
    """
    target = Path(path)
    with output_errors(target, every=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "there is a folder of that name")
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{MARK}{target.suffix}")
    try:
        with output_errors(target):
            yield temporary
        with output_errors(target, every=True):
            os.replace(temporary, target)
    finally:
        with suppress(OSError):  # gone already where all went well; nothing to add where the folder itself vanished
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, replaces: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a new, empty folder under a temporary name beside `path`; rename it to `path` when the block ends well.

    Parameters
    ----------
    path
        the folder; the one it stands in is made where it is missing.
    replaces
        says of a folder that stands there already whether it may be replaced: a store of the same kind. It is replaced
        as a whole.

    Raises
    ------
    OutputError
        if the folder cannot be written, or something stands there that may not be replaced.
    """
    target = Path(path)
    with output_errors(target, every=True):
        target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not (target.is_dir() and replaces(target)):
        raise OutputError(f"{target}: something else stands there already", mend="name another, or move it away")
    temporary, old = (target.with_name(f".{target.stem}.{secrets.token_hex(4)}{MARK}{target.suffix}") for _ in "ab")
    try:
        with output_errors(target, every=True):
            temporary.mkdir()
        with output_errors(target):
            yield temporary
        with output_errors(target, every=True):
            if target.exists():
                os.replace(target, old)
            os.replace(temporary, target)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def atomic_text(path: Path | str, text: str) -> None:
    """Write a text file, UTF-8 with Unix line ends, whole or not at all."""
    with atomic_path(path) as temporary, output_errors(Path(path), every=True):
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def remove_leftovers(folder: Path | str) -> tuple[Path, ...]:
    """Delete what killed writers left in a folder (files and stores; not what stands in folders below it), and say it.

    Call it only where no other process is writing.
    """
    leftovers = tuple(sorted(Path(folder).glob(f".*{MARK}*")))
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return leftovers
