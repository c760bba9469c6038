"""The state of a search, kept while `pick` goes on: a stopped one goes on from it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from lamella.errors import InputError
from lamella.formats.atomic import atomic_path
from lamella.particles.search_state import SearchState
from lamella.workflow.context import Context

__all__ = ["SearchFile"]

_MARK, _ENDING = "fingerprint", "_search.npz"
_EVERY_S = 60.0
_MOST = 0.05  # of the time may be spent on writing


class SearchFile:
    """``pick/NAME_search.npz``, written every minute or so, and removed when the picks are made.

    It is used again only by work of the same fingerprint: the same tomogram, template, settings and version. Of a large
    tomogram it is written more seldom, so that it never takes long beside the search.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._path = context, context.folder / f"{context.series}{_ENDING}"
        self._written, self._pause = time.monotonic(), _EVERY_S

    def last(self) -> SearchState | None:
        """The state that a stopped run of the same work left; None where there is none."""
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            mark = str(found.pop(_MARK))
            state = SearchState.from_arrays(found) if mark == self._context.fingerprint else None
        except (OSError, ValueError, KeyError, EOFError, InputError):
            return None  # no state, or one that cannot be used: the search begins anew
        if state is not None:
            self._context.say(f"goes on in block {state.block + 1} of {state.blocks}, where the search was stopped")
        return state

    def keep(self, state: SearchState) -> None:
        """Write it, if the last time is long enough ago."""
        begun = time.monotonic()
        if begun - self._written < self._pause:
            return
        with atomic_path(self._path) as path, path.open("wb") as file:
            kept: dict[str, Any] = {**state.arrays(), _MARK: np.array(self._context.fingerprint)}
            np.savez(file, **kept)
        self._written = time.monotonic()
        self._pause = max(_EVERY_S, (self._written - begun) / _MOST)

    def finish(self) -> None:
        """The picks are made: nobody will go on from the state."""
        self._path.unlink(missing_ok=True)
