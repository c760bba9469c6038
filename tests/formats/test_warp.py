"""Warp's files against its own equations, written here anew, and against files that Warp made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.angles import read_angles
from lamella.formats.imod import import_series as import_imod
from lamella.formats.warp import export_series, import_series
from lamella.formats.warp_file import read_warp
from lamella.geometry import ImageField, TiltGeometry
from lamella.records import Defocus, TiltSeries

PIXEL_ANG, COUNT = 2.5, 7


def a_series(shape=(300, 400), *, count=COUNT, geometry=None, **changes):
    tilt = np.linspace(-40, 41, count)
    values = {
        "name": "ts",
        "pixel_size_ang": PIXEL_ANG,
        "image_shape_px": shape,
        "nominal_tilt_deg": tilt,
        "nominal_axis_deg": np.full(count, 84.0),
        "movies": tuple(f"frames/ts_{n:03d}_{angle:.1f}.eer" for n, angle in enumerate(tilt)),
        "pre_exposure": np.arange(count) * 3.0,
        "geometry": geometry,
    }
    return TiltSeries(**(values | changes))


def a_geometry(rng, count=COUNT, **terms):
    return TiltGeometry.from_angles(
        np.linspace(-40, 41, count) + 2.3 + rng.normal(0, 0.2, count),
        83.7 + rng.normal(0, 0.1, count),
        x_shift_ang=rng.normal(0, 60, count),
        y_shift_ang=rng.normal(0, 60, count),
        **({"x_tilt_deg": 1.4} | terms),
    )


def points(rng, count=40):
    return rng.uniform(-1, 1, (count, 3)) * (450, 350, 200)


def said(notes, kind, *words):
    return any(note.kind == kind and all(word in str(note) for word in words) for note in notes)


def natural_spline(values, place):
    """einspline's: B-spline coefficients whose second derivative vanishes at both ends, evaluated in 0…1."""
    count = len(values)
    if count == 1:
        return values[0]
    system = np.zeros((count + 2, count + 2))
    system[0, :3] = system[-1, -3:] = 1, -2, 1
    for row in range(count):
        system[row + 1, row : row + 3] = 1 / 6, 4 / 6, 1 / 6
    coefficients = np.linalg.solve(system, np.concatenate([[0 * values[0]], values, [0 * values[0]]]))
    at = place * (count - 1)
    cell = int(np.clip(np.floor(at), 0, count - 2))
    t = at - cell
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(weight / 6 * coefficients[cell + n] for n, weight in enumerate(weights))


def grid_value(nodes, u, v, t):
    """A grid ``(depth, height, width)``."""
    planes = [natural_spline([natural_spline(list(row), u) for row in plane], v) for plane in nodes]
    return natural_spline(planes, t)


def warp_pixels(warp, view, p_ang, size_px, pixel_ang):
    """GetPositionsInOneTilt: pixel indices of a point p (x, y, z of the volume, Å from its centre), z as in Warp."""
    a, t = np.radians(warp.axis_deg[view]), np.radians(warp.angles_deg[view] + warp.level_deg[1])
    level = np.radians(warp.level_deg[0])
    cos, sin = np.cos, np.sin
    psi = -a  # Matrix3.Euler(0, t, psi), rows
    euler = np.array(
        [
            [cos(psi) * cos(t), sin(psi), -cos(psi) * sin(t)],
            [-sin(psi) * cos(t), cos(psi), sin(psi) * sin(t)],
            [sin(t), 0, cos(t)],
        ]
    )
    turn = np.array([[1, 0, 0], [0, cos(level), -sin(level)], [0, sin(level), cos(level)]])
    place = (euler @ turn @ p_ang)[:2] + warp.offset_ang[view] + np.array(size_px) / 2 * pixel_ang
    u, v = place / (np.array(size_px) * pixel_ang)
    time = view / (len(warp.angles_deg) - 1)
    move = [grid_value(warp.grid(f"GridMovement{axis}").nodes, u, v, time) for axis in "XY"]
    return (place - move) / pixel_ang


def ours(series, geometry, p):
    height, width = series.image_shape_px
    return geometry.project(p) / PIXEL_ANG + (width // 2, height // 2)


def theirs(warp, series, p):
    mirrored = p * (1, 1, -1)  # their z counts the other way
    size = series.image_shape_px[::-1]
    return np.array(
        [[warp_pixels(warp, view, one, size, PIXEL_ANG) for one in mirrored] for view in range(len(warp.angles_deg))]
    )


@pytest.mark.parametrize("shape", [(300, 400), (301, 401)])
@pytest.mark.parametrize("bent", [False, True])
def test_exported_files_put_points_where_warp_does(tmp_path, rng, shape, bent):
    terms = {}
    if bent:
        half = (shape[1] / 2 * PIXEL_ANG, shape[0] / 2 * PIXEL_ANG)
        terms["field"] = ImageField(rng.normal(0, 4, (COUNT, 2, 4, 5)), half)
        terms["magnification"] = 1 + rng.normal(0, 3e-3, COUNT)
    series = a_series(shape, geometry=a_geometry(rng, **terms))
    paths, notes = export_series([series], tmp_path, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        "warp_tiltseries/ts.xml",
        "tomostar/ts.tomostar",
    }
    p = points(rng, 3 if bent else 12) * 0.5  # inside the images: beyond, Warp's splines run away and ours are flat
    there = theirs(read_warp(paths[0]), series, p)
    np.testing.assert_allclose(ours(series, series.geometry, p), there, atol=0.03 if bent else 2e-5)
    assert not said(notes, "dropped")


def test_magnification_alone_is_said_exactly(tmp_path, rng):
    series = a_series(geometry=a_geometry(rng, magnification=1 + rng.normal(0, 4e-3, COUNT)))
    paths, _ = export_series([series], tmp_path, tmp_path)
    warp = read_warp(paths[0])
    assert warp.grid("GridMovementX").nodes.shape == (COUNT, 2, 2)
    p = points(rng, 8)
    np.testing.assert_allclose(ours(series, series.geometry, p), theirs(warp, series, p), atol=2e-5)
    back, _ = import_series(tmp_path, a_series())
    np.testing.assert_allclose(back.geometry.magnification, series.geometry.magnification, atol=1e-7)
    assert back.geometry.field is None


@pytest.mark.parametrize("shape", [(300, 400), (301, 401)])
@pytest.mark.parametrize("bent", [False, True])
def test_there_and_back(tmp_path, rng, shape, bent):
    terms = {"magnification": 1 + rng.normal(0, 3e-3, COUNT)}
    if bent:
        terms["field"] = ImageField(rng.normal(0, 4, (COUNT, 2, 3, 3)), (500, 375))
    defocus = Defocus(u_ang=rng.uniform(2e4, 3e4, COUNT), v_ang=rng.uniform(2e4, 3e4, COUNT), angle_deg=np.arange(7.0))
    series = a_series(shape, geometry=a_geometry(rng, **terms), defocus=defocus, hand=1)
    export_series([series], tmp_path, tmp_path)
    back, notes = import_series(tmp_path, a_series(shape))
    p = points(rng) * 0.6
    np.testing.assert_allclose(back.geometry.project(p), series.geometry.project(p), atol=0.1 if bent else 1e-4)
    np.testing.assert_allclose(back.defocus.u_ang, defocus.u_ang, atol=0.02)
    np.testing.assert_allclose(back.defocus.v_ang, defocus.v_ang, atol=0.02)
    assert back.hand == 1
    assert said(notes, "overridden", "AreAnglesInverted")


def test_phase_shifts_are_in_units_of_pi(tmp_path, rng):
    phase = np.linspace(60, 90, COUNT)
    defocus = Defocus(
        u_ang=np.full(COUNT, 2e4), v_ang=np.full(COUNT, 2e4), angle_deg=np.zeros(COUNT), phase_shift_deg=phase
    )
    paths, _ = export_series([a_series(geometry=a_geometry(rng), defocus=defocus)], tmp_path, tmp_path)
    np.testing.assert_allclose(read_warp(paths[0]).grid("GridCTFPhase").nodes[:, 0, 0], phase / 180, atol=1e-6)
    back, notes = import_series(tmp_path, a_series())
    np.testing.assert_allclose(back.defocus.phase_shift_deg, phase, atol=1e-4)
    assert not said(notes, "dropped")
    theirs_text = grids_text("GridCTF", np.full((COUNT, 1, 1), 2.5)) + grids_text(
        "GridCTFPhase", np.full((1, 1, 1), 0.5)
    )
    (tmp_path / "ts.xml").write_text(xml(a_series(), extra=theirs_text))
    back, _ = import_series(tmp_path / "ts.xml", a_series())
    np.testing.assert_allclose(back.defocus.phase_shift_deg, 90)
    np.testing.assert_allclose(back.defocus.u_ang, 25000)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(-90, 90), st.floats(-10, 10))
def test_any_geometry_comes_back(tmp_path_factory, seed, axis, x_tilt):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("warp")
    geometry = a_geometry(rng, x_tilt_deg=x_tilt).with_terms(z_rot_deg=axis)
    series = a_series(geometry=geometry)
    export_series([series], folder, folder)
    back, _ = import_series(folder, a_series())
    p = points(rng)
    np.testing.assert_allclose(back.geometry.project(p), geometry.project(p), atol=1e-4)


def grids_text(name, nodes):
    depth, height, width = nodes.shape
    out = [f'<{name} Width="{width}" Height="{height}" Depth="{depth}" MarginX="0" MarginY="0" MarginZ="0">']
    for z, y, x in np.ndindex(depth, height, width):
        out.append(f'<Node X="{x}" Y="{y}" Z="{z}" Value="{nodes[z, y, x]:.9g}" />')
    return "\n".join([*out, f"</{name}>"])


def xml(series, *, attributes="", use=None, movies=True, extra="", offset=None, declared="utf-8"):
    n = len(series)
    offset = np.zeros((n, 2)) if offset is None else offset
    columns = {
        "Angles": series.nominal_tilt_deg + 1.0,
        "Dose": np.arange(n),
        "UseTilt": use or ["True"] * n,
        "AxisAngle": np.full(n, 84.5),
        "AxisOffsetX": offset[:, 0],
        "AxisOffsetY": offset[:, 1],
        "MoviePath": [name.replace("frames/", "../elsewhere/") for name in series.movies] if movies else [],
    }
    body = "\n".join(f"<{name}>" + "\n".join(map(str, values)) + f"</{name}>" for name, values in columns.items())
    head = f'<?xml version="1.0" encoding="{declared}"?>\n<TiltSeries {attributes}>\n'
    return f"{head}{body}\n{extra}\n</TiltSeries>"


@pytest.mark.parametrize("depth", [1, COUNT, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 3)])
def test_movement_grids_become_the_model(tmp_path, rng, depth, size):
    series = a_series()
    nodes = [rng.normal(0, 8, (depth, *size)) for _ in "XY"]
    extra = "".join(grids_text(f"GridMovement{axis}", values) for axis, values in zip("XY", nodes, strict=True))
    level = 'LevelAngleX="2.5" LevelAngleY="-1.5"'
    (tmp_path / "ts.xml").write_text(xml(series, extra=extra, attributes=level, offset=rng.normal(0, 50, (COUNT, 2))))
    back, notes = import_series(tmp_path, series)
    p = points(rng, 10) * 0.5
    there = theirs(read_warp(tmp_path / "ts.xml"), series, p)
    np.testing.assert_allclose(ours(series, back.geometry, p), there, atol=0.02)
    assert (back.geometry.field is None) == (size == (1, 1))
    assert said(notes, "info", "movement grids")


def test_views_are_found_by_name_and_unused_ones_leave(tmp_path):
    series = a_series()
    order = [3, 0, 6, 1, 2, 5, 4]
    shuffled = series.select(order)
    use = ["True"] * COUNT
    use[order.index(2)] = "False"
    (tmp_path / "ts.xml").write_text(xml(shuffled, use=use))
    back, notes = import_series(tmp_path, series)
    np.testing.assert_allclose(back.geometry.y_tilt_deg, np.delete(series.nominal_tilt_deg, 2) + 1)
    assert said(notes, "dropped", "UseTilt")
    (tmp_path / "ts.xml").write_text(xml(series, movies=False))
    back, notes = import_series(tmp_path, series.with_changes(movies=tuple(f"x{n}.tif" for n in range(COUNT))))
    np.testing.assert_allclose(back.geometry.y_tilt_deg, series.nominal_tilt_deg + 1)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_encodings(tmp_path, encoding):
    series = a_series()
    (tmp_path / "ts.xml").write_text(xml(series, declared=encoding[:6].rstrip("-")), encoding=encoding)
    assert len(read_warp(tmp_path / "ts.xml").angles_deg) == COUNT


def test_what_has_no_place_is_refused_or_told(tmp_path, rng):
    series = a_series()
    warped = grids_text("GridVolumeWarpX", rng.normal(0, 30, (2, 2, 2)))
    (tmp_path / "ts.xml").write_text(xml(series, extra=warped))
    with pytest.raises(FormatError, match="GridVolumeWarp"):
        import_series(tmp_path, series)
    little = grids_text("GridVolumeWarpX", np.full((2, 2, 2), 0.1)) + grids_text("GridAngleX", np.full((7, 1, 1), 0.5))
    magnified = 'MagnificationCorrection="1.01, 0.99, 30"'
    (tmp_path / "ts.xml").write_text(xml(series, extra=little, attributes=magnified))
    _, notes = import_series(tmp_path, series)
    for word in ("GridVolumeWarp", "GridAngle", "MagnificationCorrection"):
        assert said(notes, "dropped", word)
    views = a_geometry(rng, x_tilt_deg=rng.normal(0, 1, COUNT))
    _, notes = export_series([a_series(geometry=views)], tmp_path, tmp_path)
    assert said(notes, "dropped", "tilt about x")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no XML"),
        ("<Movie></Movie>", "not a TiltSeries"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><TiltSeries/>', "document type"),
        ("<TiltSeries></TiltSeries>", "no Angles"),
        ("<TiltSeries><Angles>1\n2</Angles><Dose>1</Dose></TiltSeries>", "1 entries of Dose"),
        ("<TiltSeries><Angles>1\nNaN</Angles></TiltSeries>", "no number"),
        ("<TiltSeries><Angles>1\n2</Angles><MoviePath>a</MoviePath></TiltSeries>", "MoviePath"),
        ('<TiltSeries><Angles>1\n2</Angles><GridCTF Width="9999" Height="9999" Depth="9"/></TiltSeries>', "nodes"),
        ('<TiltSeries><Angles>1</Angles><GridCTF Width="2"><Node X="0" Value="1"/></GridCTF></TiltSeries>', "lacks"),
        ('<TiltSeries><Angles>1</Angles><GridCTF><Node X="7" Value="1"/></GridCTF></TiltSeries>', "outside its size"),
    ],
)
def test_damage_is_said(tmp_path, text, word):
    (tmp_path / "ts.xml").write_text(text)
    with pytest.raises(FormatError, match=word):
        read_warp(tmp_path / "ts.xml")


def test_a_stacks_views_want_files_of_their_own(tmp_path, rng):
    images = tuple(f"{n + 1:06d}@ts.mrc" for n in range(COUNT))
    series = a_series(geometry=a_geometry(rng), movies=None, images=images, pre_exposure=None)
    paths, notes = export_series([series], tmp_path, tmp_path)
    assert said(notes, "warning", "ts_001.mrc")
    assert said(notes, "assumed", "dose")
    assert "ts_007.mrc" in paths[1].read_text()


def real_series(tilt, shape=(512, 512), pixel=10.0, movies=None):
    return TiltSeries(
        name="00254",
        pixel_size_ang=pixel,
        image_shape_px=shape,
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(len(tilt), -4.3),
        images=tuple(f"{n + 1:06d}@a.mrc" for n in range(len(tilt))),
        movies=movies,
    )


def test_warps_own_import_of_a_real_xf(tmp_path, shared_data):
    """What Warp made of an .xf is what we export of it, but for IMOD's half pixel."""
    folder = shared_data / "warp" / "xf_import"
    tilt = read_angles(folder / "00254.tlt")
    series, _ = import_imod(folder / "00254.xf", real_series(tilt))
    paths, _ = export_series([series], tmp_path, tmp_path)
    mine, made = read_warp(paths[0]), read_warp(folder / "00254.xml")
    np.testing.assert_allclose(mine.offset_ang, made.offset_ang - 5.0, atol=2e-3)
    np.testing.assert_allclose(mine.axis_deg, made.axis_deg, atol=1e-4)
    np.testing.assert_allclose(mine.angles_deg, made.angles_deg, atol=1e-3)
    back, _ = import_series(folder / "00254.xml", real_series(tilt))
    moved = back.geometry.shifts_ang() - series.geometry.shifts_ang()
    np.testing.assert_allclose(moved, 5.0, atol=2e-3)


def test_real_files_are_read(shared_data):
    full = read_warp(shared_data / "warp" / "empiar10499_00254_full.xml")
    series = real_series(np.array(full.angles_deg), movies=tuple(name.split("/")[-1] for name in full.movies))
    back, _ = import_series(shared_data / "warp" / "empiar10499_00254_full.xml", series)
    assert len(back) == 41
    assert back.hand == 1
    np.testing.assert_allclose(back.defocus.u_ang + back.defocus.v_ang, 2e4 * full.grid("GridCTF").nodes[:, 0, 0])
    old = read_warp(shared_data / "warp" / "cryocat_TS_017" / "017.xml")
    assert old.grid("GridMovementX").nodes.shape == (60, 3, 3)
    np.testing.assert_array_equal(old.magnification, np.eye(2))
