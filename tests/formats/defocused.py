"""An aligned series with defoci, and the defocus at an image's centre by its definition."""

from __future__ import annotations

import numpy as np
from scipy.optimize import fsolve

from lamella.geometry import TiltGeometry
from lamella.records import Defocus, Note, Optics, TiltSeries

PIXEL_ANG = 2.5
SHAPE = (300, 400)


def a_series(count: int = 9, seed: int = 1, **changes) -> TiltSeries:
    """Tilted about an axis near 84°, shifted by up to hundreds of Å, so that the image's centre lies off the axis."""
    rng = np.random.default_rng(seed)
    tilt = np.linspace(-40, 40, count)
    values = {
        "name": "ts",
        "pixel_size_ang": PIXEL_ANG,
        "image_shape_px": SHAPE,
        "nominal_tilt_deg": tilt,
        "nominal_axis_deg": np.full(count, 84.0),
        "images": tuple(f"{n + 1:06d}@ts.mrc" for n in range(count)),
        "optics": Optics(voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07),
        "geometry": TiltGeometry.from_angles(
            tilt + 2.0,
            83.5 + rng.normal(0, 0.1, count),
            x_tilt_deg=1.4,
            x_shift_ang=rng.normal(0, 200, count),
            y_shift_ang=rng.normal(0, 200, count),
        ),
    }
    return TiltSeries(**(values | changes))


def some_defocus(count: int = 9, seed: int = 2, *, phase: bool = False) -> Defocus:
    """u above v by a few hundred Å."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(2e4, 4e4, count)
    return Defocus(
        u_ang=v + rng.uniform(100, 900, count),
        v_ang=v,
        angle_deg=rng.uniform(-89, 89, count),
        max_resolution_ang=rng.uniform(5, 20, count),
        phase_shift_deg=rng.uniform(60, 100, count) if phase else None,
        figure_of_merit=rng.uniform(0.05, 0.3, count),
    )


def seen_at_centre(series: TiltSeries, view: int) -> tuple[float, float]:
    """(u, v) of the point of the plane z = 0 that projects to the image's centre pixel, found by search."""

    def off_centre(xy):
        return series.geometry.project(np.array([xy[0], xy[1], 0.0]))[view]

    x, y = fsolve(off_centre, np.zeros(2))
    u, v = series.defocus_at(np.array([x, y, 0.0]))
    return float(u[view]), float(v[view])


def assert_same_defocus(one: Defocus, other: Defocus, *, atol: float, all_columns: bool = True) -> None:
    """Defoci and the axis modulo 180°, and the rest where it is asked for."""
    np.testing.assert_allclose(one.u_ang, other.u_ang, atol=atol)
    np.testing.assert_allclose(one.v_ang, other.v_ang, atol=atol)
    turned = (one.angle_deg - other.angle_deg + 90) % 180 - 90
    np.testing.assert_allclose(turned, 0, atol=0.01)
    names = ("phase_shift_deg", "figure_of_merit", "max_resolution_ang") if all_columns else ("phase_shift_deg",)
    for name in names:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, atol=0.01, err_msg=name)


def said(notes: tuple[Note, ...] | list[Note], kind: str, *words: str) -> bool:
    """Whether a note of a kind has these words."""
    return any(note.kind == kind and all(word in str(note) for word in words) for note in notes)
