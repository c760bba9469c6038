"""`denoise` writes the map of support where there are two halves, the table of what has none, and the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import lamella.workflow.steps.denoise as step
from lamella.errors import ImageError, InputError
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.star import read_star
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.workflow.context import Context

TILTS = np.linspace(-40, 40, 9)
SHAPE = (32, 64, 64)
SETTINGS = DenoiseSettings(method="gaussian", width=1.5)


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "denoise").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "denoise", series="TS", device_name="cpu")


@pytest.fixture
def record(tmp_path) -> Tomogram:
    """Balls in noise, whole and in halves of frames; images of noise."""
    rng = np.random.default_rng(1)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = np.zeros(SHAPE)
    for place in ((16, 16, 16), (16, 46, 44)):
        truth -= 1 / (1 + np.exp((np.sqrt(sum((a - p) ** 2 for a, p in zip((z, y, x), place, strict=True))) - 7) / 0.7))
    even, odd = ((truth + rng.normal(size=SHAPE)).astype(np.float32) for _ in range(2))
    for name, volume in (("TS", even + odd), ("TS_even", even), ("TS_odd", odd)):
        write_mrc(tmp_path / f"{name}.mrc", volume, 10.0)
    write_mrc(tmp_path / "views.mrcs", rng.normal(size=(9, 64, 64)).astype(np.float32), 10.0)
    names = tuple(f"{view + 1:06d}@views.mrcs" for view in range(9))
    series = TiltSeries(
        name="TS", pixel_size_ang=10.0, image_shape_px=(64, 64), nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.zeros(9), geometry=TiltGeometry.from_angles(TILTS), images=names,
    )  # fmt: skip
    return Tomogram(
        tilt_series=series, size_px=(64, 64, 32), volume="TS.mrc", even_volume="TS_even.mrc", odd_volume="TS_odd.mrc"
    )


def test_a_map_and_numbers_are_written(record, context):
    done = step.run(record, SETTINGS, context)
    assert done.support == "denoise/TS_support.mrc"
    support, pixel = read_mrc(context.root / done.support)
    assert (support.shape, pixel) == (SHAPE, pytest.approx(10.0))
    assert support[16, 16, 16] > 0.8
    assert support[16, 46, 44] > 0.8
    assert 0.8 < context.quality["SupportMedian"] <= 1
    assert context.quality["UnsupportedFraction"] < 0.05
    assert {"UntestableFraction", "SupportResolution", "SupportOverall"} <= set(context.quality)
    assert 0.05 < context.quality["UnsupportedTexture"] < 1  # noise that a Gaussian leaves
    assert context.quality["TextureNoise"] > 0.5
    assert abs(context.quality["ReprojectionCorrelationDenoised"]) < 0.1  # the views hold nothing
    assert not (context.folder / "TS_unsupported.star").exists()


def test_what_a_method_invents_is_listed(record, context, monkeypatch):
    def invents(half, settings, model, context, progress):
        volume = plain(half, settings, model, context, progress)
        z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
        volume.array[:] -= 1.5 / (1 + np.exp((np.sqrt((z - 16) ** 2 + (y - 16) ** 2 + (x - 46) ** 2) - 7) / 0.7))
        return volume

    plain = step._denoised_half
    monkeypatch.setattr(step, "_denoised_half", invents)
    step.run(record, SETTINGS, context)
    table = read_star(context.folder / "TS_unsupported.star")["unsupported"]
    assert table.text("rlnTomoName")[0] == "TS"
    place = [table.numbers(f"rlnCenteredCoordinate{axis}Angst")[0] for axis in "XYZ"]
    np.testing.assert_allclose(place, [140, -160, 0], atol=60)
    assert table.numbers("lamellaSupport")[0] < 0.3
    assert any("not in the data" in message for message in context.messages)


def test_texture_that_a_method_paints_is_said(record, context, monkeypatch):
    def paints(half, settings, model, context, progress):
        volume = plain(half, settings, model, context, progress)
        texture = gaussian_filter(np.random.default_rng(2).normal(size=SHAPE), 1.5)
        volume.array[:] += 0.3 * texture / texture.std()
        return volume

    plain = step._denoised_half
    monkeypatch.setattr(step, "_denoised_half", paints)
    step.run(record, SETTINGS, context)
    assert context.quality["UnsupportedTexture"] > 0.3
    assert context.quality["TextureNoise"] < 0.3
    assert any("texture" in message for message in context.messages)


def test_without_halves_it_is_said(record, context):
    done = step.run(replace(record, odd_volume=None), SETTINGS, context)
    assert done.denoised == "denoise/TS.mrc"
    assert done.support is None
    assert any("no map of support" in message for message in context.messages)


def test_it_can_be_left_out(record, context):
    done = step.run(record, SETTINGS.model_copy(update={"support": False}), context)
    assert done.support is None
    assert not any("support" in message for message in context.messages)


def test_views_that_have_gone_are_said(record, context):
    (context.root / "views.mrcs").unlink()
    done = step.run(record, SETTINGS, context)
    assert done.support is not None
    assert any("not compared with the views" in message for message in context.messages)


def test_bad_halves_are_refused(record, context):
    even = read_mrc(context.root / "TS_even.mrc")[0]
    write_mrc(context.root / "TS_even.mrc", even[:-2], 10.0)
    with pytest.raises(ImageError, match="different shapes"):
        step.run(record, SETTINGS, context)


def test_room_for_the_halves_is_planned(record):
    assert step.needs(record, SETTINGS).disk == 4 * np.prod(SHAPE) * 4
    assert step.needs(record, SETTINGS.model_copy(update={"support": False})).disk == 4 * np.prod(SHAPE)


def test_a_half_that_is_gone_is_named(record, context):
    (context.root / "TS_even.mrc").unlink()
    with pytest.raises(InputError, match=r"TS_even.mrc is gone; run reconstruct again"):
        step.run(record, SETTINGS, context)
