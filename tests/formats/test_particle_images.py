"""Pictures of particles as files, read by mrcfile; names that would lead out of the folder."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from lamella.errors import FormatError, InputError
from lamella.formats.particle_images import ParticleWriter, open_particles
from lamella.geometry import TiltGeometry
from lamella.records import ParticleImages, Particles, ParticleSet, TiltSeries, Tomogram


def particles(count: int, images: ParticleImages | None, name: str = "TS") -> Particles:
    """Particles of a series of three views, of which the second particle misses one."""
    tilts = np.array([-10.0, 0.0, 10.0])
    series = TiltSeries(
        name=name, pixel_size_ang=2.0, image_shape_px=(64, 64), nominal_tilt_deg=tilts, nominal_axis_deg=np.zeros(3),
        geometry=TiltGeometry.from_angles(tilts),
    )  # fmt: skip
    visible = np.ones((count, 3), bool)
    visible[1:2, 0] = False
    tomogram = Tomogram(tilt_series=series, size_px=(64, 64, 32))
    return Particles(tomogram=tomogram, coordinates_ang=np.zeros((count, 3)), visible=visible, images=images)


def test_stacks_are_written_where_relion_has_them_and_read_again(tmp_path: Path, rng: np.random.Generator) -> None:
    write = ParticleWriter(folder=tmp_path / "extract", root=tmp_path, pixel_size_ang=4.0)
    stacks = [rng.normal(size=(views, 8, 8)).astype(np.float32) for views in (3, 2)]
    names = [write(f"TS/{number}", stack, None)[0] for number, stack in enumerate(stacks, start=1)]
    assert names == ["extract/TS/1_stack2d.mrcs", "extract/TS/2_stack2d.mrcs"]
    with mrcfile.open(tmp_path / names[1]) as file:
        assert file.is_image_stack()
        assert float(file.voxel_size.x) == pytest.approx(4.0)
        np.testing.assert_array_equal(file.data, stacks[1])
    images = ParticleImages(names=tuple(names), pixel_size_ang=4.0, box_px=8)
    source = open_particles(ParticleSet(members=(particles(0, None, "empty"), particles(2, images))), tmp_path)
    assert len(source) == 2
    for index, stack in enumerate(stacks):
        np.testing.assert_array_equal(source.read(index), stack)
    with pytest.raises(InputError, match="no volume of weights"):
        source.weights(0)


def test_volumes_have_their_weights_beside_them(tmp_path: Path, rng: np.random.Generator) -> None:
    write = ParticleWriter(folder=tmp_path, root=tmp_path, pixel_size_ang=4.0, float16=True)
    volume, weights = rng.normal(size=(8, 8, 8)).astype(np.float32), rng.random((8, 8, 5)).astype(np.float32)
    name, beside = write("TS/7", volume, weights)
    assert (name, beside) == ("TS/7_data.mrc", "TS/7_weights.mrc")
    images = ParticleImages(names=(name,), kind="volume", box_px=8, weights=(beside or "",))
    source = open_particles(ParticleSet(members=(particles(1, images),)), tmp_path)
    np.testing.assert_allclose(source.read(0), volume, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(source.weights(0), weights)


def test_of_stacks_of_all_views_the_visible_ones_are_read(tmp_path: Path, rng: np.random.Generator) -> None:
    """Warp writes every view, blank where a particle is not used."""
    write = ParticleWriter(folder=tmp_path, root=tmp_path, pixel_size_ang=4.0)
    stacks = [rng.normal(size=(3, 8, 8)).astype(np.float32) for _ in range(2)]
    names = tuple(write(f"TS/{number}", stack, None)[0] for number, stack in enumerate(stacks))
    source = open_particles(ParticleSet(members=(particles(2, ParticleImages(names=names, box_px=8)),)), tmp_path)
    np.testing.assert_array_equal(source.read(0), stacks[0])
    np.testing.assert_array_equal(source.read(1), stacks[1][1:])


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a/../../x", "a b;c"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write = ParticleWriter(folder=tmp_path / "in", root=tmp_path, pixel_size_ang=1.0)
    written, _ = write(name, np.ones((1, 4, 4), np.float32), None)
    assert (tmp_path / written).resolve().is_relative_to((tmp_path / "in").resolve())
    with pytest.raises(InputError, match="a particle named"):
        write("..", np.ones((1, 4, 4), np.float32), None)


def test_files_that_are_not_what_the_table_says(tmp_path: Path) -> None:
    write = ParticleWriter(folder=tmp_path, root=tmp_path, pixel_size_ang=1.0)
    name, _ = write("TS/1", np.ones((2, 8, 8), np.float32), None)
    source = open_particles(ParticleSet(members=(particles(1, ParticleImages(names=(name,), box_px=8)),)), tmp_path)
    with pytest.raises(FormatError, match="2 × 8 × 8 pixels where its table says 3 × 8 × 8"):
        source.read(0)
    with pytest.raises(InputError, match="run extract"):
        open_particles(ParticleSet(members=(particles(1, None),)), tmp_path)
