"""Tomograms to OME-Zarr and back, through the commands."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.images import image_name
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.overrides import Imported
from lamella.formats.zarr import open_zarr
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries
from lamella.workflow.new import create_project

VIEWS = 9


@pytest.fixture
def project(tmp_path, rng):
    """One aligned series of nine small views, reconstructed and denoised."""
    write_mrc(tmp_path / "ts.mrc", rng.normal(100, 9, (VIEWS, 40, 48)).astype(np.float32), 4.0)
    tilt = np.linspace(-40, 40, VIEWS)
    series = TiltSeries(
        name="ts",
        pixel_size_ang=4.0,
        image_shape_px=(40, 48),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(n, str(tmp_path / "ts.mrc")) for n in range(VIEWS)),
        geometry=TiltGeometry.from_angles(tilt, 85.0),
    )
    create_project(tmp_path / "P", Imported((series,), ()))
    words = ["align.method=none", "clean.bad_views=false", "ctf.enabled=false", "reconstruct.pixel_size=8"]
    words += ["reconstruct.thickness=128", "denoise.method=median"]
    chosen = [part for word in words for part in ("--set", word)]
    assert main(["run", str(tmp_path / "P"), "--to", "denoise", "--no-report", *chosen]) == 0
    return tmp_path / "P"


def test_export_lays_tomograms_out_as_the_portal_does(project, tmp_path, capsys):
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "zarr"]) == 0
    assert "authors and dates are left" in capsys.readouterr().out
    place = tmp_path / "out/ts/Reconstructions/VoxelSpacing8.000/Tomograms"
    assert sorted(path.name for path in (place / "100").iterdir()) == ["tomogram_metadata.json", "ts.mrc", "ts.zarr"]
    for number, processing, source in ((100, "raw", "reconstruct"), (101, "denoised", "denoise")):
        folder = place / str(number)
        told = json.loads((folder / "tomogram_metadata.json").read_text())
        values, _ = read_mrc(project / source / "ts.mrc")
        np.testing.assert_array_equal(read_mrc(folder / "ts.mrc")[0], values)
        store = open_zarr(folder / "ts.zarr")
        np.testing.assert_array_equal(store.block(slice(None), slice(None), slice(None)), values)
        assert told["size"] == dict(zip("zyx", values.shape, strict=True))
        assert (told["processing"], told["voxel_spacing"]) == (processing, 8.0)
        assert (told["reconstruction_method"], told["ctf_corrected"]) == ("WBP", False)
        assert (tmp_path / "out" / told["omezarr_dir"]).is_dir()
        assert (tmp_path / "out" / told["mrc_file"]).is_file()
        assert bool(store.labels) == (processing == "denoised")
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "zarr", "--input", "align"]) == 2


def test_quality_is_measured_written_and_shown(project):
    record = json.loads((project / "reconstruct/.done/ts/completion.json").read_text())
    assert {"TiltCoverageDeg", "LargestTiltGapDeg", "MeasuredFraction", "TomogramContrast"} <= set(record["quality"])
    assert record["quality"]["TiltCoverageDeg"] == pytest.approx(80)
    assert "reconstruct/ts_fsc.star" in record["outputs"]
    assert any("of Fourier space" in message for message in record["messages"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_convert_there_and_back(tmp_path, rng, version):
    values = rng.normal(5, 1, (10, 20, 30)).astype(np.float32)
    write_mrc(tmp_path / "in.mrc", values, 7.0)
    arguments = [str(tmp_path / "in.mrc"), str(tmp_path / "a.zarr"), "--ome-zarr", version]
    assert main(["convert", *arguments]) == 0
    assert main(["convert", str(tmp_path / "a.zarr"), str(tmp_path / "back.mrc")]) == 0
    back, pixel = read_mrc(tmp_path / "back.mrc")
    np.testing.assert_array_equal(back, values)
    assert pixel == pytest.approx(7.0)
    assert main(["convert", str(tmp_path / "a.zarr"), str(tmp_path / "half.zarr"), "--bin", "2"]) == 0
    half = open_zarr(tmp_path / "half.zarr")
    assert (half.shape, half.pixel_size_ang) == ((5, 10, 15), 14.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "back.mrc", "half.zarr", "in.mrc"]


def test_a_stack_is_no_volume_and_a_denoised_volume_stays_one(project, tmp_path, rng):
    write_mrc(tmp_path / "s.mrcs", rng.normal(size=(3, 8, 8)).astype(np.float32), 1.0)
    assert main(["convert", str(tmp_path / "s.mrcs"), str(tmp_path / "s.zarr")]) == 2
    assert not (tmp_path / "s.zarr").exists()
    assert main(["convert", str(project / "denoise/ts.mrc"), str(tmp_path / "d.zarr")]) == 0
    assert open_zarr(tmp_path / "d.zarr").labels


def test_the_report_shows_what_the_steps_left(project):
    held_out = "data_rounds\n\nloop_\n_lamellaRound #1\n_lamellaHeldOutError #2\n1 0.9\n2 0.7\n3 0.8\n"
    (project / "reconstruct/ts_held_out.star").write_text(held_out)
    assert main(["report", str(project)]) == 0
    page = (project / "report/index.html").read_text()
    for expected in (
        "agreement of the halves",
        "error of held-out views by round",
        "Film through the heights",
        "Fourier space measured",
        "largest gap between tilts",
    ):
        assert expected in page, expected
    assert "could not be drawn" not in page
    (project / "reconstruct/ts_fsc.star").write_text("data_fsc\n_rlnResolution broken\n")  # a damaged table is no end
    assert main(["report", str(project)]) == 0
    assert "the halves were not compared" in (project / "report/index.html").read_text()
