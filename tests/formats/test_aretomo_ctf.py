"""AreTomo's ``_CTF.txt``, printed here as its programs print it, beside an alignment; in and out of a record."""

from __future__ import annotations

import numpy as np
import pytest
from tests.formats.defocused import a_series, assert_same_defocus, said, seen_at_centre, some_defocus

from lamella.errors import FormatError
from lamella.formats.aretomo import export_series, import_series
from lamella.formats.aretomo_file import read_aln

HEAD = (
    "# Columns: #1 micrograph number; #2 - defocus 1 [A]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - additional "
    "phase shift [radian]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were fit "
    "successfully"
)


def ctf_text(defoci, *, hand=None, phase=0.0):
    """CSaveCtfResults: "%4d   %8.2f  %8.2f  %8.2f  %9.4f  %8.4f  %8.4f  %3d"."""
    lines = [HEAD + ("" if hand is None else "; #8 - dfHand")]
    for n, defocus in enumerate(defoci):
        line = f"{n + 1:4d}   {defocus:8.2f}  {defocus - 300:8.2f}  {12.5:8.2f}  {phase:9.4f}  {0.1:8.4f}  {8.5:8.4f}"
        lines.append(line + ("" if hand is None else f"  {hand:3d}"))
    return "\n".join(lines) + "\n"


def aln_text(sections, tilts, *, count, dark=(), alpha=0.0):
    lines = ["# AreTomo Alignment / Priims bprmMn", f"# RawSize = 400 300 {count}", "# NumPatches = 0"]
    lines += [f"# DarkFrame = {place:5d} {section:4d} {tilt:8.2f}" for place, section, tilt in dark]
    lines += [f"# AlphaOffset = {alpha:8.2f}", "# BetaOffset =     0.00"]
    lines += [
        f"{section:5d}  {83.5:9.4f}    1.00000  {40.0:9.3f}  {-25.0:9.3f}     1.00     1.00     1.00     0.00"
        f"  {tilt:8.2f}"
        for section, tilt in zip(sections, tilts, strict=True)
    ]
    return "\n".join(lines) + "\n"


def read_back(folder, series=None):
    return import_series(folder, a_series(geometry=None) if series is None else series)


@pytest.mark.parametrize("dark_rows", [False, True])
def test_rows_are_the_sorted_stack_with_or_without_dark_views(tmp_path, dark_rows):
    """The record's stack in order of recording; two views are dark; the tilt offset moves lines past their rows."""
    place = np.array([9, 7, 5, 3, 1, 2, 4, 6, 8])
    tilts = np.linspace(-40, 40, 9)
    dark = [0, 4]
    kept = [view for view in range(9) if view not in dark]
    (tmp_path / "ts.aln").write_text(
        aln_text(
            place[kept] - 1, tilts[kept] + 11, count=9, alpha=11.0, dark=[(v, place[v] - 1, tilts[v]) for v in dark]
        )
    )
    defoci = 20000 + 1000 * np.arange(9)
    (tmp_path / "ts_CTF.txt").write_text(ctf_text(defoci if dark_rows else defoci[kept], phase=np.pi / 2))
    back, notes = read_back(tmp_path, a_series(geometry=None, place=place))
    assert len(back) == 7
    for row, view in enumerate(kept):
        assert seen_at_centre(back, row) == pytest.approx((defoci[view], defoci[view] - 300), abs=0.02)
    np.testing.assert_allclose(back.defocus.phase_shift_deg, 90, atol=0.01)
    np.testing.assert_allclose(back.defocus.angle_deg, 12.5)
    assert said(notes, "info", "images' centres")


@pytest.mark.parametrize("hand", [-1, 1])
def test_dfhand_is_the_hand(tmp_path, hand):
    """CGenAvgSpectrum: defocus of a tile = centre's + deltaZ · hand, with CTiltInducedZ's deltaZ = −x' · tan(tilt)."""
    tilts = np.linspace(-40, 40, 9)
    (tmp_path / "ts.aln").write_text(aln_text(range(9), tilts, count=9))
    (tmp_path / "ts_CTF.txt").write_text(ctf_text(np.full(9, 30000.0), hand=hand))
    back, notes = read_back(tmp_path)
    assert back.hand == hand
    assert said(notes, "overridden", "dfHand") == (hand > 0)
    turn = np.radians(83.5)
    for xy in ((500.0, 0.0), (0.0, 500.0), (-300.0, 200.0)):
        points = back.geometry.back_project(np.tile(xy, (9, 1, 1)), 0.0)[:, 0]
        across = xy[0] * np.cos(turn) + xy[1] * np.sin(turn)
        for view, tilt in enumerate(tilts):
            theirs = 30000.0 - across * np.tan(np.radians(tilt)) * hand
            assert back.defocus_at(points[view])[0][view] == pytest.approx(theirs, abs=0.02)


@pytest.mark.parametrize("gone", [False, True])
def test_there_and_back(tmp_path, gone):
    place = np.array([1, 2, 3, 5, 6, 7, 9, 10, 11]) if gone else None
    series = a_series(place=place, images=None, defocus=some_defocus(phase=True), hand=1)
    paths, notes = export_series([series], tmp_path, tmp_path)
    assert [path.name for path in paths] == ["ts.aln", "ts_CTF.txt"]
    rows = [line for line in paths[1].read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == (11 if gone else 9)  # AreTomo 3 wants a row for each section
    assert len(read_aln(paths[0]).dark) == (2 if gone else 0)
    assert said(notes, "assumed", "nearest tilt") == gone
    back, _ = read_back(tmp_path, a_series(place=place, geometry=None, images=None))
    assert_same_defocus(back.defocus, series.defocus, atol=0.05)
    assert back.hand == 1
    np.testing.assert_allclose(back.defocus.figure_of_merit, series.defocus.figure_of_merit, atol=1e-4)


def test_without_a_file_there_is_no_defocus(tmp_path):
    (tmp_path / "ts.aln").write_text(aln_text(range(9), np.linspace(-40, 40, 9), count=9))
    assert read_back(tmp_path)[0].defocus is None
    (tmp_path / "ts_ctf.txt").write_text(ctf_text(np.full(9, 3e4)))  # AreTomo 2's name
    assert read_back(tmp_path)[0].defocus is not None


def test_damage_is_said(tmp_path):
    (tmp_path / "ts.aln").write_text(aln_text(range(9), np.linspace(-40, 40, 9), count=9))
    (tmp_path / "ts_CTF.txt").write_text(ctf_text(np.full(8, 3e4)))
    with pytest.raises(FormatError, match="8 rows, for an alignment of 9 views and 0 dark ones"):
        read_back(tmp_path)
    (tmp_path / "ts_CTF.txt").write_text(HEAD + "\n")
    with pytest.raises(FormatError, match="no line of numbers"):
        read_back(tmp_path)
