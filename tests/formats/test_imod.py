"""IMOD's files against formulas written here from its documentation, and against real alignments."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.angles import read_angles
from lamella.formats.imod import export_series, import_series
from lamella.formats.imod_com import number_list, read_command_file, write_number_list
from lamella.formats.imod_xf import read_xf, write_xf
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import TiltSeries

PIXEL_ANG = 2.5


def a_series(rng, count=7, shape=(301, 400), *, x_tilt_spread=0.0, geometry=True, place=None, **terms):
    tilt = np.linspace(-40, 41, count)
    made = TiltGeometry.from_angles(
        tilt + 2.3 + rng.normal(0, 0.2, count),
        83.7 + rng.normal(0, 0.1, count),
        x_tilt_deg=1.4 + x_tilt_spread * rng.normal(size=count),
        x_shift_ang=rng.normal(0, 60, count),
        y_shift_ang=rng.normal(0, 60, count),
        **({"magnification": 1 + rng.normal(0, 3e-3, count)} | terms),
    )
    return TiltSeries(
        name="ts",
        pixel_size_ang=PIXEL_ANG,
        image_shape_px=shape,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(count, 84.0),
        images=tuple(f"{number + 1:06d}@stack.mrc" for number in range(count)),
        place=place,
        geometry=made if geometry else None,
    )


def points(rng, count=40):
    return rng.uniform(-1, 1, (count, 3)) * (450, 350, 200)


def said(notes, kind, *words):
    return any(note.kind == kind and all(word in str(note) for word in words) for note in notes)


def imod_pixels(xf_row, tilt_deg, x_tilt_deg, p_px, size):
    """Where IMOD sees a point: pixel indices (x, y) from 0 in the raw image.

    p_px is X, Y, Z of IMOD's solution (bead_tracks: q_x = X cos t + Z sin t), turned about x first; the transform acts
    about (nx / 2, ny / 2), the middle of the image whose first pixel covers 0…1.
    """
    x, y, z = p_px
    a, t = np.radians(x_tilt_deg), np.radians(tilt_deg)
    y, z = y * np.cos(a) - z * np.sin(a), y * np.sin(a) + z * np.cos(a)
    aligned = np.array([x * np.cos(t) + z * np.sin(t), y])
    matrix, shift = np.array(xf_row[:4]).reshape(2, 2), np.array(xf_row[4:])
    raw = np.linalg.solve(matrix, aligned - shift)
    return raw + np.array(size) / 2 - 0.5


@pytest.mark.parametrize("shape", [(300, 400), (301, 400), (300, 401), (301, 401)])
def test_exported_files_project_points_where_imod_does(tmp_path, rng, shape):
    series = a_series(rng, shape=shape, x_tilt_spread=0.3)
    paths, _ = export_series([series], tmp_path, tmp_path)
    assert {path.name for path in paths} == {"ts.xf", "ts.tlt", "ts.xtilt", "ts.rawtlt", "tilt.com", "newst.com"}
    rows = np.loadtxt(tmp_path / "ts" / "ts.xf")
    tilt, x_tilt = np.loadtxt(tmp_path / "ts" / "ts.tlt"), np.loadtxt(tmp_path / "ts" / "ts.xtilt")
    text = (tmp_path / "ts" / "tilt.com").read_text()
    x_axis_tilt = float(text.split("XAXISTILT")[1].split()[0])
    height, width = shape
    p = points(rng)
    ours = series.geometry.project(p) / PIXEL_ANG + (width // 2, height // 2)  # pixel indices
    for view in range(len(series)):
        theirs = [
            imod_pixels(rows[view], tilt[view], x_tilt[view] - x_axis_tilt, one / PIXEL_ANG, (width, height))
            for one in p
        ]
        np.testing.assert_allclose(ours[view], theirs, atol=1e-3)


@pytest.mark.parametrize("shape", [(300, 400), (301, 400), (300, 401), (301, 401)])
def test_there_and_back(tmp_path, rng, shape):
    series = a_series(rng, shape=shape, x_tilt_spread=0.3)
    export_series([series], tmp_path, tmp_path)
    bare = a_series(rng, shape=shape, geometry=False)
    back, notes = import_series(tmp_path, bare)
    p = points(rng)
    np.testing.assert_allclose(back.geometry.project(p), series.geometry.project(p), atol=1e-3 * PIXEL_ANG)
    np.testing.assert_allclose(back.geometry.magnification, series.geometry.magnification, atol=1e-7)
    assert not said(notes, "dropped")


def write_imod(folder, series, rows, tilt, x_tilt=None, com=None, name="ts"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.xf").write_text("\n".join(" ".join(f"{value:.7f}" for value in row) for row in rows) + "\n")
    (folder / f"{name}.tlt").write_text("\n".join(f"{value:.4f}" for value in tilt) + "\n")
    if x_tilt is not None:
        (folder / f"{name}.xtilt").write_text("\n".join(f"{value:.4f}" for value in x_tilt) + "\n")
    if com is not None:
        (folder / "tilt.com").write_text("$tilt -StandardInput\n" + com + "\n$if (-e ./savework) ./savework\n")


def rotation_rows(rng, count, angle=84.0, stretch=0.0):
    turn = np.radians(angle + rng.normal(0, 0.2, count))
    a = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], 1)
    a[:, 0] *= 1 + stretch
    return np.concatenate([a, rng.normal(0, 20, (count, 2))], 1)


def test_tilt_com_is_taken_in(tmp_path, rng):
    """OFFSET (angle and axis), XAXISTILT, SHIFT and SUBSETSTART, against tilt's own equations."""
    series = a_series(rng, geometry=False)
    count, (height, width) = len(series), series.image_shape_px
    rows, tilt = rotation_rows(rng, count), series.nominal_tilt_deg + 1.0
    x_tilt = rng.normal(0, 0.3, count)
    com = (
        f"FULLIMAGE {width} {height}\nSUBSETSTART -10 -14\nIMAGEBINNED 1\nOFFSET 1.5 3.0\nXAXISTILT 2.0\nSHIFT 7.0 -9.0"
    )
    write_imod(tmp_path, series, rows, tilt, x_tilt, com)
    aligned = (width + 25, height + 27)  # x: 2·10 + 5, not cut about the centre
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, *aligned, 1, 0, 0, 0, 0, *aligned, 1)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, 0, 1, 0)
    header[208:216] = b"MAP \x44\x44\0\0"
    (tmp_path / "ts.ali").write_bytes(bytes(header) + bytes(aligned[0] * aligned[1]))
    back, notes = import_series(tmp_path, series)
    p_px = rng.uniform(-80, 80, (20, 3))
    for view in range(count):
        t, a = np.radians(tilt[view] + 1.5), np.radians(x_tilt[view] - 2.0)
        for one in p_px:
            # tilt.f90, with 1-based indices: volume centre -> slice coordinates, then project()
            i_x, i_z = one[0] + 1000, -one[2] + 500  # a volume 2000 wide and 1000 thick; z counts the other way
            x_off = 7.0 - ((aligned[0] / 2) - 10 - width / 2)
            xx = i_x - (1000 + 3.0 + x_off)
            zz = i_z - (500 - 9.0)
            centre_slice = height / 2 + 0.5 + 14
            yy = one[1] + aligned[1] / 2 + 0.5 - centre_slice
            sin_b, sin_a = -np.sin(t), -np.sin(a)
            x_proj = yy * sin_a * sin_b + zz * np.cos(a) * sin_b + xx * np.cos(t) + width / 2 + 0.5 + 10 + 3.0
            y_proj = yy * np.cos(a) - zz * sin_a + centre_slice
            in_aligned = np.array([x_proj, y_proj]) - 0.5 - np.array(aligned) / 2
            raw = np.linalg.solve(rows[view, :4].reshape(2, 2), in_aligned - rows[view, 4:])
            index = raw + np.array([width, height]) / 2 - 0.5
            ours = back.geometry.project(one * PIXEL_ANG)[view] / PIXEL_ANG + (width // 2, height // 2)
            np.testing.assert_allclose(ours, index, atol=2e-3)
    assert said(notes, "info", "XAXISTILT 2.0")


def test_excluded_and_absent_views_leave_the_record(tmp_path, rng):
    series = a_series(rng, count=8, geometry=False).select([0, 1, 2, 4, 5, 6, 7])
    rows, tilt = rotation_rows(rng, 8), np.linspace(-40, 41, 8) + 3
    write_imod(tmp_path, series, rows, tilt, com="EXCLUDELIST 1,6-7")
    back, notes = import_series(tmp_path / "ts.xf", series)
    assert back.place.tolist() == [2, 3, 5, 8]
    np.testing.assert_allclose(back.geometry.y_tilt_deg, tilt[[1, 2, 4, 7]], atol=1e-4)
    assert said(notes, "dropped", "-40°", "is excluded", "tilt.com")
    assert said(notes, "info", "line(s) 4", "no view")
    write_imod(tmp_path, series, rows, tilt, com="INCLUDE 2-5\nINCLUDE 8")
    assert import_series(tmp_path, series)[0].place.tolist() == [2, 3, 5, 8]


def test_lines_of_a_stack_in_order_of_recording(tmp_path, rng):
    place = np.array([7, 5, 3, 1, 2, 4, 6])
    series = a_series(rng, geometry=False, place=place)
    rows = rotation_rows(rng, 7)
    tilt = np.empty(7)
    tilt[place - 1] = series.nominal_tilt_deg + 2
    write_imod(tmp_path, series, rows, tilt)
    back, notes = import_series(tmp_path, series)
    np.testing.assert_allclose(back.geometry.y_tilt_deg, series.nominal_tilt_deg + 2, atol=1e-4)
    assert said(notes, "assumed", "no tilt.com")
    export_series([back], tmp_path / "out", tmp_path)
    again, notes = import_series(tmp_path / "out", series)
    np.testing.assert_allclose(again.geometry.project(points(rng)).shape, (7, 40, 2))
    np.testing.assert_allclose(again.geometry.y_tilt_deg, back.geometry.y_tilt_deg, atol=1e-4)
    assert said(notes, "info", "rising tilt angle")


def test_another_stacks_alignment_is_refused(tmp_path, rng):
    series = a_series(rng, geometry=False)
    rows = rotation_rows(rng, 7)
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg[::-1] * 0.5)
    with pytest.raises(FormatError, match="its tilt angles are not those of ts"):
        import_series(tmp_path, series)
    write_imod(tmp_path, series, rows[:5], series.nominal_tilt_deg[:5])
    with pytest.raises(FormatError, match="5 lines do not fit the 7 views"):
        import_series(tmp_path, series)
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg[:6])
    with pytest.raises(FormatError, match=r"ts.tlt: 6 lines, but ts.xf has 7"):
        import_series(tmp_path, series)
    write_imod(tmp_path, series, rows * [1, 1, -1, -1, 1, 1], series.nominal_tilt_deg)
    with pytest.raises(FormatError, match="view 1 mirrors"):
        import_series(tmp_path, series)


def test_damaged_and_absent_files(tmp_path, rng):
    series = a_series(rng, geometry=False)
    with pytest.raises(FormatError, match="not there"):
        import_series(tmp_path / "absent", series)
    with pytest.raises(FormatError, match=r"no ts.xf"):
        import_series(tmp_path, series)
    (tmp_path / "ts.xf").write_text("1 0 0 1 0 0\n1 0 0 1 0\n")
    with pytest.raises(FormatError, match="line 2"):
        read_xf(tmp_path / "ts.xf")
    (tmp_path / "ts.xf").write_text("1 0 0 1 0 0\n")
    with pytest.raises(FormatError, match=r"ts.tlt"):
        import_series(tmp_path, series)
    with pytest.raises(FormatError, match="no alignment"):
        export_series([series], tmp_path, tmp_path)


def test_what_the_model_has_no_place_for_is_told(tmp_path, rng):
    series = a_series(rng, geometry=False)
    rows = rotation_rows(rng, 7, stretch=0.004)
    com = "LOCALFILE tslocal.xf\nZFACTORFILE ts.zfac\nFULLIMAGE 400 301"
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg, com=com)
    back, notes = import_series(tmp_path, series)
    assert said(notes, "dropped", "LOCALFILE tslocal.xf", "not there")
    assert said(notes, "dropped", "ZFACTORFILE ts.zfac")
    assert said(notes, "info", "stretch", "local field")
    (note,) = [note for note in notes if "stretch" in note.text]
    told_px = float(note.text.split("up to ")[1].split()[0])
    # the same from scratch: the raw image's corners through the inverse and through the kept similarity
    worst = 0.0
    for row, turn, m in zip(rows, back.geometry.z_rot_deg, back.geometry.magnification, strict=True):
        true = np.linalg.inv(row[:4].reshape(2, 2))
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        kept = m * np.array([[c, -s], [s, c]])
        worst = max(worst, *(np.linalg.norm((true - kept) @ (x, y)) for x in (200, -200) for y in (150.5, -150.5)))
    assert told_px == pytest.approx(worst, abs=0.006)


@pytest.mark.parametrize("shape", [(300, 400), (301, 401)])
def test_stretch_comes_in_and_goes_out(tmp_path, rng, shape):
    series = a_series(rng, shape=shape, geometry=False)
    rows = rotation_rows(rng, 7)
    rows[:, :4] += rng.normal(0, 2e-3, (7, 4))
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg)
    back, _ = import_series(tmp_path, series)
    p_px = rng.uniform(-1, 1, (20, 3)) * (150, 110, 60)
    seen = back.geometry.project(p_px * PIXEL_ANG) / PIXEL_ANG + (shape[1] // 2, shape[0] // 2)
    for view in range(7):
        theirs = [imod_pixels(rows[view], back.geometry.y_tilt_deg[view], 0.0, one, shape[::-1]) for one in p_px]
        np.testing.assert_allclose(seen[view], theirs, atol=2e-3)
    _, notes = export_series([back], tmp_path / "out", tmp_path)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "out/ts/ts.xf"), rows, atol=2e-3)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "out/ts/ts.xf")[:, :4], rows[:, :4], atol=2e-5)
    assert not said(notes, "dropped", "local field")


@pytest.mark.parametrize("flags", [(0, 0), (1, 1)])
def test_local_alignments_of_the_middle_plane(tmp_path, rng, flags):
    """Areas' own angles and transforms, weighted bilinearly, against the same written out here."""
    series = a_series(rng, shape=(300, 400), geometry=False)
    rows, tilt = rotation_rows(rng, 7), series.nominal_tilt_deg + 0.0
    with_x, with_z = flags
    first, spacing, areas = np.array([100.0, 80.0]), np.array([200.0, 140.0]), {}
    lines = [f"2 2 {first[0]} {first[1]} {spacing[0]} {spacing[1]} {with_x} {PIXEL_ANG} {with_z}"]
    for row, column in np.ndindex(2, 2):
        change, x_change = rng.normal(0, 0.2, 7), rng.normal(0, 0.2, 7) * with_x
        local = np.column_stack([rng.normal(np.array([1.0, 0, 0, 1]), 1e-3, (7, 4)), rng.normal(0, 1, (7, 2))])
        areas[row, column] = change, x_change, local
        blocks = [change, *([x_change] if with_x else []), *([np.zeros(14)] if with_z else []), local.ravel()]
        lines += [" ".join(f"{value:.9f}" for value in block) for block in blocks]
    (tmp_path / "tslocal.xf").write_text("\n".join(lines))
    com = "LOCALFILE tslocal.xf\nFULLIMAGE 400 300\nTHICKNESS 60"
    write_imod(tmp_path, series, rows, tilt, com=com)
    back, notes = import_series(tmp_path, series)
    p_px = rng.uniform(-1, 1, (30, 3)) * (130, 90, 0)
    seen = back.geometry.project(p_px * PIXEL_ANG) / PIXEL_ANG
    for view in range(7):
        for point, found in zip(p_px, seen[view], strict=True):
            u, v = np.clip((point[:2] + np.array([200, 150]) - first) / spacing, 0, 1)
            aligned = np.zeros(2)
            for (row, column), (change, x_change, local) in areas.items():
                x, t = np.radians(x_change[view]), np.radians(tilt[view] + change[view])
                y, z = point[1] * np.cos(x), point[1] * np.sin(x)
                own = np.array([point[0] * np.cos(t) + z * np.sin(t), y])
                weight = (u if column else 1 - u) * (v if row else 1 - v)
                aligned += weight * (local[view, :4].reshape(2, 2) @ own + local[view, 4:])
            raw = np.linalg.solve(rows[view, :4].reshape(2, 2), aligned - rows[view, 4:]) - 0.5
            np.testing.assert_allclose(found, raw, atol=0.06)  # bilinear kinks, which a spline rounds off
    assert said(notes, "dropped", "local alignments change tilt angles")
    (tmp_path / "tslocal.xf").write_text("\n".join(lines[:-1]))
    with pytest.raises(FormatError, match="do not make 2 × 2 areas"):
        import_series(tmp_path, series)


def test_real_local_alignments_fit_beads_better(shared_data, tmp_path):
    folder = shared_data / "bead_tracks"
    for name, target in (("BBb.tltxf", "b.xf"), ("BBb.tlt", "b.tlt"), ("BBblocal.xf", "local.xf")):
        (tmp_path / target).write_bytes((folder / name).read_bytes())
    (tmp_path / "tilt.com").write_text("$tilt -StandardInput\nLOCALFILE local.xf\nFULLIMAGE 512 512\n")
    tracks = np.genfromtxt(folder / "BBb_tracks.csv", delimiter=",", names=True)
    beads = np.array([line.split()[1:4] for line in (folder / "BBbfid.xyz").read_text().splitlines()], float)
    series = TiltSeries(
        name="b",
        pixel_size_ang=20.2,
        image_shape_px=(512, 512),
        nominal_tilt_deg=-55.0 + 2 * np.arange(61),
        nominal_axis_deg=np.full(61, -12.5),
        place=np.arange(61, 0, -1),
    )
    back, _ = import_series(tmp_path, series)
    seen = back.geometry.project((beads - (256, 256, 0)) * 20.2) / 20.2 + 256.5
    off = seen[60 - tracks["view"].astype(int), tracks["bead"].astype(int) - 1]
    off = off - np.stack([tracks["x"], tracks["y"]], 1)
    assert np.sqrt((off**2).sum(1).mean()) < 0.36  # 0.377 px without them


def test_transforms_of_a_finer_stack(tmp_path, rng):
    series = a_series(rng, shape=(300, 400), geometry=False)
    rows = rotation_rows(rng, 7)
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg, com="FULLIMAGE 1600 1200")
    back, notes = import_series(tmp_path, series)
    assert said(notes, "assumed", "0.625 Å")
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg, com="FULLIMAGE 300 400")  # turned by the axis near 90°
    plain, notes = import_series(tmp_path, series)
    assert not said(notes, "assumed", "FULLIMAGE")
    half = np.array([0.5, 0.5])
    fine = back.geometry.shifts_ang() / 0.625 + half
    np.testing.assert_allclose(fine, plain.geometry.shifts_ang() / PIXEL_ANG + half, atol=1e-6)
    write_imod(tmp_path, series, rows, series.nominal_tilt_deg, com="FULLIMAGE 500 500")
    assert said(import_series(tmp_path, series)[1], "warning", "FULLIMAGE 500 500")


def test_export_names_sections_and_tells_of_the_field(tmp_path, rng):
    field = ImageField(rng.normal(0, 5, (7, 2, 3, 3)), (400.0, 300.0))
    series = a_series(rng, field=field, place=np.array([9, 7, 5, 1, 2, 4, 6]))
    series = series.with_changes(images=tuple(f"{place:06d}@raw/s.mrc" for place in series.place))
    paths, notes = export_series([series], tmp_path / "out", tmp_path)
    assert said(notes, "warning", "local field", "local alignments") or said(notes, "info", "local field")
    newst = read_command_file(tmp_path / "out" / "ts" / "newst.com", "newstack")
    assert newst.get("InputFile") == "../../raw/s.mrc"
    assert newst.get("SectionsToRead") == "8,6,4,0-1,3,5"
    assert newst.get("UseTransformLines") == "0-6"
    assert newst.get("SizeToOutputInXandY") == "301,400"  # the axis is near 90°: width and height change places
    tilt = read_command_file(tmp_path / "out" / "ts" / "tilt.com", "tilt")
    assert tilt.numbers("FULLIMAGE") == (301, 400)
    assert float(tilt.get("THICKNESS") or 0) % 2 == 0
    movies = series.with_changes(images=None, movies=("a",) * 7)
    paths, notes = export_series([movies], tmp_path / "out2", tmp_path)
    assert "newst.com" not in {path.name for path in paths}
    assert said(notes, "dropped", "movies")


def test_stack_in_the_records_order_needs_no_lines(tmp_path, rng):
    export_series([a_series(rng)], tmp_path, tmp_path)
    newst = read_command_file(tmp_path / "ts" / "newst.com", "newstack")
    assert newst.get("SectionsToRead") == "0-6"
    assert newst.get("UseTransformLines") is None


@given(st.lists(st.integers(0, 50), max_size=20))
def test_number_lists_survive(numbers):
    assert number_list(write_number_list(tuple(numbers)), "x") == tuple(numbers)


def test_number_lists_of_others():
    assert number_list("1, 3-5 9", "x") == (1, 3, 4, 5, 9)
    assert number_list("5-3", "x") == (5, 4, 3)
    for text in ("a", "1-", "1-999999999"):
        with pytest.raises(FormatError):
            number_list(text, "x")


def test_command_files(tmp_path):
    (tmp_path / "t.com").write_text(
        "# x\n$setenv A b\n$tilt -StandardInput\n OFFSET\t1.0, 2\nOFFSET 3 4\n$exit\nMODE 1\n"
    )
    command = read_command_file(tmp_path / "t.com", "tilt")
    assert command.numbers("offset") == (3, 4)
    assert command.get("MODE") is None
    with pytest.raises(FormatError, match="newstack"):
        read_command_file(tmp_path / "t.com", "newstack")
    (tmp_path / "t.com").write_text("$tilt\nOFFSET one\n")
    with pytest.raises(FormatError, match="OFFSET one"):
        read_command_file(tmp_path / "t.com", "tilt").numbers("OFFSET")


def test_xf_survives(tmp_path, rng):
    transforms = rng.normal(0, 1, (5, 2, 3))
    write_xf(tmp_path / "a.xf", transforms)
    np.testing.assert_allclose(read_xf(tmp_path / "a.xf"), transforms, atol=6e-6)


# --- real alignments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BBa", "BBb"])
def test_real_bead_positions_project_onto_their_tracks(shared_data, tmp_path, name):
    """Beads of IMOD's solution, through its .tltxf and .tlt read as a geometry, against the tracks themselves."""
    folder = shared_data / "bead_tracks"
    for suffix, target in ((".tltxf", "b.xf"), (".tlt", "b.tlt")):
        (tmp_path / target).write_bytes((folder / f"{name}{suffix}").read_bytes())
    tracks = np.genfromtxt(folder / f"{name}_tracks.csv", delimiter=",", names=True)
    beads = np.array([line.split()[1:4] for line in (folder / f"{name}fid.xyz").read_text().splitlines()], float)
    nominal = 65.0 - 2 * np.arange(61)
    series = TiltSeries(
        name="b",
        pixel_size_ang=20.2,
        image_shape_px=(512, 512),
        nominal_tilt_deg=nominal[::-1],
        nominal_axis_deg=np.full(61, -12.5),
        place=np.arange(61, 0, -1),
    )
    back, _ = import_series(tmp_path, series)
    p = (beads - (256, 256, 0)) * 20.2
    seen = back.geometry.project(p) / 20.2 + 256.5  # (view, bead, 2) px with the first pixel's middle at 0.5
    view = 60 - tracks["view"].astype(int)
    bead = tracks["bead"].astype(int) - 1
    off = seen[view, bead] - np.stack([tracks["x"], tracks["y"]], 1)
    rms_px = float(np.sqrt((off**2).sum(1).mean()))
    # IMOD's own model of these beads leaves 0.379 and 0.377 px
    assert rms_px < 0.38
    wrong = series.with_changes(geometry=back.geometry.with_terms(y_tilt_deg=-back.geometry.y_tilt_deg))
    mirrored = wrong.geometry.project(p) / 20.2 + 256.5
    assert np.sqrt(((mirrored[view, bead] - np.stack([tracks["x"], tracks["y"]], 1)) ** 2).sum(1).mean()) > 20


@pytest.mark.parametrize(("name", "com"), [("BBa", "tilta.com"), ("BBb", "tiltb.com")])
def test_real_x_axis_tilt_levels_the_beads(shared_data, name, com):
    """Beads lie on two surfaces, which the total tilt about x (less XAXISTILT) must make level in the tomogram."""
    folder = shared_data / "bead_tracks"
    x_axis_tilt = read_command_file(folder / com, "tilt").numbers("XAXISTILT")[0]
    beads = np.array([line.split()[1:4] for line in (folder / f"{name}fid.xyz").read_text().splitlines()], float)
    upper = beads[:, 2] > np.median(beads[:, 2])
    for _ in range(20):  # which surface a bead is on, and the slopes that both share
        design = np.column_stack([beads[:, :2], upper, ~upper])
        slopes = np.linalg.lstsq(design, beads[:, 2], rcond=None)[0]
        height = beads[:, 2] - beads[:, :2] @ slopes[:2]
        upper = height > (height.max() + height.min()) / 2
    slope_deg = np.degrees(np.arctan(slopes[1]))  # of a level plane turned by Rx(x): tan x
    assert slope_deg == pytest.approx(-x_axis_tilt, abs=0.5)


def test_real_relion_shifts_agree_with_imods_transforms(shared_data, tmp_path):
    """Two alignments of EMPIAR-10164 TS_01: RELION's table and an .xf; they differ by the specimen's origin alone."""
    lines = (shared_data / "relion5/AlignTiltSeries/job005/tilt_series/TS_01.star").read_text().splitlines()
    table = np.array([line.split()[23:28] for line in lines if line.startswith("frames/")], float)
    relion = TiltGeometry.from_angles(table[:, 0], table[:, 1], x_shift_ang=table[:, 2], y_shift_ang=table[:, 3])
    xf = shared_data / "imod/yaimodw_220728_TS_01/xf_file.xf"
    (tmp_path / "TS_01.xf").write_text("\n".join(xf.read_text().splitlines()[1:]))
    (tmp_path / "TS_01.tlt").write_text("\n".join(map(str, table[:, 0])))
    series = TiltSeries(
        name="TS_01",
        pixel_size_ang=1.35,
        image_shape_px=(3710, 3838),
        nominal_tilt_deg=table[:, 0],
        nominal_axis_deg=np.full(40, 85.0),
    )
    back, _ = import_series(tmp_path, series)
    np.testing.assert_allclose(back.geometry.z_rot_deg, relion.z_rot_deg, atol=0.06)
    difference = (relion.shifts_ang() - back.geometry.shifts_ang()).ravel()
    design = relion.matrices().reshape(-1, 3)
    origin = np.linalg.lstsq(design, difference, rcond=None)[0]
    rms_ang = np.sqrt(np.mean((difference - design @ origin) ** 2))
    assert rms_ang < 2.0  # 1.1 px: two runs; with the shifts' sign turned it is 40 Å


def test_real_etomo_folder(shared_data):
    folder = shared_data / "imod" / "etomofiles_TS_001"
    raw = read_angles(folder / "TS_001.rawtlt")
    series = TiltSeries(
        name="TS_001",
        pixel_size_ang=6.192,
        image_shape_px=(1023, 1440),
        nominal_tilt_deg=raw,
        nominal_axis_deg=np.full(40, 83.9),
    )
    back, notes = import_series(folder, series)
    assert len(back) == 39
    assert said(notes, "dropped", "is excluded", "TS_001.edf")
    np.testing.assert_allclose(back.geometry.z_rot_deg, 83.9, atol=0.5)
    assert np.median(back.geometry.y_tilt_deg - back.nominal_tilt_deg) == pytest.approx(2.9, abs=0.1)
    np.testing.assert_allclose(back.geometry.magnification, 1, atol=1e-6)
