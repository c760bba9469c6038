"""Rooms stay light until a name is asked for, and a function is not hidden by the module that holds it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "room", ["lamella", "lamella.movies", "lamella.tilts", "lamella.tomograms", "lamella.errors", "lamella.settings"]
)
def test_import_is_light(room: str) -> None:
    loaded = run(
        f"import sys, {room}; print([m for m in ('torch', 'numba', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize(
    "first", ["import lamella.tilts.align", "from lamella.tilts.align import AlignResult", "import lamella.tilts"]
)
def test_public_name_is_the_function(first: str) -> None:
    assert (
        run(f"{first}\nimport lamella.tilts as t\nprint(callable(t.align), t.align.__module__)")
        == "True lamella.tilts.align"
    )


def test_every_public_name_loads() -> None:
    code = """if True:
        import lamella.movies, lamella.tilts, lamella.tomograms
        rooms = lamella.movies, lamella.tilts, lamella.tomograms
        print(all(getattr(room, name) for room in rooms for name in room.__all__))
    """
    assert run(code) == "True"


def test_unknown_name() -> None:
    import lamella.tilts

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lamella.tilts.nonsense  # noqa: B018
