"""IMOD's defocus files, written here as ctfplotter does, read as ctfphaseflip would; in and out of a record."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tests.formats.defocused import PIXEL_ANG, SHAPE, a_series, assert_same_defocus, said, seen_at_centre, some_defocus

from lamella.errors import FormatError
from lamella.formats.imod import export_series, import_series
from lamella.formats.imod_defocus import defocus_of_views, read_defocus, write_defocus
from lamella.formats.imod_geometry import half_pixel
from lamella.formats.imod_xf import read_xf

TILTS = np.linspace(-40, 40, 9)


def as_ctfphaseflip(rows, count):
    """Defocus of each view in nm, written anew from ctfphaseflip's interpolateTable; rows of first, last, value."""
    table = np.full(count, np.nan)
    for first, last, value in rows:
        table[(first - 1 + last - 1) // 2] = value
    known = np.flatnonzero(np.isfinite(table))
    for one, other in pairwise(known):
        for row in range(one + 1, other):
            table[row] = ((row - one) * table[other] + (other - row) * table[one]) / (other - one)
    table[: known[0]], table[known[-1] + 1 :] = table[known[0]], table[known[-1]]
    return table


def phase_flip_defocus(v1, v2, axis_deg, direction_deg):
    """Its defocus along a direction of the transform (after Rohou & Grigorieff 2015, as its comment says)."""
    cosine = np.cos(np.radians(direction_deg - axis_deg))
    return 0.5 * (v1 + v2) + 0.5 * (v1 - v2) * (2 * cosine**2 - 1)


def test_version_2_of_ranges(tmp_path):
    rows = [(1, 3, 3000.0), (3, 6, 3600.0), (7, 9, 3300.0)]
    text = "".join(
        f"{first}\t{last}\t{TILTS[first - 1]:.2f}\t{TILTS[last - 1]:.2f}\t{value:6.0f}{chr(9) + '2' if not n else ''}\n"
        for n, (first, last, value) in enumerate(rows)
    )
    (tmp_path / "a.defocus").write_text(text)
    ranges = read_defocus(tmp_path / "a.defocus")
    assert (ranges.version, len(ranges), ranges.inverted) == (2, 3, False)
    defocus, hand, mended = defocus_of_views(ranges, TILTS + 1.7, "a")
    np.testing.assert_allclose(defocus.u_ang, 10 * as_ctfphaseflip(rows, 9))
    np.testing.assert_array_equal(defocus.v_ang, defocus.u_ang)
    assert (hand, mended, defocus.phase_shift_deg) == (-1, "", None)


def test_version_1_with_views_one_too_low(tmp_path):
    (tmp_path / "a.defocus").write_text(
        "".join(f"{n} {n + 1} {TILTS[n]:.2f} {TILTS[n + 1]:.2f} {3000 + n}\n" for n in range(8))
    )
    defocus, _, mended = defocus_of_views(read_defocus(tmp_path / "a.defocus"), TILTS, "a")
    np.testing.assert_allclose(defocus.u_ang, [*(30000 + 10 * np.arange(8.0)), 30070])
    assert "one too low" in mended
    (tmp_path / "b.defocus").write_text("".join(f"{n + 1} {n + 1} {TILTS[n]} {TILTS[n]} 3000\n" for n in range(9)))
    assert defocus_of_views(read_defocus(tmp_path / "b.defocus"), TILTS, "b")[2] == ""


@pytest.mark.parametrize("radians", [False, True])
def test_version_3_says_astigmatism_phase_and_cut_on(tmp_path, radians):
    flags = 1 + 4 + 32 + (2 + 8 if radians else 0)
    unit = np.radians if radians else float
    lines = [f"{flags} 0 0. 0. 0. 3"]
    for n, tilt in enumerate(TILTS):
        axis, phase = unit(-70.0 + 35 * n), unit(80.0 + n)
        lines.append(f"{n + 1}\t{n + 1}\t{tilt:.2f}\t{tilt:.2f}\t{3000 + n}\t{2900 + n}\t{axis:.6f}\t{phase:.6f}\t0.02")
    (tmp_path / "a.defocus").write_text("\n".join(lines))
    ranges = read_defocus(tmp_path / "a.defocus")
    assert ranges.cut_on
    defocus, _, _ = defocus_of_views(ranges, TILTS, "a")
    np.testing.assert_allclose(defocus.phase_shift_deg, 80 + np.arange(9.0), atol=1e-3)
    for n in range(9):
        along = phase_flip_defocus(defocus.u_ang[n], defocus.v_ang[n], defocus.angle_deg[n], 25.0)
        assert along == pytest.approx(10 * phase_flip_defocus(3000 + n, 2900 + n, -70 + 35 * n, 25.0), abs=0.01)


def test_astigmatism_between_ranges_keeps_its_share(tmp_path):
    """ctfphaseflip interpolates the ratio of the defoci, and the axis the short way round."""
    lines = ["1 0 0. 0. 0. 3"]
    lines += [f"{n} {n} {TILTS[n - 1]:.2f} {TILTS[n - 1]:.2f} {u} {v} {axis}" for n, u, v, axis in _RANGES]
    (tmp_path / "a.defocus").write_text("\n".join(lines))
    defocus, _, _ = defocus_of_views(read_defocus(tmp_path / "a.defocus"), TILTS, "a")
    np.testing.assert_allclose(defocus.u_ang[:5], 10 * np.array([3000, 3000, 3200, 3400, 3400]))
    np.testing.assert_allclose(defocus.v_ang[2] / defocus.u_ang[2], (0.9 + 1.1) / 2)
    assert abs(abs(defocus.angle_deg[2]) - 90) < 1e-9


_RANGES = ((2, 3000, 2700, 80), (4, 3400, 3740, -80))


@pytest.mark.parametrize("flag", [16, 0])
def test_inverted_angles_are_a_hand_of_plus_one(tmp_path, flag):
    """With the flag the file has the stack's angles; without it, ctfplotter saved the inverted ones that it used."""
    angles = TILTS if flag else -TILTS
    lines = ["16 0 0. 0. 0. 3"] if flag else []
    lines += [f"{n + 1} {n + 1} {tilt:.2f} {tilt:.2f} 3000" for n, tilt in enumerate(angles)]
    lines[0] += "" if flag else " 2"
    (tmp_path / "a.defocus").write_text("\n".join(lines))
    assert defocus_of_views(read_defocus(tmp_path / "a.defocus"), TILTS, "a")[1] == 1


@pytest.mark.parametrize("phase", [False, True])
@pytest.mark.parametrize("astigmatic", [False, True])
@pytest.mark.parametrize("hand", [-1, 1])
def test_there_and_back(tmp_path, phase, astigmatic, hand):
    defocus = some_defocus(phase=phase)
    if not astigmatic:
        defocus = type(defocus)(**{**vars(defocus), "v_ang": defocus.u_ang, "angle_deg": np.zeros(9)})
    write_defocus(tmp_path / "a.defocus", TILTS, defocus, hand)
    text = (tmp_path / "a.defocus").read_text().splitlines()
    plain = not astigmatic and not phase and hand < 0
    assert (len(text), text[0].split()[-1]) == ((9, "2") if plain else (10, "3"))
    assert all(len(line) < 100 for line in text)  # IMOD reads no longer line
    back, found, _ = defocus_of_views(read_defocus(tmp_path / "a.defocus"), TILTS, "a")
    assert found == hand
    assert_same_defocus(back, defocus, atol=0.02, all_columns=False)


@pytest.mark.parametrize("hand", [-1, 1])
def test_beside_an_alignment(tmp_path, hand):
    series = a_series(defocus=some_defocus(), hand=hand)
    paths, notes = export_series([series], tmp_path, tmp_path)
    file = tmp_path / "ts" / "ts.defocus"
    assert file in paths
    assert said(notes, "info", "TransformFile")
    assert said(notes, "info", "InvertTiltAngles") == (hand > 0)
    stated, _, _ = defocus_of_views(read_defocus(file), series.geometry.y_tilt_deg, "a")
    for view in range(9):
        assert (stated.u_ang[view], stated.v_ang[view]) == pytest.approx(seen_at_centre(series, view), abs=0.02)
    back, notes = import_series(tmp_path, a_series(geometry=None))
    assert_same_defocus(back.defocus, series.defocus, atol=0.05, all_columns=False)
    assert back.hand == hand
    assert said(notes, "overridden", "a hand of +1") == (hand > 0)
    assert not said(import_series(tmp_path, a_series(geometry=None, hand=hand))[1], "overridden", "hand")


@pytest.mark.parametrize("hand", [-1, 1])
def test_ctfphaseflip_gives_a_point_the_defocus_that_the_record_gives_it(tmp_path, rng, hand):
    """Its equation, in columns of the aligned image: deltaZ = (n/2 + xShift − column) · tan(tilt), taken away."""
    series = a_series(defocus=some_defocus(), hand=hand)
    series = series.with_changes(geometry=series.geometry.with_terms(x_tilt_deg=0.0))
    export_series([series], tmp_path, tmp_path)
    stated, _, _ = defocus_of_views(read_defocus(tmp_path / "ts/ts.defocus"), series.geometry.y_tilt_deg, "a")
    transforms = read_xf(tmp_path / "ts/ts.xf")
    points = np.column_stack([rng.uniform(-300, 300, (20, 2)), np.zeros(20)])  # on the plane that IMOD thinks of
    ours, _ = series.defocus_at(points)
    raw = series.geometry.project(points) / PIXEL_ANG + half_pixel(SHAPE)
    for view, (matrix, tilt) in enumerate(zip(transforms, series.geometry.y_tilt_deg, strict=True)):
        aligned = raw[view] @ matrix[:, :2].T + matrix[:, 2]  # from the aligned image's centre
        delta_ang = (matrix[0, 2] - aligned[:, 0]) * PIXEL_ANG * np.tan(np.radians(-hand * tilt))
        np.testing.assert_allclose(stated.u_ang[view] - delta_ang, ours[view], atol=2.5)  # half a pixel of the centre


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("1 2 3\n", "line 1"),
        ("1 0 0. 0. 0. 3\n", "no range"),
        ("1 0 0. 0. 0. 3\n1 1 0 0 3000\n", "line 2"),
        ("1 1 -40 -40 3000 7\n", "version 7"),
        ("1 1 -40 -40 much\n", "line 1"),
        ("1 1.5 -40 -40 3000\n", "line 1"),
        ("1 1e300 -40 -40 3000\n", "line 1"),
        ("-3 1 -40 -40 3000\n", "line 1"),
        ("1 1 -40 -40 0\n", "a defocus of 0"),
        ("1 1 -40 nan 3000\n", "line 1"),
        ("1 1 -40 -40 3000 2\n30 30 40 40 3000\n", "for a stack of 9"),
        ("1 1 -40 -40 3000 2\n2 2 10 10 3000\n3 3 -20 -20 3000\n", "off by"),
    ],
)
def test_damage_is_said(tmp_path, text, word):
    (tmp_path / "a.defocus").write_text(text)
    with pytest.raises(FormatError, match=word):
        defocus_of_views(read_defocus(tmp_path / "a.defocus"), TILTS, "a.defocus")
