"""Gctf's tables, in its layout and in a real one, in and out of a record."""

from __future__ import annotations

import numpy as np
import pytest
from tests.formats.defocused import a_series, assert_same_defocus, said, seen_at_centre, some_defocus

from lamella.errors import FormatError
from lamella.formats.gctf import export_series, import_series
from lamella.records import Optics

LABELS = [
    "rlnMicrographName",
    "rlnCtfImage",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnMagnification",
    "rlnDetectorPixelSize",
    "rlnCtfFigureOfMerit",
    "rlnFinalResolution",
]


def table(names, *, labels=LABELS, magnification=56000.0, more=""):
    lines = ["", "data_", "", "loop_", *(f"_{label} #{n + 1}" for n, label in enumerate(labels))]
    for n, name in enumerate(names):
        values = f"{30000 + 100 * n:.6f} {29500 + 100 * n:.6f} {5.0 * n:.6f} 300.000000 2.700000 0.070000"
        lines.append(f"{name} {name}.ctf:mrc {values} {magnification:f} 14.000000 {0.03 + n / 100:f} {6 + n:f}{more}")
    return "\n".join(lines) + "\n"


def test_views_are_found_by_name_or_order(tmp_path):
    names = [f"split/view_{n}.mrc" for n in range(9)]
    (tmp_path / "ts_gctf.star").write_text(table(reversed(names)))
    by_name, notes = import_series(tmp_path, a_series(images=tuple(f"there/view_{n}.mrc" for n in range(9))))
    by_order, _ = import_series(tmp_path, a_series())
    for view in range(9):
        assert seen_at_centre(by_name, view)[0] == pytest.approx(30000 + 100 * (8 - view), abs=0.01)
        assert seen_at_centre(by_order, view) == pytest.approx((30000 + 100 * view, 29500 + 100 * view), abs=0.01)
    np.testing.assert_allclose(by_order.defocus.figure_of_merit, 0.03 + np.arange(9) / 100)
    np.testing.assert_allclose(by_order.defocus.max_resolution_ang, 6 + np.arange(9))
    np.testing.assert_allclose(by_order.defocus.angle_deg, 5.0 * np.arange(9))
    assert by_order.defocus.phase_shift_deg is None
    assert not said(notes, "warning")  # 14 µm at 56000: the record's 2.5 Å


def test_phase_shift_and_other_constants(tmp_path):
    text = table(range(9), labels=[*LABELS, "rlnPhaseShift"], magnification=28000.0, more=" 85.5")
    (tmp_path / "a.star").write_text(text)
    back, notes = import_series(tmp_path / "a.star", a_series(optics=Optics(amplitude_contrast=0.1)))
    np.testing.assert_array_equal(back.defocus.phase_shift_deg, 85.5)
    assert back.optics.voltage_kv == 300
    assert said(notes, "warning", "pixels of 5 Å")
    assert said(notes, "warning", "amplitude contrast of 0.07")


@pytest.mark.parametrize("phase", [False, True])
def test_there_and_back(tmp_path, phase):
    place = np.array([9, 7, 5, 3, 1, 2, 4, 8, 11])
    series = a_series(place=place, images=None, defocus=some_defocus(phase=phase))
    export_series([series], tmp_path, tmp_path)
    back, notes = import_series(tmp_path, a_series(place=place, images=None))
    assert_same_defocus(back.defocus, series.defocus, atol=1e-6)
    assert not said(notes, "warning")


def test_damage_is_said(tmp_path):
    (tmp_path / "a.star").write_text("data_\nloop_\n_rlnMicrographName #1\nx\n")
    with pytest.raises(FormatError, match="no table with rlnDefocusU"):
        import_series(tmp_path / "a.star", a_series())
    (tmp_path / "a.star").write_text(table(range(7)))
    with pytest.raises(FormatError, match="7 rows do not fit the 9 views"):
        import_series(tmp_path / "a.star", a_series())
    (tmp_path / "a.star").write_text(table(range(9)).replace("30300.000000", "nan"))
    with pytest.raises(FormatError, match="row 4 of rlnDefocusU is not finite"):
        import_series(tmp_path / "a.star", a_series())
    (tmp_path / "a.star").write_text(table(range(9)).replace("30300.000000", "much"))
    with pytest.raises(FormatError, match="row 4 of rlnDefocusU"):
        import_series(tmp_path / "a.star", a_series())
    with pytest.raises(FormatError, match="not there"):
        import_series(tmp_path / "b.star", a_series())


def test_a_real_table(shared_data):
    file = shared_data / "warp" / "cryocat_TS_017" / "017_gctf.star"
    series = a_series(60, pixel_size_ang=1.971)
    back, notes = import_series(file, series)
    assert seen_at_centre(back, 0) == pytest.approx((35268.359375, 35036.40625), abs=0.01)
    assert back.defocus.max_resolution_ang[1] == 8.675787
    assert not said(notes, "warning")  # pixel size, voltage, Cs and amplitude contrast are the record's
