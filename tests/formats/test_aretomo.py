"""AreTomo's .aln against formulas written here from its own programs, and against real files."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.aretomo import export_series, import_series
from lamella.formats.aretomo_file import read_aln, write_aln
from lamella.formats.imod import import_series as import_imod
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import TiltSeries

PIXEL_ANG = 1.7
COUNT = 6
TILTS = np.linspace(-30, 30, COUNT)


def a_series(shape=(301, 400), *, geometry=None, place=None, tilt=TILTS):
    return TiltSeries(
        name="ts",
        pixel_size_ang=PIXEL_ANG,
        image_shape_px=shape,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(len(tilt), -94.0),
        geometry=geometry,
        place=place,
    )


def a_geometry(rng, *, x_tilt_deg=1.2, field=None, count=COUNT):
    return TiltGeometry.from_angles(
        np.linspace(-30, 30, count) + 4.1 + rng.normal(0, 0.1, count),
        -93.7 + rng.normal(0, 0.1, count),
        x_tilt_deg=x_tilt_deg,
        x_shift_ang=rng.normal(0, 40, count),
        y_shift_ang=rng.normal(0, 40, count),
        field=field,
    )


def points(rng, count=50):
    return rng.uniform(-1, 1, (count, 3)) * (250, 200, 150)


def said(notes, kind, *words):
    return any(note.kind == kind and all(word in str(note) for word in words) for note in notes)


def aln_text(rows, *, size=(400, 301, COUNT), header=(), local=()):
    """As AreTomo 3 writes it (CSaveAlignFile); rows of SEC ROT TX TY TILT."""
    lines = ["# AreTomo Alignment / Priims bprmMn", "# RawSize = {} {} {}".format(*size), *header]
    lines.append("# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT")
    for sec, rot, tx, ty, tilt in rows:
        lines.append(
            f"{sec:5d}  {rot:9.4f}  {1:9.5f}  {tx:9.3f}  {ty:9.3f}     1.00     1.00     1.00     0.00  {tilt:8.2f}"
        )
    if local:
        lines += [
            "# Local Alignment",
            *(f"{t:4d} {p:3d} {x:8.2f} {y:8.2f} {sx:8.2f} {sy:8.2f}  {g:4.1f}" for t, p, x, y, sx, sy, g in local),
        ]
    return "\n".join(lines) + "\n"


def rows_of(rng, count=COUNT, first=0):
    return [
        (n + first, -93.7, *rng.normal(0, 20, 2).round(3), round(float(tilt) + 4, 2))
        for n, tilt in enumerate(np.linspace(-30, 30, count))
    ]


def aretomo_pixels(row, p_px, size, local=None):
    """Where AreTomo sees a point (CCorrTomoStack's kernel): pixel indices from 0 in the raw image.

    The aligned image is projected by x cos t + z sin t (GBackProj); its point a is fetched at Rot(ROT) · a + local +
    (TX, TY) from the middle of the image, whose first pixel covers 0…1.
    """
    _, rot, tx, ty, tilt = row
    t, turn = np.radians(tilt), np.radians(rot)
    a = np.array([p_px[0] * np.cos(t) + p_px[2] * np.sin(t), p_px[1]])
    raw = np.array([a[0] * np.cos(turn) - a[1] * np.sin(turn), a[0] * np.sin(turn) + a[1] * np.cos(turn)])
    if local is not None:
        raw = raw + local(raw)
    return raw + (tx, ty) + np.array(size) / 2 - 0.5


@pytest.mark.parametrize("size", [(400, 300), (400, 301), (401, 300), (401, 301)])
def test_global_alignment_projects_points_where_aretomo_does(tmp_path, rng, size):
    rows = rows_of(rng)
    (tmp_path / "ts.aln").write_text(aln_text(rows, size=(*size, COUNT)))
    width, height = size
    back, _ = import_series(tmp_path, a_series((height, width)))
    p = points(rng)
    ours = back.geometry.project(p) / PIXEL_ANG + (width // 2, height // 2)
    for view, row in enumerate(rows):
        theirs = [aretomo_pixels(row, one / PIXEL_ANG, size) for one in p]
        np.testing.assert_allclose(ours[view], theirs, atol=1e-9)


def test_same_as_the_xf_that_aretomo_writes(tmp_path, rng):
    """CSaveXF: A = Rot(−axis), d = −A · shift; read as IMOD's, the geometry is the same."""
    rows = rows_of(rng)
    (tmp_path / "ts.aln").write_text(aln_text(rows))
    lines = []
    for _, rot, tx, ty, _ in rows:
        c, s = np.cos(-np.radians(rot)), np.sin(-np.radians(rot))
        lines.append(f"{c:.9f} {-s:.9f} {s:.9f} {c:.9f} {c * -tx + -s * -ty:.6f} {s * -tx + c * -ty:.6f}")
    (tmp_path / "ts.xf").write_text("\n".join(lines))
    (tmp_path / "ts.tlt").write_text("\n".join(str(row[4]) for row in rows))
    ours, _ = import_series(tmp_path, a_series())
    imods, _ = import_imod(tmp_path, a_series())
    p = points(rng)
    np.testing.assert_allclose(ours.geometry.project(p), imods.geometry.project(p), atol=1e-4)


@pytest.mark.parametrize("shape", [(300, 400), (301, 401)])
def test_there_and_back(tmp_path, rng, shape):
    series = a_series(shape, geometry=a_geometry(rng))
    (path,), notes = export_series([series], tmp_path, tmp_path)
    assert path == tmp_path / "ts.aln"
    assert said(notes, "info", "BetaOffset")
    back, notes = import_series(path, a_series(shape))
    p = points(rng)
    np.testing.assert_allclose(back.geometry.project(p), series.geometry.project(p), atol=1e-3 * PIXEL_ANG)
    np.testing.assert_allclose(back.geometry.x_tilt_deg, 1.2, atol=1e-4)
    assert said(notes, "info", "AlphaOffset")
    assert not said(notes, "dropped")


def test_beta_offset_turns_the_frame_alone(tmp_path, rng):
    """The same points, turned about x, appear at the same places: no picture changes."""
    rows = rows_of(rng)
    (tmp_path / "flat.aln").write_text(aln_text(rows))
    (tmp_path / "tilted.aln").write_text(aln_text(rows, header=("# BetaOffset =     2.00", "# Thickness = 300")))
    flat, _ = import_series(tmp_path / "flat.aln", a_series())
    tilted, notes = import_series(tmp_path / "tilted.aln", a_series())
    p = points(rng)
    c, s = np.cos(np.radians(2)), np.sin(np.radians(2))
    turned = p @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T
    np.testing.assert_allclose(tilted.geometry.project(p), flat.geometry.project(turned), atol=1e-9)
    # CTiltInducedZ at no tilt: the depth of a level specimen grows by tan(beta) along y
    assert tilted.geometry.with_terms(y_tilt_deg=0.0).depth_ang([0, 100, 0])[0] > 0
    assert said(notes, "dropped", "Thickness 300")


def test_dark_images_and_missing_sections(tmp_path, rng):
    series = a_series(geometry=a_geometry(rng)).select([0, 1, 3, 5])
    (path,), notes = export_series([series], tmp_path, tmp_path)
    assert said(notes, "assumed", "3, 5")
    aln = read_aln(path)
    assert aln.raw_size == (400, 301, 6)
    assert [(section, round(tilt)) for _, section, tilt in aln.dark] == [(2, -6), (4, 18)]
    back, notes = import_series(path, a_series())
    assert back.place.tolist() == [1, 2, 4, 6]
    assert said(notes, "dropped", "-6°", "18°")
    p = points(rng)
    np.testing.assert_allclose(back.geometry.project(p), series.geometry.project(p), atol=1e-3 * PIXEL_ANG)


def test_sections_of_the_stack_itself_are_counted(tmp_path, rng):
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, 400, 301, 9, 0, 0, 0, 0, 400, 301, 9)
    header[208:216] = b"MAP \x44\x44\0\0"
    (tmp_path / "s.mrc").write_bytes(bytes(header) + bytes(400 * 301 * 9))
    series = a_series(geometry=a_geometry(rng)).with_changes(images=tuple(f"{n + 1:06d}@s.mrc" for n in range(COUNT)))
    (path,), notes = export_series([series], tmp_path, tmp_path)
    assert read_aln(path).raw_size == (400, 301, 9)
    assert [section for _, section, _ in read_aln(path).dark] == [6, 7, 8]
    assert said(notes, "assumed", "7, 8, 9")


def test_sections_in_any_order_and_counted_from_one(tmp_path, rng):
    place = np.array([6, 4, 2, 1, 3, 5])
    rows = rows_of(rng)
    by_section = [(int(place[n]) - 1, *row[1:]) for n, row in enumerate(rows)]
    (tmp_path / "zero.aln").write_text(aln_text(by_section))
    back, _ = import_series(tmp_path / "zero.aln", a_series(place=place))
    np.testing.assert_allclose(back.geometry.y_tilt_deg, TILTS + 4, atol=1e-9)
    (tmp_path / "one.aln").write_text(aln_text([(row[0] + 1, *row[1:]) for row in by_section]))
    back, notes = import_series(tmp_path / "one.aln", a_series(place=place))
    np.testing.assert_allclose(back.geometry.y_tilt_deg, TILTS + 4, atol=1e-9)
    assert said(notes, "info", "SEC counts from 1")
    (tmp_path / "sorted.aln").write_text(aln_text(rows))
    back, notes = import_series(tmp_path / "sorted.aln", a_series(place=place))
    np.testing.assert_allclose(back.geometry.y_tilt_deg, TILTS + 4, atol=1e-9)
    assert said(notes, "info", "by rising tilt angle")


def test_local_alignment_follows_aretomos_patches(tmp_path, rng):
    """Patches that sample one smooth field in AreTomo's axes: the imported model moves points alike."""
    rows = rows_of(rng)

    def bend(view):
        def local(raw):
            x, y = raw[..., 0] / 200, raw[..., 1] / 150
            return np.stack([2 * x * y + 0.3 * view, 1.5 * x**2 - y], axis=-1)

        return local

    grid = np.stack(np.meshgrid(np.linspace(-180, 180, 5), np.linspace(-130, 130, 5)), -1).reshape(-1, 2)
    table = []
    for view in range(COUNT):
        for patch, place in enumerate(grid):
            bad = patch == 7
            shift = np.array([50.0, 50.0]) if bad else bend(view)(place)
            table.append((view, patch, *place, *shift, 0.0 if bad else 1.0))
    (tmp_path / "ts.aln").write_text(aln_text(rows, header=("# NumPatches = 25",), local=table))
    back, notes = import_series(tmp_path, a_series())
    (note,) = [note for note in notes if "local alignment" in note.text]
    assert "25 patches" in note.text
    p = rng.uniform(-1, 1, (60, 3)) * (120, 120, 60)
    ours = back.geometry.project(p) / PIXEL_ANG + (200, 150)
    for view, row in enumerate(rows):
        theirs = [aretomo_pixels(row, one / PIXEL_ANG, (400, 301), bend(view)) for one in p]
        # a spline that is flat at the outer patches cannot follow a slope there exactly
        np.testing.assert_allclose(ours[view], theirs, atol=0.15)


@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (4, 5), (5, 3)])
def test_local_field_there_and_back(tmp_path, rng, grid):
    field = ImageField(rng.normal(0, 3, (COUNT, 2, *grid)), (300.0, 220.0))
    series = a_series(geometry=a_geometry(rng, field=field))
    (path,), _ = export_series([series], tmp_path, tmp_path)
    back, _ = import_series(path, a_series())
    assert back.geometry.field is not None
    assert back.geometry.field.nodes_ang.shape == field.nodes_ang.shape
    p = points(rng)
    np.testing.assert_allclose(back.geometry.project(p), series.geometry.project(p), atol=0.02 * PIXEL_ANG)


def test_what_aretomo_cannot_say(tmp_path, rng):
    with pytest.raises(FormatError, match="no alignment"):
        export_series([a_series()], tmp_path, tmp_path)
    stretched = a_geometry(rng).with_terms(magnification=1.02)
    with pytest.raises(FormatError, match=r"5\.0 px, which AreTomo cannot say"):
        export_series([a_series(geometry=stretched)], tmp_path, tmp_path)
    slightly = a_geometry(rng).with_terms(magnification=1.001)
    assert said(export_series([a_series(geometry=slightly)], tmp_path, tmp_path)[1], "dropped", "0.250 px")
    wobbling = a_geometry(rng, x_tilt_deg=rng.normal(0, 1, COUNT))
    assert said(export_series([a_series(geometry=wobbling)], tmp_path, tmp_path)[1], "dropped", "differs between views")


def test_damaged_files(tmp_path, rng):
    series = a_series()
    good = aln_text(rows_of(rng))
    for text, word in (
        ("# nothing\n", "no line of alignment"),
        (good + "1 2 3\n", "not 10 numbers"),
        (good.replace("1.00000", "nan", 1), "not 10 numbers"),
        (good.replace("RawSize = 400", "RawSize = many"), "not 3 numbers"),
        (good + "# Local Alignment\n0 0 1 1 1 1 1.0\n0 1 1 1 1 1 1.0\n", "2 rows, not one for each of 6 lines"),
        (good.replace("RawSize = 400 301", "RawSize = 500 301"), "RawSize 500 × 301"),
    ):
        (tmp_path / "ts.aln").write_text(text)
        with pytest.raises(FormatError, match=word):
            import_series(tmp_path, series)
    with pytest.raises(FormatError, match="not there"):
        import_series(tmp_path / "absent.aln", series)
    (tmp_path / "ts.aln").rename(tmp_path / "b.aln")
    (tmp_path / "b.aln").write_text(good + "# GMAG = 3\n")
    notes = import_series(tmp_path, series)[1]
    assert said(notes, "assumed", "b.aln was taken")
    assert said(notes, "dropped", "GMAG = 3")
    (tmp_path / "c.aln").write_text(good)
    with pytest.raises(FormatError, match=r"b.aln, c.aln"):
        import_series(tmp_path, series)


def test_binned_record_takes_the_unbinned_shifts(tmp_path, rng):
    rows = rows_of(rng)
    (tmp_path / "ts.aln").write_text(aln_text(rows, size=(1600, 1204, COUNT)))
    back, notes = import_series(tmp_path, a_series())
    assert said(notes, "assumed", "0.425 Å")
    assert back.geometry.x_shift_ang[0] == pytest.approx((rows[0][2] - 0.5) * PIXEL_ANG / 4)


@pytest.mark.parametrize(
    ("name", "count", "size", "axis"),
    [("Position_5_4.aln", 31, (4096, 4096), 83.94), ("lil_aretomo_example_v1_3_0.aln", 41, (5760, 4092), -93.67)],
)
def test_real_files(shared_data, tmp_path, name, count, size, axis):
    aln = read_aln(shared_data / "aretomo" / name)
    assert aln.raw_size == (*size, count)
    np.testing.assert_allclose(aln.axis_deg, axis, atol=0.01)
    series = TiltSeries(
        name="x",
        pixel_size_ang=1.0,
        image_shape_px=size[::-1],
        nominal_tilt_deg=aln.tilt_deg,
        nominal_axis_deg=aln.axis_deg,
    )
    back, notes = import_series(shared_data / "aretomo" / name, series)
    assert not [note for note in notes if note.kind in ("dropped", "assumed", "warning")]
    (path,), _ = export_series([back], tmp_path, tmp_path)
    again = read_aln(path)
    np.testing.assert_allclose(again.shift_px, aln.shift_px, atol=1e-3)
    np.testing.assert_array_equal(again.section, aln.section)
    np.testing.assert_allclose(again.tilt_deg, aln.tilt_deg)


def test_file_survives(tmp_path, rng):
    (tmp_path / "a.aln").write_text(aln_text(rows_of(rng), header=("# DarkFrame =     1    2   -45.00", "# Odd = 1")))
    aln = read_aln(tmp_path / "a.aln")
    assert aln.dark == ((1, 2, -45.0),)
    assert aln.unread == ("line 4: Odd = 1",)
    write_aln(tmp_path / "b.aln", aln)
    again = read_aln(tmp_path / "b.aln")
    np.testing.assert_array_equal(again.shift_px, aln.shift_px)
    assert again.dark == aln.dark
