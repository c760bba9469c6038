"""`postprocess` as a step: its files, its record, and what it says of input that does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from tests.particles.half_maps import body_signal, with_noise

from lamella.errors import ImageError, InputError, SettingsError
from lamella.formats.map_fsc import read_map_fsc
from lamella.formats.map_tables import read_columns
from lamella.formats.mrc import open_mrc, read_mrc, write_mrc
from lamella.particles.postprocess_settings import PostprocessSettings
from lamella.records import Map, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.workflow.context import Context
from lamella.workflow.steps import postprocess

VOXEL, BOX = 4.0, 48


def tomogram(name: str) -> Tomogram:
    series = TiltSeries(
        name=name,
        pixel_size_ang=4.0,
        image_shape_px=(96, 128),
        nominal_tilt_deg=np.array([-3.0, 0.0, 3.0]),
        nominal_axis_deg=np.full(3, 85.0),
    )
    return Tomogram(tilt_series=series, size_px=(128, 96, 64), binning=2.0, volume=f"{name}.mrc")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "postprocess").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "postprocess", series="particles", device_name="cpu", whole=True)


@pytest.fixture
def record(tmp_path: Path, rng: np.random.Generator) -> ParticleSet:
    """Two tomograms, one of them with a volume of another program's origin, and a third without particles."""
    halves = with_noise(body_signal(BOX, 12, VOXEL, 1200.0, rng), 0.05, rng)
    for number, half in enumerate(halves, start=1):
        write_mrc(tmp_path / f"half{number}.mrc", half, VOXEL)
    with mrcfile.new(tmp_path / "A.mrc") as file:
        file.set_data(np.zeros((32, 48, 64), np.float32))
        file.voxel_size = 8.0
        file.header.origin = (100.0, -20.0, 5.0)
    places = np.array([[-80.0, 0.0, 0.0], [90.0, 30.0, 10.0]])
    members = (
        Particles(tomogram=tomogram("A"), coordinates_ang=places),
        Particles(tomogram=tomogram("B"), coordinates_ang=np.concatenate([places, [[900.0, 0.0, 0.0]]])),
        Particles(tomogram=tomogram("C"), coordinates_ang=np.zeros((0, 3))),
    )
    made = Map(volume="map.mrc", half1="half1.mrc", half2="half2.mrc", voxel_size_ang=VOXEL, box_px=BOX)
    return ParticleSet(members=members, map=made)


def test_files_and_record(context: Context, record: ParticleSet) -> None:
    out = postprocess.run(record, PostprocessSettings(), context)
    names = ["A_placed.mrc", "B_placed.mrc", "directional.star", "fsc.star", "guinier.star", "local_resolution.mrc"]
    names += ["map.mrc", "map_local.mrc", "map_unmasked.mrc", "mask.mrc"]
    assert sorted(path.name for path in context.folder.iterdir()) == names
    assert sorted(path.name for path in context.outputs) == names
    assert out.map is not None
    assert (out.map.volume, out.map.half1) == ("postprocess/map.mrc", "half1.mrc")
    assert (out.map.fsc, out.map.mask) == ("postprocess/fsc.star", "postprocess/mask.mrc")
    fsc = read_map_fsc(context.folder / "fsc.star")
    assert out.map.resolution_ang == pytest.approx(fsc.resolution_ang())
    assert {"BFactor", "Sphericity", "LocalResolutionMedianAngst", "UnmaskedResolutionAngst"} <= set(out.map.quality)
    assert context.quality["MapResolutionAngst"] == out.map.resolution_ang
    masked, voxel = read_mrc(context.folder / "map.mrc")
    mask, unmasked = (read_mrc(context.folder / f"{name}.mrc")[0] for name in ("mask", "map_unmasked"))
    assert voxel == VOXEL
    np.testing.assert_allclose(masked, mask * unmasked, atol=1e-6)
    plot = read_columns(context.folder / "guinier.star", "guinier")
    assert len(plot["rlnResolutionSquared"]) == BOX // 2
    assert len(read_columns(context.folder / "directional.star", "directional")["rlnAngstromResolution"]) == 768
    assert any("1 particles lie outside" in text for text in context.messages)


def test_copies_lie_over_their_tomogram(context: Context, record: ParticleSet) -> None:
    postprocess.run(record, PostprocessSettings(local_resolution=False, directional=False), context)
    volume, voxel = read_mrc(context.folder / "A_placed.mrc")
    full = volume.sum()
    assert volume.shape == (32, 48, 64)
    assert voxel == 8.0
    z, y, x = np.meshgrid(*((np.arange(n) - n // 2) * 8.0 for n in volume.shape), indexing="ij")
    for place in record.members[0].coordinates_ang:
        near = np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2) < 60
        weight = volume * near
        centre = [float((weight * axis).sum() / weight.sum()) for axis in (x, y, z)]
        np.testing.assert_allclose(centre, place, atol=5)
        volume = volume * ~near
    assert volume.sum() < 0.1 * full
    assert open_mrc(context.folder / "A_placed.mrc").header.origin_ang == (100.0, -20.0, 5.0)
    assert open_mrc(context.folder / "B_placed.mrc").header.origin_ang == (0.0, 0.0, 0.0)


def test_a_detector_is_undone(context: Context, record: ParticleSet) -> None:
    rows = "\n".join(f"{k:.3f} {1 - 1.4 * k:.4f}" for k in np.linspace(0, 0.5, 11))
    (context.root / "mtf.star").write_text(
        f"data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n{rows}\n", encoding="utf-8"
    )
    how = {"local_resolution": False, "directional": False, "place_copies": False, "b_factor": 0.0}
    postprocess.run(record, PostprocessSettings(**how), context)
    plain = np.fft.rfftn(read_mrc(context.folder / "map_unmasked.mrc")[0])
    postprocess.run(record, PostprocessSettings(**how, mtf="mtf.star"), context)
    undone = np.fft.rfftn(read_mrc(context.folder / "map_unmasked.mrc")[0])
    np.testing.assert_allclose(np.abs(undone[0, 0, 6] / plain[0, 0, 6]), 1 / (1 - 1.4 * 6 / BOX), rtol=0.01)
    assert not (context.folder / "A_placed.mrc").exists()
    series = replace(record.members[0].tilt_series, original_pixel_size_ang=2.0)
    other = replace(record.members[0], tomogram=replace(record.members[0].tomogram, tilt_series=series))
    mixed = replace(record, members=(other, *record.members[1:]))
    with pytest.raises(SettingsError, match=r"state postprocess\.mtf_pixel_size"):
        postprocess.run(mixed, PostprocessSettings(**how, mtf="mtf.star"), context)


def test_input_that_does_not_fit(context: Context, record: ParticleSet) -> None:
    assert record.map is not None
    with pytest.raises(InputError, match="run refine or average first"):
        postprocess.run(replace(record, map=None), PostprocessSettings(), context)
    with pytest.raises(InputError, match="two half maps"):
        postprocess.run(replace(record, map=replace(record.map, half2=None)), PostprocessSettings(), context)
    with pytest.raises(InputError, match="is not there"):
        postprocess.run(replace(record, map=replace(record.map, half2="gone.mrc")), PostprocessSettings(), context)
    with pytest.raises(InputError, match="same map"):
        postprocess.run(replace(record, map=replace(record.map, half2="half1.mrc")), PostprocessSettings(), context)
    write_mrc(context.root / "mask.mrc", np.ones((BOX,) * 3, np.float32), 2.0)
    with pytest.raises(ImageError, match="lamella convert --pixel-size 4"):
        postprocess.run(record, PostprocessSettings(mask="mask.mrc"), context)
    assert not list(context.folder.iterdir())
