"""The command line: a thin face over `lamella.workflow`. Exit codes: 0 done, 2 bad usage or input, 1 a failure."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from lamella.errors import LamellaError

__all__ = ["main"]

_STOPPED = 130  # what a shell expects of a process that Ctrl-C ended


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command; every error that lamella raises on purpose becomes one line on standard error.

    Parameters
    ----------
    tokens
        what stands after ``lamella``; None: what the process was started with.

    Returns
    -------
    int
        the exit code.
    """
    # No plugin is wanted, and looking for some takes pydantic a tenth of the time that help may take.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from lamella.cli.commands import dispatch

    warnings.showwarning = _warn
    try:
        code = dispatch(list(sys.argv[1:] if tokens is None else tokens))
        sys.stdout.flush()
        return code
    except LamellaError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("stopped; `lamella run` goes on where it stopped")
        return _STOPPED
    except BrokenPipeError:
        # Who read our output has gone, such as `head`; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("LAMELLA_DEBUG"):
            raise
        words = str(error).splitlines()
        _complain(
            f"unforeseen {type(error).__name__}: {words[0] if words else 'no words'}; "
            "set LAMELLA_DEBUG=1 to see where, and report it"
        )
        return 1


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without Python's file name and source."""
    _complain(f"warning: {message}")


def _complain(text: str) -> None:
    print("lamella: " + " ".join(text.split()), file=sys.stderr, flush=True)
