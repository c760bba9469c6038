from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import FormatError, InputError
from lamella.formats.bare_stack import series_from_stack
from lamella.formats.overrides import Overrides

TILTS = (-6.0, -3.0, 0.0, 3.0)


def stack(
    path: Path,
    *,
    pixel: float = 2.0,
    labels: tuple[str, ...] = (),
    extended: bytes = b"",
    kind: bytes = b"",
    serial: tuple[int, int] = (0, 0),
    low_high_mean: tuple[float, float, float] = (-5, 60, 20),
) -> Path:
    """An MRC file of 4 images of 8 × 6 pixels, int16, byte by byte."""
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, 8, 6, 4, 1, 0, 0, 0, 8, 6, 4)
    struct.pack_into("<6f", header, 40, 8 * pixel, 6 * pixel, 4 * pixel, 90, 90, 90)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, *low_high_mean)
    struct.pack_into("<i", header, 92, len(extended))
    header[104 : 104 + len(kind)] = kind
    struct.pack_into("<2h", header, 128, *serial)
    header[208:216] = b"MAP \x44\x44\0\0"
    struct.pack_into("<i", header, 220, len(labels))
    for place, label in enumerate(labels):
        header[224 + 80 * place : 224 + 80 * place + len(label)] = label.encode()
    path.write_bytes(bytes(header) + extended + np.arange(4 * 6 * 8, dtype="<i2").tobytes())
    return path


def old_fei(axis: float, *, tilts=TILTS, pixel_m: float = 3e-10) -> bytes:
    records = b""
    for tilt in tilts:
        row = [0.0] * 32
        row[0], row[10], row[11], row[13] = tilt, axis, pixel_m, 200_000.0
        records += struct.pack("<32f", *row)
    return records.ljust(131072, b"\0")


def said(imported, kind: str, *words: str) -> bool:
    return any(note.kind == kind and all(word in str(note) for word in words) for note in imported.notes)


def test_start_and_step(tmp_path):
    imported = series_from_stack(stack(tmp_path / "a.st"), angles="6,-3", pixel_size=2.0, tilt_axis=85)
    (series,) = imported.series
    assert series.name == "a"
    assert series.nominal_tilt_deg.tolist() == [-3, 0, 3, 6]
    assert series.place.tolist() == [4, 3, 2, 1]
    assert series.images == tuple(f"{place:06d}@{(tmp_path / 'a.st').resolve()}" for place in (4, 3, 2, 1))
    assert series.pre_exposure is None
    assert "AcquisitionOrder" not in series.scores
    assert said(imported, "warning", "dose unknown")
    assert said(imported, "warning", "voltage unknown")
    assert said(imported, "info", "6…-3°")


def test_file_of_angles_and_overrides(tmp_path):
    (tmp_path / "a.rawtlt").write_text("\n".join(map(str, TILTS)))
    overrides = Overrides(pixel_size_ang=3.0, tilt_axis_deg=-12.5, voltage_kv=200, dose_per_tilt=2, prior_dose=1)
    imported = series_from_stack(stack(tmp_path / "a.mrc"), angles=str(tmp_path / "a.rawtlt"), overrides=overrides)
    (series,) = imported.series
    assert (series.pixel_size_ang, series.nominal_axis_deg[0], series.optics.voltage_kv) == (3, -12.5, 200)
    np.testing.assert_allclose(series.pre_exposure, [1, 3, 5, 7])
    assert said(imported, "overridden", "pixel size 3", "2 Å")
    assert said(imported, "assumed", "order of recording")


@pytest.mark.parametrize("count", [3, 5])
def test_angles_a_line_short_or_long_name_both_counts(tmp_path, count):
    (tmp_path / "a.tlt").write_text("\n".join(str(3 * n) for n in range(count)))
    with pytest.raises(FormatError, match=f"{count} angles for the 4 images"):
        series_from_stack(stack(tmp_path / "a.mrc"), angles=str(tmp_path / "a.tlt"), pixel_size=2, tilt_axis=0)


def test_what_the_user_must_state(tmp_path):
    path = stack(tmp_path / "a.mrc")
    with pytest.raises(InputError, match=r"pixel size.*2 Å"):
        series_from_stack(path, angles="-6,3", tilt_axis=0)
    with pytest.raises(InputError, match="tilt axis"):
        series_from_stack(path, angles="-6,3", pixel_size=2)
    for values in ({"pixel_size": "big"}, {"pixel_size": -1}, {"pixel_size": "nan"}, {"tilt_axis": "up"}):
        with pytest.raises(InputError):
            series_from_stack(path, angles="-6,3", **{"pixel_size": 2, "tilt_axis": 0, **values})
    with pytest.raises(FormatError, match="header states no tilt axis"):
        series_from_stack(path, angles="-6,3", pixel_size=2, tilt_axis="header")
    with pytest.raises(FormatError, match="0 of 4 images"):
        series_from_stack(path, angles="header", pixel_size=2, tilt_axis=0)
    with pytest.raises(FormatError, match="no pixel size"):
        series_from_stack(stack(tmp_path / "b.mrc", pixel=0), angles="-6,3", pixel_size="header", tilt_axis=0)


def test_serialem_header(tmp_path):
    extended = b"".join(struct.pack("<h", round(tilt * 100)) for tilt in TILTS).ljust(1024, b"\0")
    labels = ("SerialEM: m", "    Tilt axis angle = 84.1, binning = 1  spot = 8  camera = 2")
    path = stack(tmp_path / "a.mrc", extended=extended, kind=b"SERI", serial=(2, 1), labels=labels, pixel=1.35)
    imported = series_from_stack(path, angles="header", pixel_size="header", tilt_axis="header")
    (series,) = imported.series
    assert series.nominal_tilt_deg.tolist() == list(TILTS)
    assert series.pixel_size_ang == pytest.approx(1.35)
    assert series.nominal_axis_deg[0] == 84.1
    (tmp_path / "a.tlt").write_text("-6\n-3\n1.5\n3\n")
    imported = series_from_stack(path, angles=str(tmp_path / "a.tlt"), pixel_size="header", tilt_axis=-95.9)
    assert said(imported, "overridden", "image 3", "1.5")
    assert said(imported, "overridden", "tilt axis -95.9", "84.1")


def test_feis_old_header(tmp_path):
    path = stack(tmp_path / "a.mrc", extended=old_fei(12.5), labels=("Fei Company (c) Copyright 2003",))
    imported = series_from_stack(path, angles="header", pixel_size="header", tilt_axis="header")
    (series,) = imported.series
    assert series.nominal_tilt_deg.tolist() == list(TILTS)
    assert series.pixel_size_ang == pytest.approx(3.0)
    assert series.nominal_axis_deg[0] == -12.5  # IMOD turns the sign of this label's files
    assert series.optics.voltage_kv == pytest.approx(200)
    assert said(imported, "warning", "extended header says 3 Å", "cell 2 Å")
    assert said(imported, "assumed", "-12.5")
    same = old_fei(12.5, tilts=(0.0,) * 4)
    with pytest.raises(FormatError, match="0° for every image"):
        series_from_stack(stack(tmp_path / "b.mrc", extended=same), angles="header", pixel_size=2, tilt_axis=0)


def test_unsigned_counts_in_signed_numbers_are_told_not_moved(tmp_path):
    path = stack(tmp_path / "a.mrc", low_high_mean=(-32000, 30000, -20000))
    assert said(series_from_stack(path, angles="0,1", pixel_size=2, tilt_axis=0), "warning", "unsigned counts")
    path = stack(tmp_path / "b.mrc")
    assert not said(series_from_stack(path, angles="0,1", pixel_size=2, tilt_axis=0), "warning", "unsigned")


def test_bad_angles(tmp_path):
    path = stack(tmp_path / "a.mrc")
    (tmp_path / "a.tlt").write_text("1\n2\nnan\n4\n")
    with pytest.raises(FormatError, match="line 3"):
        series_from_stack(path, angles=str(tmp_path / "a.tlt"), pixel_size=2, tilt_axis=0)
    with pytest.raises(FormatError, match="image 3 has a tilt angle of 100"):
        series_from_stack(path, angles="80,10", pixel_size=2, tilt_axis=0)
    (tmp_path / "a.tlt").write_text("1\n2\n1\n4\n")
    imported = series_from_stack(path, angles=str(tmp_path / "a.tlt"), pixel_size=2, tilt_axis=0)
    assert said(imported, "warning", "image 1 and image 3")
    assert imported.series[0].place.tolist() == [1, 3, 2, 4]


def test_truncated_stack_and_prior_dose_without_dose(tmp_path):
    path = stack(tmp_path / "a.mrc")
    imported = series_from_stack(path, angles="0,1", pixel_size=2, tilt_axis=0, overrides=Overrides(prior_dose=3))
    assert said(imported, "dropped", "prior dose of 3")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="ends early"):
        series_from_stack(path, angles="0,1", pixel_size=2, tilt_axis=0)


def test_real_dark_field_series(shared_data):
    folder = shared_data / "haadf"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = series_from_stack(
            folder / "HAADF.mrc", angles=str(folder / "HAADF.rawtlt"), pixel_size=33.6, tilt_axis=90
        )
        header = series_from_stack(folder / "HAADF.mrc", angles="header", pixel_size="header", tilt_axis="header")
    (series,) = given.series
    assert len(series) == 77
    assert series.image_shape_px == (256, 256)
    np.testing.assert_allclose(series.nominal_tilt_deg, np.arange(-76, 77, 2))
    np.testing.assert_allclose(header.series[0].nominal_tilt_deg, series.nominal_tilt_deg)
    assert header.series[0].pixel_size_ang == pytest.approx(33.6)
    assert header.series[0].nominal_axis_deg[0] == 0
    assert said(given, "warning", "unsigned counts")
    assert said(given, "assumed", "no MAP stamp")
