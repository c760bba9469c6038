"""A local field as IMOD's local alignments: the file, read by numpy alone, projects points where lamella does."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.formats.imod import export_series, import_series
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import TiltSeries

PIXEL_ANG, VIEWS = 2.5, 7


def smooth_field(rng, half_ang, size_ang):
    """Cubic polynomials of the place, as beams and doming leave them."""
    y, x = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 6), indexing="ij")
    shapes = np.stack([x**2, x * y, y**2, x**3, y**3])
    return ImageField(np.einsum("vcs,syx->vcyx", rng.normal(0, size_ang, (VIEWS, 2, 5)), shapes), half_ang)


def a_series(rng, shape, *, size_ang=4.0, x_tilt_spread=0.0):
    tilt = np.linspace(-50, 52, VIEWS)
    height, width = shape
    half = (width / 2 * PIXEL_ANG, height / 2 * PIXEL_ANG)
    return TiltSeries(
        name="ts",
        pixel_size_ang=PIXEL_ANG,
        image_shape_px=shape,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 84.0),
        images=tuple(f"{number + 1:06d}@stack.mrc" for number in range(VIEWS)),
        thickness_ang=300.0,
        geometry=TiltGeometry.from_angles(
            tilt + 1.2,
            83.7 + rng.normal(0, 0.1, VIEWS),
            x_tilt_deg=1.4 + x_tilt_spread * rng.normal(size=VIEWS),
            x_shift_ang=rng.normal(0, 40, VIEWS),
            y_shift_ang=rng.normal(0, 40, VIEWS),
            magnification=1 + rng.normal(0, 2e-3, VIEWS),
            field=smooth_field(rng, half, size_ang),
        ),
    )


def parsed(path):
    """(columns, rows, first, spacing, x-tilts?), and each area's angles and transforms, from the words of the file."""
    words = path.read_text().split()
    columns, rows, with_x = int(words[0]), int(words[1]), int(words[6])
    first, spacing = np.array(words[2:4], float), np.array(words[4:6], float)
    assert float(words[7]) == pytest.approx(PIXEL_ANG)
    assert words[8] == "0"
    body = np.array(words[9:], float).reshape(rows, columns, VIEWS * (7 + with_x))
    lines = body[..., -6 * VIEWS :].reshape(rows, columns, VIEWS, 6)
    return first, spacing, body[..., :VIEWS], lines


@pytest.mark.parametrize("shape", [(300, 400), (301, 400)])
def test_tilt_projects_points_where_lamella_does(tmp_path, rng, shape):
    series = a_series(rng, shape, size_ang=2.0, x_tilt_spread=0.2)
    paths, notes = export_series([series], tmp_path, tmp_path)
    assert tmp_path / "ts" / "tslocal.xf" in paths
    (told,) = (note.text for note in notes if "local alignments" in note.text)
    plane_px, told_px = float(told.split(", to ")[1].split()[0]), float(told.split(" and ")[1].split()[0])
    assert plane_px < 0.03
    com = (tmp_path / "ts" / "tilt.com").read_text()
    assert "LOCALFILE tslocal.xf" in com
    size = np.array(com.split("FULLIMAGE")[1].split()[:2], float)
    x_axis_tilt = float(com.split("XAXISTILT")[1].split()[0])
    first, spacing, change, local = parsed(tmp_path / "ts" / "tslocal.xf")
    rows, tilt, x_tilt = (np.loadtxt(tmp_path / "ts" / f"ts{ending}") for ending in (".xf", ".tlt", ".xtilt"))
    p_px = rng.uniform(-1, 1, (60, 3)) * (*(0.48 * size), 60)
    height, width = shape
    ours = series.geometry.project(p_px * PIXEL_ANG) / PIXEL_ANG
    inside = (np.abs(ours) < np.array([width, height]) / 2).all(axis=-1)
    assert inside.mean() > 0.5
    grid = np.array(local.shape[1::-1])
    worst = 0.0
    for view in range(VIEWS):
        a = np.radians(x_tilt[view] - x_axis_tilt)
        for number in np.flatnonzero(inside[view]):
            x, y, z = p_px[number]
            y, z = y * np.cos(a) - z * np.sin(a), y * np.sin(a) + z * np.cos(a)
            u = np.clip((p_px[number, :2] + size / 2 - first) / spacing, 0, grid - 1)
            corner = np.minimum(u.astype(int), grid - 2)
            aligned = np.zeros(2)
            for right, below in np.ndindex(2, 2):
                column, row = corner[0] + right, corner[1] + below
                t = np.radians(tilt[view] + change[row, column, view])
                seen = np.array([x * np.cos(t) + z * np.sin(t), y])
                weight = np.prod(1 - np.abs(u - (column, row)))
                matrix, shift = local[row, column, view, :4].reshape(2, 2), local[row, column, view, 4:]
                aligned += weight * (matrix @ seen + shift)
            raw = np.linalg.solve(rows[view, :4].reshape(2, 2), aligned - rows[view, 4:])
            raw += np.array([width, height]) / 2 - 0.5 - (width // 2, height // 2)
            worst = max(worst, float(np.linalg.norm(raw - ours[view, number])))
    assert 0.3 * told_px < worst < 1.1 * told_px


def test_a_field_goes_out_and_comes_back(tmp_path, rng):
    series = a_series(rng, (300, 400))
    export_series([series], tmp_path, tmp_path)
    back, _ = import_series(tmp_path, series.with_changes(geometry=None))
    p = rng.uniform(-1, 1, (80, 3)) * (300, 300, 0)  # what the images show
    ours, theirs = series.geometry.project(p), back.geometry.project(p)
    assert np.abs(ours - theirs).max() < 0.15 * PIXEL_ANG
    without = series.geometry.with_terms(field=None).project(p)
    assert np.abs(ours - without).max() > 3 * PIXEL_ANG  # the field is not a trifle


def test_what_is_not_followed_is_told(tmp_path, rng):
    geometry = a_series(rng, (300, 400)).geometry
    wild = ImageField(rng.normal(0, 30, (VIEWS, 2, 30, 30)), (500.0, 375.0))  # finer than any grid that is tried
    series = a_series(rng, (300, 400)).with_changes(geometry=geometry.with_terms(field=wild))
    _, notes = export_series([series], tmp_path, tmp_path)
    assert any(note.kind == "warning" and "local alignments" in note.text for note in notes)
