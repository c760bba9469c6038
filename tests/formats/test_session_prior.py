"""What a session knew goes along with an import, view by view; what does not fit is told and left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamella.formats.overrides import Imported
from lamella.formats.relion_tilt_series import write_tilt_series
from lamella.formats.session_prior import session_geometries, with_session_prior
from lamella.geometry import TiltGeometry
from lamella.records import SESSION_SHIFT_ERROR, Defocus, TiltSeries

TILTS = np.array([-3.0, 0.0, 3.0])


def known(**changes) -> TiltSeries:
    series = TiltSeries(
        name="T01",
        pixel_size_ang=2.0,
        image_shape_px=(8, 8),
        nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.full(3, 85.0),
        images=("000001@T01.mrc", "000002@T01.mrc", "000003@T01.mrc"),
        pre_exposure=np.array([6.0, 0.0, 3.0]),
        geometry=TiltGeometry.from_angles(TILTS, 85.0, x_shift_ang=[10.0, 0.0, -20.0], y_shift_ang=[1.0, 2.0, 3.0]),
        defocus=Defocus(u_ang=np.full(3, 3e4), v_ang=np.full(3, 3e4), angle_deg=np.zeros(3)),
        scores={SESSION_SHIFT_ERROR: np.array([1.0, 50.0, 2.0])},
    )
    return replace(series, **changes)


def test_shifts_follow_their_views(tmp_path) -> None:
    write_tilt_series(tmp_path / "geometry" / "tilt_series.star", [known()], tmp_path)
    geometries = session_geometries([tmp_path / "T01.mrc.mdoc", tmp_path / "T02.mrc.mdoc"])
    assert len(geometries) == 1
    raw = known(geometry=None, defocus=None, scores={})
    imported = with_session_prior(Imported((raw.select([2, 0]),), ()), geometries)
    one = imported.series[0]
    assert one.geometry is None
    np.testing.assert_allclose(one.scores["SessionXShiftAngst"], [-20.0, 10.0])
    np.testing.assert_allclose(one.scores["SessionYShiftAngst"], [3.0, 1.0])
    np.testing.assert_allclose(one.scores["SessionDefocusAngst"], 3e4)
    np.testing.assert_allclose(one.scores["SessionShiftErrorAngst"], [2.0, 1.0])


def test_a_geometry_of_other_views_is_left_out_aloud(tmp_path) -> None:
    path = tmp_path / "geometry" / "tilt_series.star"
    write_tilt_series(path, [known()], tmp_path)
    raw = known(geometry=None, defocus=None, scores={}, nominal_tilt_deg=TILTS + 1.0)
    imported = with_session_prior(Imported((raw,), ()), [path])
    assert not imported.series[0].scores
    assert [note.kind for note in imported.notes] == ["warning"]
