"""OME-Zarr against the specification's own models, zarr's reader, and arithmetic done by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError, ImageError, InputError, OutputError
from lamella.formats.denoised import DENOISED, refuse_denoised
from lamella.formats.images import holds_volume, open_stack
from lamella.formats.mrc import open_mrc
from lamella.formats.zarr import open_zarr, write_zarr
from lamella.records import ArrayVolume

VERSIONS = ["0.4", "0.5"]


def made(folder: Path, array: np.ndarray, **how: object) -> Path:
    write_zarr(folder / "a.zarr", ArrayVolume(array.astype(np.float32)), 10.0, **how)  # type: ignore[arg-type]
    return folder / "a.zarr"


def coarser(array: np.ndarray) -> np.ndarray:
    """Means over 2 × 2 × 2 of the voxels that are there, axis by axis."""
    for axis, n in enumerate(array.shape):
        if n > 1:
            padded = np.concatenate([array, array.take([-1], axis)], axis) if n % 2 else array
            array = (padded.take(range(0, n, 2), axis) + padded.take(range(1, n + 1, 2), axis)) / 2
    return array


@pytest.mark.parametrize("version", VERSIONS)
def test_the_specifications_models_take_it(tmp_path, rng, version):
    models = pytest.importorskip("ome_zarr_models")
    path = made(tmp_path, rng.normal(size=(20, 70, 33)), version=version, chunk=16)
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    image = models.open_ome_zarr(group)
    assert image.ome_zarr_version == version
    parts = image.attributes if version == "0.4" else image.attributes.ome
    multiscale = parts.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == ["z", "y", "x"]
    assert {axis.unit for axis in multiscale.axes} == {"angstrom"}
    assert len(multiscale.datasets) == 4
    for number, dataset in enumerate(multiscale.datasets):
        scale, translation = dataset.coordinateTransformations
        assert scale.scale == [10.0 * 2**number] * 3
        # the centre of a coarse voxel is the mean of the centres of those it holds
        assert translation.translation == [10.0 * np.arange(2**number).mean()] * 3


@given(shape=st.tuples(*[st.integers(1, 37)] * 3), chunk=st.sampled_from([4, 8, 16]), version=st.sampled_from(VERSIONS))
def test_every_level_is_the_mean_of_the_one_below(tmp_path_factory, shape, chunk, version):
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    group = zarr.open_group(made(tmp_path_factory.mktemp("z"), array, chunk=chunk, version=version), mode="r")
    level, expected = 0, array.astype(np.float64)
    while True:
        np.testing.assert_allclose(group[str(level)][:], expected, atol=1e-6)
        if max(expected.shape) <= chunk:
            break
        level, expected = level + 1, coarser(expected)
    assert str(level + 1) not in group


@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_and_sections_read_back(tmp_path, rng, version):
    array = rng.normal(size=(21, 34, 17)).astype(np.float32)
    volume = open_stack(made(tmp_path, array, version=version, chunk=8))
    assert holds_volume(volume)
    assert (volume.shape, volume.pixel_size_ang, len(volume)) == ((21, 34, 17), 10.0, 21)
    np.testing.assert_array_equal(volume.block(slice(3, 19), slice(5, 30), slice(2, 9)), array[3:19, 5:30, 2:9])
    for index in (0, 7, 8, 20, 3):
        np.testing.assert_array_equal(volume.view(index), array[index])
    np.testing.assert_array_equal(volume.block(slice(7, 9), slice(None), slice(None)), array[7:9])
    with pytest.raises(ImageError, match="section 22 of 21"):
        volume.view(21)


@pytest.mark.parametrize(("dtype", "order"), [("int16", ">"), ("float32", ">"), ("int8", "<"), ("uint16", "<")])
def test_mrc_files_of_other_kinds_go_in(tmp_path, rng, dtype, order):
    values = rng.integers(0, 100, (9, 12, 10)).astype(dtype)
    with mrcfile.new(tmp_path / "in.mrc") as file:
        file.set_data(values)
        file.voxel_size = 3.0
    if order == ">":
        raw = bytearray((tmp_path / "in.mrc").read_bytes())
        head = np.frombuffer(bytes(raw[:1024]), mrcfile.dtypes.HEADER_DTYPE).byteswap()
        swapped = bytearray(head.tobytes())
        swapped[208:216] = b"MAP \x11\x11\0\0"
        (tmp_path / "in.mrc").write_bytes(bytes(swapped) + values.astype(np.dtype(dtype).newbyteorder(">")).tobytes())
    kept = dtype if np.dtype(dtype).kind in "iu" else "float32"
    write_zarr(tmp_path / "a.zarr", open_mrc(tmp_path / "in.mrc"), 3.0, dtype=kept)
    stored = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert stored.dtype == np.dtype(kept)
    np.testing.assert_array_equal(stored[:], values)


def test_the_window_shows_what_is_there_and_has_a_width_where_all_is_alike(tmp_path, rng):
    array = rng.normal(size=(16, 40, 40))
    array[0, 0, 0] = 1000
    attributes = json.loads((made(tmp_path, array) / ".zattrs").read_text())
    window = attributes["omero"]["channels"][0]["window"]
    assert window["max"] == 1000
    assert -4 < window["start"] < -2 < 2 < window["end"] < 4
    flat = json.loads((made(tmp_path, np.full((4, 5, 6), 7.0)) / ".zattrs").read_text())
    window = flat["omero"]["channels"][0]["window"]
    assert (window["min"], window["max"]) == (7, 7)
    assert window["start"] < 7 < window["end"]
    np.testing.assert_array_equal(open_zarr(tmp_path / "a.zarr").view(3), 7.0)


def test_bad_voxels_and_types_leave_the_old_store_alone(tmp_path, rng):
    array = rng.normal(size=(8, 8, 8))
    path = made(tmp_path, array)
    bad = array.copy()
    bad[2, 3, 4] = np.nan
    with pytest.raises(ImageError, match="voxel z=2, y=3, x=4 is not a finite number"):
        made(tmp_path, bad)
    with pytest.raises(ImageError, match="uint8 cannot hold"):
        made(tmp_path, array, dtype="uint8")
    with pytest.raises(InputError, match="complex64"):
        made(tmp_path, array, dtype="complex64")
    np.testing.assert_array_equal(open_zarr(path).view(2), array[2].astype(np.float32))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "precious.txt").write_text("")
    with pytest.raises(OutputError, match="something else"):
        write_zarr(tmp_path / "b.zarr", ArrayVolume(array.astype(np.float32)), 1.0)
    assert (tmp_path / "b.zarr" / "precious.txt").exists()


def test_a_denoised_volume_says_so(tmp_path, rng):
    path = made(tmp_path, rng.normal(size=(4, 4, 4)), labels=(DENOISED,))
    with pytest.raises(InputError, match="was denoised"):
        refuse_denoised(path)


def test_stores_of_other_programs(tmp_path, rng):
    """Five axes, nanometres, a scale of the whole beside that of the level."""
    values = rng.normal(size=(1, 1, 6, 7, 8)).astype(np.float32)
    group = zarr.open_group(tmp_path / "o.zarr", mode="w", zarr_format=2)
    group.create_array("s0", data=values, chunks=(1, 1, 4, 4, 4))
    axes = [{"name": name} for name in "tc"] + [{"name": name, "unit": "nanometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 0.5, 0.5, 0.5]}]
    multiscale = {
        "axes": axes,
        "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, 2, 2]}],
        "datasets": [{"path": "s0", "coordinateTransformations": scale}],
    }
    group.attrs.put({"multiscales": [multiscale]})
    volume = open_zarr(tmp_path / "o.zarr")
    assert (volume.shape, volume.pixel_size_ang) == ((6, 7, 8), 10.0)
    np.testing.assert_array_equal(volume.view(5), values[0, 0, 5])


def test_hostile_and_damaged_stores_are_refused(tmp_path, rng):
    path = made(tmp_path, rng.normal(size=(4, 4, 4)))
    attributes, array = json.loads((path / ".zattrs").read_text()), json.loads((path / "0/.zarray").read_text())

    def refused(words: str, *, group: dict | None = None, meta: dict | None = None) -> None:
        (path / ".zattrs").write_text(json.dumps(group or attributes))
        (path / "0/.zarray").write_text(json.dumps(meta or array))
        with pytest.raises(FormatError, match=words):
            open_zarr(path)

    def with_path(name: str) -> dict:
        group = json.loads(json.dumps(attributes))
        group["multiscales"][0]["datasets"][0]["path"] = name
        return group

    refused("lies outside the folder", group=with_path("../a.zarr/0"))
    refused("lies outside the folder", group=with_path("/etc"))
    refused("codec 'pickle'", meta=array | {"filters": [{"id": "pickle"}]})
    refused("no plain numbers", meta=array | {"dtype": "|O"})
    refused("in chunks of", meta=array | {"chunks": [2**12] * 3})
    refused("without OME-Zarr's multiscales", group={"something": 1})
    refused("damaged", meta={"zarr_format": 2})
    (path / ".zattrs").write_text("{")
    with pytest.raises(FormatError, match="JSON"):
        open_zarr(path)
    with pytest.raises(FormatError, match="no zarr group"):
        open_zarr(tmp_path)


def test_without_zarr_one_sentence_says_what_to_install(tmp_path, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install lamella\[viewers\]"):
        made(tmp_path, rng.normal(size=(4, 4, 4)))
