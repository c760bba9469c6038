"""A small project of three tilt series, and a line of toy steps."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lamella.tilts as tilts
from lamella.formats.images import image_name
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.geometry import TiltGeometry
from lamella.records import Note, TiltSeries
from lamella.records.tracks import Tracks
from lamella.workflow import steps
from lamella.workflow.new import create_project
from lamella.workflow.project import Project

TOYS = Path(__file__).parent / "toys"
VIEWS, HEIGHT, WIDTH = 7, 12, 16


@pytest.fixture
def toy_line(monkeypatch: pytest.MonkeyPatch):
    """The toy steps in place of the real ones, here and in every process started from here."""
    monkeypatch.syspath_prepend(str(TOYS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TOYS), os.environ.get("PYTHONPATH", "")]))
    import toy_line

    monkeypatch.setattr(steps, "LINE", toy_line.LINE)
    yield toy_line
    sys.modules.pop("toy_line", None)


def series_in(folder: Path, name: str, seed: int) -> TiltSeries:
    stack = np.random.default_rng(seed).normal(10, 2, (VIEWS, HEIGHT, WIDTH)).astype(np.float32)
    path = folder / f"{name}.mrc"
    write_mrc(path, stack, 4.0)
    return TiltSeries(
        name=name,
        pixel_size_ang=4.0,
        image_shape_px=(HEIGHT, WIDTH),
        nominal_tilt_deg=np.linspace(-60, 60, VIEWS),
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(i, str(path)) for i in range(VIEWS)),
    )


@pytest.fixture
def project(tmp_path: Path, toy_line) -> Project:
    """Three series A, B, C in a new project."""
    raw = tmp_path / "data"
    raw.mkdir()
    series = tuple(series_in(raw, name, seed) for seed, name in enumerate("ABC"))
    notes = (Note(kind="assumed", where="A.mdoc", text="amplitude contrast 0.1"),)
    return create_project(tmp_path / "P", Imported(series, notes))


@pytest.fixture
def starts() -> list[TiltGeometry | None]:
    """The geometries that the stand-in for the alignment was told to begin with."""
    return []


@pytest.fixture
def followed(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, starts: list[TiltGeometry | None]
) -> list[Tracks | None]:
    """Stands in for the alignment itself, of nine views and twelve beads; keeps what tracks it was given."""
    views, beads = 9, 12
    given: list[Tracks | None] = []
    truth = TiltGeometry.from_angles(np.linspace(-40, 40, views), 85.0)
    points = rng.uniform(-70, 70, (beads, 3))

    def stand_in(series, images, settings, progress=None, tracks=None):
        given.append(tracks)
        starts.append(series.geometry)
        geometry = truth.select(np.asarray(series.place) - 1)
        if tracks is None:
            tracks = Tracks.observed(geometry.project(points), kind="beads")
        solved = tracks.with_solution(points[tracks.labels - 1], np.full(tracks.observations_ang.shape, 0.25))
        # another set of tracks gives another geometry
        geometry = geometry.with_terms(x_shift_ang=0.01 * tracks.count)
        return SimpleNamespace(series=series.with_changes(geometry=geometry), tracks=solved, notes=())

    monkeypatch.setattr(tilts, "align", stand_in)
    return given
