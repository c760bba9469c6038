"""Converted volumes and stacks against arithmetic done by hand."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lamella.errors import ImageError, InputError, SettingsError
from lamella.formats.mrc import open_mrc, read_mrc, write_mrc
from lamella.workflow import convert_plan
from lamella.workflow.convert import convert_volume
from lamella.workflow.convert_settings import ConvertSettings


def converted(
    folder: Path, array: np.ndarray, name: str = "in.mrc", target: str = "out.mrc", **settings: object
) -> np.ndarray:
    write_mrc(folder / name, array.astype(np.float32), 2.0)
    convert_volume(folder / name, folder / target, ConvertSettings(**settings))  # type: ignore[arg-type]
    return read_mrc(folder / target)[0]


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    box=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    stack=st.booleans(),
)
def test_box_keeps_the_centre_pixel(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], box: tuple[int, int, int], stack: bool
) -> None:
    array = np.zeros(shape)
    where: tuple[object, ...] = tuple(n // 2 for n in shape)
    array[(slice(None), *where[1:]) if stack else where] = 1.0
    size = ",".join(str(n) for n in (box[:0:-1] if stack else box[::-1]))  # x,y,z
    out = converted(tmp_path_factory.mktemp("c"), array, kind="stack" if stack else "volume", box=size)
    assert out.shape == ((shape[0], *box[1:]) if stack else box)
    centres = out[:, box[1] // 2, box[2] // 2] if stack else out[tuple(n // 2 for n in box)]
    np.testing.assert_array_equal(centres, 1.0)


def test_crop_and_pad(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.normal(5, 1, (6, 8, 10))
    np.testing.assert_allclose(converted(tmp_path, array, crop="4,4,2"), array[2:4, 2:6, 3:7], rtol=1e-6)
    padded = converted(tmp_path, array, pad="12")
    np.testing.assert_allclose(padded[3:9, 2:10, 1:11], array, rtol=1e-6)
    faces = np.ones(array.shape, bool)
    faces[1:-1, 1:-1, 1:-1] = False
    np.testing.assert_allclose(padded[5, 0, 0], array[faces].mean(), rtol=1e-5)
    np.testing.assert_allclose(padded[0], array[faces].mean(), rtol=1e-5)
    images = converted(tmp_path, array, "in.mrcs", "out.mrcs", pad="12")
    np.testing.assert_allclose(images[2, 0, 0], array[2].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": "12"}, "crop to 12 pixels along x"),
        ({"pad": "9,9,9"}, "pad to 9 pixels along x"),
        ({"crop": "4,4"}, "for a volume"),
        ({"bin": 11.0}, "leaves no pixel"),
        ({"bin": 1.2345678}, "no simple fraction"),
        ({"low_pass": 3.0}, "do not reach"),
        ({"pixel_size": 500.0}, "--input-pixel-size corrects"),
        ({"pixel_size": 4.0, "crop": "6"}, "crop to 6 pixels along x, where there are 5"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        converted(tmp_path, np.ones((6, 8, 10)), **settings)
    assert not (tmp_path / "out.mrc").exists()


def test_settings_that_contradict_themselves() -> None:
    for wrong in (
        {"crop": "1,x"},
        {"grey": "5,3"},
        {"grey": "bright"},
        {"box": "4", "pad": "8"},
        {"bin": 0.5},
        {"bin": 2, "pixel_size": 4.0},
        {"grey": "normalise", "dtype": "int8"},
        {"dtype": "complex64"},
        {"crop": "0"},
    ):
        with pytest.raises(ValidationError):
            ConvertSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize(("factor", "shape"), [(2, (8, 12, 16)), (3, (9, 13, 17)), (1.5, (12, 12, 18))])
def test_binning_keeps_pixel_0_and_low_frequencies(
    tmp_path: Path, factor: float, shape: tuple[int, int, int], stack: bool
) -> None:
    """A cosine that the binned pixels can hold is sampled at b·i exactly."""
    sizes = [int(n // factor) if factor != 1.5 else n * 2 // 3 for n in shape]
    field = [round(n * factor) for n in sizes]  # what is left once the odd pixels at the end are dropped
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    wave = 3 + sum(np.cos(2 * np.pi * axis / n + 0.3) for axis, n in list(zip(axes, field, strict=True))[1:])
    out = converted(tmp_path, wave, bin=factor, kind="stack" if stack else "volume")
    depth = shape[0] if stack else sizes[0]
    assert out.shape == (depth, *sizes[1:])
    binned = np.meshgrid(*(np.arange(n) * factor for n in (depth, *sizes[1:])), indexing="ij")
    truth = 3 + sum(np.cos(2 * np.pi * axis / n + 0.3) for axis, n in list(zip(binned, field, strict=True))[1:])
    np.testing.assert_allclose(out, truth, atol=1e-5)
    assert open_mrc(tmp_path / "out.mrc").pixel_size_ang == pytest.approx(2.0 * factor)


def body(shape: tuple[int, ...], pixel_ang: float, rank: int) -> np.ndarray:
    """A Gaussian body of 6 Å with another beside it, about the origin n // 2 of the last axes."""
    axes = [(np.arange(n) - n // 2) * pixel_ang for n in shape[-rank:]]
    out = np.zeros(shape)
    for centre, height in (((1.0, -2.0, 0.5), 2.0), ((-9.0, 7.0, 4.0), 1.0)):
        square = sum(np.square(line - c) for line, c in zip(np.meshgrid(*axes, indexing="ij"), centre, strict=False))
        out += height * np.exp(-square / (2 * 6.0**2))
    return out


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("pixel_size", [1.37, 2.0, 3.1, 4.0])
@pytest.mark.parametrize("shape", [(48, 51, 56), (49, 48, 50)])
def test_pixel_size_samples_the_same_density_anew(
    tmp_path: Path, shape: tuple[int, int, int], pixel_size: float, stack: bool
) -> None:
    """Grey values are those of the body at the new places, and its origin stays at n // 2."""
    rank = 2 if stack else 3
    depth = 3 if stack else shape[0]
    array = body((depth, *shape[1:]), 2.0, rank)
    out = converted(tmp_path, array, pixel_size=pixel_size, kind="stack" if stack else "volume")
    wanted = [int(n * 2.0 / pixel_size + 1e-9) for n in shape]
    assert out.shape == ((3, *wanted[1:]) if stack else tuple(wanted))
    np.testing.assert_allclose(out, body(out.shape, pixel_size, rank), atol=2e-3)
    assert open_mrc(tmp_path / "out.mrc").pixel_size_ang == pytest.approx(pixel_size)


def test_a_template_is_made_in_one_call(tmp_path: Path) -> None:
    """Low-pass, then pixels, then the box in new pixels: the order of the command's own usage line."""
    array = body((60, 60, 60), 2.0, 3)
    out = converted(tmp_path, array, low_pass=40.0, pixel_size=5.0, box="32")
    assert out.shape == (32, 32, 32)
    smooth = converted(tmp_path, array, low_pass=40.0)
    np.testing.assert_allclose(out[16, 16, 16], smooth[30, 30, 30], atol=1e-3)
    assert np.abs(out[0]).max() < 0.02  # padded with what surrounds the body, not with the mean of its sections
    cropped = converted(tmp_path, array, low_pass=40.0, pixel_size=5.0, crop="20")
    np.testing.assert_allclose(cropped, out[6:26, 6:26, 6:26], atol=1e-6)


def test_dropped_pixels_are_told(tmp_path: Path) -> None:
    write_mrc(tmp_path / "in.mrc", np.ones((9, 9, 9), np.float32), 2.0)
    result = convert_volume(tmp_path / "in.mrc", tmp_path / "out.mrc", ConvertSettings(bin=2))
    assert result.shape == (4, 4, 4)
    assert any(note.kind == "dropped" for note in result.notes)
    assert any("taken for one volume" in note.text for note in result.notes)


def test_low_pass_removes_what_is_finer(tmp_path: Path) -> None:
    x = np.arange(64)
    wave = np.broadcast_to(np.cos(2 * np.pi * x / 16) + np.cos(2 * np.pi * x / 4), (2, 64, 64))  # 32 Å and 8 Å
    out = converted(tmp_path, wave, "in.mrcs", low_pass=16.0)
    np.testing.assert_allclose(out, np.broadcast_to(np.cos(2 * np.pi * x / 16), (2, 64, 64)), atol=1e-5)
    sized = converted(tmp_path, wave, "in.mrcs", low_pass=64.0, input_pixel_size=8.0)  # 128 Å and 32 Å
    np.testing.assert_allclose(sized, out, atol=1e-5)


def test_grey_values(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.normal(100, 20, (3, 32, 32))
    out = converted(tmp_path, array, grey="normalise")
    assert out.mean() == pytest.approx(0, abs=1e-4)
    assert out.std() == pytest.approx(1, rel=1e-4)
    inverted = converted(tmp_path, array, invert=True)
    np.testing.assert_allclose(inverted + array, 2 * array.mean(), rtol=1e-4)
    scaled = converted(tmp_path, array, grey="50,150")
    np.testing.assert_allclose(scaled, (array - 50) / 100, atol=1e-5)
    stretched = converted(tmp_path, array, grey="50,150", dtype="int8", kind="volume")
    np.testing.assert_allclose(stretched, np.clip(np.rint((array - 50) * 2.55 - 128), -128, 127), atol=1)
    both = converted(tmp_path, array, grey="auto", invert=True, dtype="uint16")
    low, high = np.percentile(2 * array.mean() - array, [0.1, 99.9])
    truth = np.clip(((2 * array.mean() - array) - low) / (high - low), 0, 1) * 65535
    np.testing.assert_allclose(both, truth, atol=200)


def test_clipping_is_counted(tmp_path: Path) -> None:
    array = np.array([[[-300.0, -128.4, 0.4, 127.4, 127.6, 1000.0]]])
    write_mrc(tmp_path / "in.mrc", array.astype(np.float32), 2.0)
    result = convert_volume(tmp_path / "in.mrc", tmp_path / "out.mrc", ConvertSettings(dtype="int8"))
    assert result.clipped == 3
    assert any("3 grey values" in note.text for note in result.notes)
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert file.data.dtype == np.int8
        assert file.data.ravel().tolist() == [-128, -128, 0, 127, 127, 127]


def test_tiff_in_and_out(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="minisblack")
    result = convert_volume(tmp_path / "in.tif", tmp_path / "out.mrcs", ConvertSettings(dtype="uint16"))
    assert result.pixel_size_ang is None
    assert any("1 Å is written" in note.text for note in result.notes)
    np.testing.assert_array_equal(read_mrc(tmp_path / "out.mrcs")[0], array[:, ::-1])
    convert_volume(tmp_path / "out.mrcs", tmp_path / "back.tif", ConvertSettings(dtype="uint8", input_pixel_size=3.0))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "back.tif"), array)


def test_what_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.ones((4, 8, 8), np.float32)
    array[2, 3, 3] = np.nan
    with mrcfile.new(tmp_path / "nan.mrc") as file:
        file.set_data(array)
    with pytest.raises(ImageError, match="section 3 holds NaN"):
        convert_volume(tmp_path / "nan.mrc", tmp_path / "out.mrc", ConvertSettings())
    with pytest.raises(InputError, match="is the input itself"):
        convert_volume(tmp_path / "nan.mrc", tmp_path / "nan.mrc", ConvertSettings())
    with pytest.raises(InputError, match="no format"):
        converted(tmp_path, np.ones((1, 2, 2)), target="out.xyz")
    with pytest.raises(InputError, match="signed"):
        converted(tmp_path, np.ones((1, 2, 2)), dtype="uint8")
    with pytest.raises(ImageError, match="constant"):
        converted(tmp_path, np.ones((1, 2, 2)), grey="normalise")
    monkeypatch.setattr(convert_plan, "free_memory_bytes", lambda device: 1000)
    with pytest.raises(ImageError, match="GiB of memory"):
        converted(tmp_path, np.ones((8, 8, 8)), bin=2)
    converted(tmp_path, np.ones((8, 8, 8)), "in.mrcs", bin=2)  # a stack goes image by image
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mrc", "in.mrcs", "nan.mrc", "out.mrc"]


def test_progress_rises_to_one(tmp_path: Path) -> None:
    write_mrc(tmp_path / "in.mrcs", np.arange(48, dtype=np.float32).reshape(3, 4, 4), 2.0)
    seen: list[float] = []
    convert_volume(
        tmp_path / "in.mrcs",
        tmp_path / "out.mrcs",
        ConvertSettings(grey="auto"),
        lambda share, text="": seen.append(share),
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1
