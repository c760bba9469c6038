"""IMOD's models and fiducials, against files made here byte by byte from IMOD's description of the format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.imod_com import read_command_file
from lamella.formats.imod_model import ImodModel, read_model, write_model
from lamella.formats.imod_tracks import export_tracks, import_tracks
from lamella.records import TiltSeries
from lamella.records.tracks import Tracks

COUNT, HEIGHT, WIDTH, PIXEL_ANG = 5, 301, 400, 2.5


def header(size=(WIDTH, HEIGHT, COUNT), objects=1, flags=0xE000, pixel=1.0, units=0):
    out = b"IMODV1.2" + b"beads".ljust(128, b"\0")
    out += struct.pack(">3i", *size) + struct.pack(">iI", objects, flags) + struct.pack(">4i", 1, 1, 0, 255)
    out += struct.pack(">6f", 0, 0, 0, 1, 1, 1) + struct.pack(">5i", 0, 0, 0, 3, 128)
    return out + struct.pack(">fi", pixel, units) + struct.pack(">i3f", 0, 0, 0, 0)


def an_object(contours):
    out = b"OBJT" + b"".ljust(64, b"\0") + bytes(64) + struct.pack(">iIii", contours, 0x18, 0, 0)
    return out + struct.pack(">3fi", 0, 1, 0, 0) + bytes([1, 3, 1, 1, 0, 0, 0, 0]) + struct.pack(">ii", 0, 0)


def contour(points):
    out = b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0)
    return out + b"".join(struct.pack(">3f", *point) for point in points)


def chunk(name, data):
    return name + struct.pack(">i", len(data)) + data


def minx(pixel=1.0, whole=(0, 0, 0), part=(0, 0, 0)):
    return chunk(b"MINX", struct.pack(">18f", 1, 1, 1, *whole, 0, 0, 0, *(pixel,) * 3, *part, 0, 0, 0))


def a_series(**changes):
    values = {
        "name": "ts",
        "pixel_size_ang": PIXEL_ANG,
        "image_shape_px": (HEIGHT, WIDTH),
        "nominal_tilt_deg": np.linspace(-20, 20, COUNT),
        "nominal_axis_deg": np.full(COUNT, 84.0),
        "images": tuple(f"{n + 1:06d}@ts.mrc" for n in range(COUNT)),
    }
    return TiltSeries(**(values | changes))


def said(notes, kind, *words):
    return any(note.kind == kind and all(word in str(note) for word in words) for note in notes)


def test_a_file_made_by_hand(tmp_path):
    points = [(10.5, 20.25, 0), (11.5, 21.0, 1), (12.0, 22.0, 3)]
    mesh = b"MESH" + struct.pack(">iiIhh", 2, 3, 0, 0, 0) + bytes(24 + 12)
    label = chunk(b"LABL", struct.pack(">ii", 0, 4) + b"17\0\0")
    body = an_object(3) + contour(points) + label + chunk(b"SIZE", bytes(12)) + contour([]) + contour(points[:2]) + mesh
    tail = chunk(b"IMAT", bytes(16)) + chunk(b"VIEW", bytes(4)) + minx(PIXEL_ANG) + b"IEOF"
    (tmp_path / "a.fid").write_bytes(header() + body + an_object(1) + contour(points[1:]) + tail)
    model = read_model(tmp_path / "a.fid")
    assert [len(entry) for entry in model.contours] == [3, 2, 2]
    np.testing.assert_allclose(model.contours[0], points)
    assert model.size_px == (WIDTH, HEIGHT, COUNT)
    assert model.labels == ("17", "", "")
    assert model.pixel_ang == PIXEL_ANG


def test_flipped_and_partly_loaded_stacks(tmp_path):
    flags = 0xE000 | 1 << 16
    data = header(flags=flags) + an_object(1) + contour([(1.5, 2, 3.5), (4, 1, 6)])
    # shown from pixel (10, 20) and section 2 on: the part's origin is that much more negative, in Å
    data += minx(2.0, whole=(0, 0, 0), part=(-20, -40, -4)) + b"IEOF"
    (tmp_path / "a.fid").write_bytes(data)
    model = read_model(tmp_path / "a.fid")
    np.testing.assert_allclose(model.contours[0], [(11.5, 23.5, 4), (14, 26, 3)])


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"nothing of the sort", "no binary model"),
        (b"IMODV0.2" + bytes(300), "old version"),
        (header()[:100], "the header"),
        (header() + an_object(1) + contour([(1, 2, 3)] * 4)[:-5], "a contour's points"),
        (header() + an_object(1) + b"CONT" + struct.pack(">iIii", -4, 0, 0, 0), "a contour's points"),
        (header() + an_object(1) + b"CONT" + struct.pack(">iIii", 2**31 - 1, 0, 0, 0), "a contour's points"),
        (header() + chunk(b"VIEW", bytes(8))[:-4], "the chunk"),
        (header() + an_object(1) + contour([(np.nan, 1, 2)]) + b"IEOF", "not finite"),
    ],
)
def test_damage_is_said(tmp_path, data, word):
    (tmp_path / "a.fid").write_bytes(data)
    with pytest.raises(FormatError, match=word):
        read_model(tmp_path / "a.fid")


@given(st.lists(st.lists(st.tuples(*[st.floats(0, 6000, width=32)] * 2, st.integers(0, 90)), min_size=1), min_size=1))
def test_models_come_back(tmp_path_factory, contours):
    path = tmp_path_factory.mktemp("model") / "a.fid"
    arrays = tuple(np.array(entry, dtype=float) for entry in contours)
    write_model(path, ImodModel(contours=arrays, size_px=(6000, 6000, 91), pixel_ang=1.5))
    back = read_model(path)
    assert back.pixel_ang == pytest.approx(1.5)
    for ours, theirs in zip(arrays, back.contours, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def some_tracks(rng, labels=None):
    seen_at = rng.uniform(-350, 350, (COUNT, 6, 2))
    seen_at[rng.uniform(size=(COUNT, 6)) < 0.2] = np.nan
    seen_at[:2] = rng.uniform(-350, 350, (2, 6, 2))
    return Tracks.observed(seen_at, labels=labels)


@pytest.mark.parametrize("labels", [None, [1, 1, 2, 5, 5, 9]])
@pytest.mark.parametrize("shape", [(301, 400), (300, 401)])
def test_tracks_there_and_back(tmp_path, rng, labels, shape):
    series, tracks = a_series(image_shape_px=shape), some_tracks(rng, labels)
    paths, _ = export_tracks(series, tracks, tmp_path, tmp_path)
    assert {path.name for path in paths} == {"ts.fid", "ts.prexg", "ts.rawtlt", "align.com", "prenewst.com"}
    back, notes = import_tracks(tmp_path, series)
    np.testing.assert_allclose(back.observations_ang, tracks.observations_ang, atol=1e-4)
    np.testing.assert_array_equal(back.labels, tracks.labels)
    assert not said(notes, "dropped")
    align = read_command_file(tmp_path / "ts" / "align.com", "tiltalign")
    assert align.get("ModelFile") == "ts.fid"
    assert align.numbers("ImageSizeXandY") == shape[::-1]


def test_a_pixels_centre_is_at_one_half(tmp_path):
    """The point at the middle of pixel (column 3, row 7) of section 2."""
    data = header() + an_object(1) + contour([(3.5, 7.5, 1), (4.5, 7.5, 2)]) + minx(PIXEL_ANG) + b"IEOF"
    (tmp_path / "ts.fid").write_bytes(data)
    tracks, notes = import_tracks(tmp_path / "ts.fid", a_series())
    np.testing.assert_allclose(tracks.observations_ang[1, 0], (np.array([3, 7]) - (200, 150)) * PIXEL_ANG)
    assert said(notes, "assumed", "prexg")
    assert said(notes, "assumed", "no tilt angles")


def test_shifts_and_binning_of_the_prealigned_stack_are_undone(tmp_path, rng):
    turn = np.radians(rng.normal(0, 20, COUNT))
    matrices = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], 1)
    shifts = rng.normal(0, 15, (COUNT, 2))
    rows = np.concatenate([matrices.reshape(COUNT, 4), shifts], axis=1)
    np.savetxt(tmp_path / "ts.prexg", rows, fmt="%.7f")
    np.savetxt(tmp_path / "ts.rawtlt", a_series().nominal_tilt_deg)
    raw = rng.uniform(50, 250, (COUNT, 2))  # pixel indices in the raw images
    small = (150, 200)  # width and height of the stack binned by 2, and trimmed
    fid = [
        ((matrix @ (pixel + 0.5 - np.array([WIDTH, HEIGHT]) / 2) + shift) / 2 + np.array(small) / 2)
        for matrix, shift, pixel in zip(matrices, shifts, raw, strict=True)
    ]
    points = [(*place, view) for view, place in enumerate(fid)]
    data = header(size=(*small, COUNT), pixel=0.5, units=-9) + an_object(1) + contour(points) + b"IEOF"
    (tmp_path / "ts.fid").write_bytes(data)
    tracks, notes = import_tracks(tmp_path, a_series())
    expected = (raw - (WIDTH // 2, HEIGHT // 2)) * PIXEL_ANG
    np.testing.assert_allclose(tracks.observations_ang[:, 0], expected, atol=1e-3)
    assert said(notes, "info", "binning 2")


def test_views_are_found_by_their_section(tmp_path, rng):
    series, tracks = a_series(), some_tracks(rng)
    export_tracks(series, tracks, tmp_path, tmp_path)
    kept = series.select([0, 1, 3])
    back, _ = import_tracks(tmp_path, kept)
    np.testing.assert_allclose(back.observations_ang, tracks.observations_ang[[0, 1, 3]], atol=1e-4)


@pytest.mark.parametrize(
    ("points", "word"),
    [
        ([(1, 2, 0), (3, 4, 0)], "two points on a section"),
        ([(1, 2, 0.4), (3, 4, 1)], "between sections"),
        ([(1, 2, 0)], "no contour lies on two views"),
    ],
)
def test_contours_that_are_no_tracks(tmp_path, points, word):
    (tmp_path / "ts.fid").write_bytes(header() + an_object(1) + contour(points) + b"IEOF")
    with pytest.raises(FormatError, match=word):
        import_tracks(tmp_path, a_series())


def test_another_stacks_model(tmp_path):
    data = header(size=(123, 456, COUNT)) + an_object(1) + contour([(1, 2, 0), (3, 4, 1)]) + b"IEOF"
    (tmp_path / "ts.fid").write_bytes(data)
    with pytest.raises(FormatError, match="prexg"):
        import_tracks(tmp_path, a_series())
    assert import_tracks(tmp_path / "elsewhere", a_series()) == (None, ())
