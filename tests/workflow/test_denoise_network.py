"""`denoise` with a network: trained here or read, halves merged in the whole's grey values, refused in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tomograms.networks.scenes import halves, likeness, settings

import lamella.tomograms as tomograms
from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.denoised import is_denoised
from lamella.formats.mrc import open_mrc, read_mrc, write_mrc
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.networks.checkpoint import read_model
from lamella.workflow.context import Context
from lamella.workflow.steps import denoise, denoise_files

TILTS = np.linspace(-60, 60, 5)
QUICK = {"support": False, "epochs": 2}


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "denoise").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "denoise", series="TS", device_name="cpu")


@pytest.fixture
def record(tmp_path) -> Tomogram:
    """Halves of frames have half of the whole's grey values."""
    _truth, even, odd = halves()
    for name, volume in (("TS", even + odd + 40), ("TS_even", even + 20), ("TS_odd", odd + 20)):
        write_mrc(tmp_path / f"{name}.mrc", volume, 10.0)
    series = TiltSeries(
        name="TS",
        pixel_size_ang=5.0,
        image_shape_px=(144, 144),
        nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.zeros(5),
        geometry=TiltGeometry.from_angles(TILTS),
    )
    return Tomogram(
        tilt_series=series,
        size_px=(144, 144, 64),
        binning=2.0,
        volume="TS.mrc",
        even_volume="TS_even.mrc",
        odd_volume="TS_odd.mrc",
    )


def test_n2n_trains_on_its_own_halves(record, context):
    done = denoise.run(record, settings(**QUICK | {"epochs": 3}), context)
    assert done.denoised == "denoise/TS.mrc"
    out, pixel = read_mrc(context.root / done.denoised)
    truth, even, odd = halves()
    assert pixel == pytest.approx(10.0)
    assert is_denoised(open_mrc(context.root / done.denoised))
    assert likeness(out, truth) > likeness(even + odd, truth) + 0.1
    assert out.mean() == pytest.approx(float((even + odd + 40).mean()), abs=0.3)
    # the halves' grey values are half of the whole's: the truth is in the sum twice
    slope = np.polyfit(truth.ravel(), out.ravel(), 1)[0]
    assert 1.0 < slope < 2.2
    assert context.quality["TrainEpochs"] == 3
    assert set(context.quality) >= {"TrainLoss", "HeldOutLoss", "TrainSeconds", "NoiseBefore", "NoiseAfter"}
    assert context.quality["NoiseAfter"] < context.quality["NoiseBefore"]
    assert sorted(path.name for path in context.folder.iterdir()) == ["TS.mrc", "TS_model.pt"]
    assert read_model(context.folder / "TS_model.pt").trained_on == ("TS",)


def test_a_killed_step_goes_on_with_its_training(record, context, monkeypatch):
    import lamella.workflow.steps.denoise_network as module

    write, seen = module.write_model, []

    def killed(path, model):
        write(path, model)
        seen.append(path.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_model", killed)
    with pytest.raises(KeyboardInterrupt):
        denoise.run(record, settings(**QUICK), context)
    assert seen == ["TS_training.pt"]
    first = read_model(context.folder / "TS_training.pt").curve[0]
    monkeypatch.setattr(module, "write_model", write)
    denoise.run(record, settings(**QUICK), context)
    curve = read_model(context.folder / "TS_model.pt").curve
    assert len(curve) == 2
    assert curve[0] == first
    assert not (context.folder / "TS_training.pt").exists()


def test_a_network_from_a_file_is_applied(record, context):
    denoise.run(record, settings(**QUICK), context)
    model = context.folder / "TS_model.pt"
    model.rename(context.root / "model.pt")
    how = settings(**QUICK, model="model.pt")
    assert denoise_files.inputs(record, how, context.root) == [context.root / "model.pt"]
    before, _ = read_mrc(context.folder / "TS.mrc")
    denoise.run(record, how, context)
    after, _ = read_mrc(context.folder / "TS.mrc")
    assert np.array_equal(before, after)
    assert any(text.startswith("network of model.pt, trained on TS") for text in context.messages)
    with pytest.raises(InputError, match="voxels of 10 Å and the tomogram has 15 Å"):
        denoise.run(replace(record, binning=3.0), how, context)
    (context.root / "model.pt").write_text("nothing")
    with pytest.raises(FormatError, match="no tensors"):
        denoise.run(record, how, context)


def test_n2v_wants_the_whole_alone(record, context):
    alone = replace(record, even_volume=None, odd_volume=None)
    done = denoise.run(alone, settings("n2v", **QUICK), context)
    assert read_mrc(context.root / done.denoised)[0].shape == (32, 72, 72)


@pytest.mark.parametrize("method", ["n2n", "wedge"])
def test_a_missing_half_is_told_with_its_mend(record, context, method):
    for missing, words in (
        ({"odd_volume": None}, "there is one; set reconstruct.halves"),
        ({"even_volume": None, "odd_volume": None}, "there are none; set reconstruct.halves"),
    ):
        with pytest.raises(InputError, match=f"TS: {method} wants both halves .* {words}.*denoise.method to n2v"):
            denoise.run(replace(record, **missing), settings(method, **QUICK), context)
    assert not list(context.folder.iterdir())


def test_a_block_of_nan_is_told_with_its_place(record, context):
    _truth, even, _odd = halves()
    even[4:8, 5:9, 6:9] = np.nan
    with open(context.root / "TS_even.mrc", "r+b") as file:
        file.seek(1024)
        file.write(even.tobytes())
    with pytest.raises(ImageError, match="z=4, y=5, x=6 is not a finite number"):
        denoise.run(record, settings(**QUICK), context)


def test_the_room_has_the_door():
    assert callable(tomograms.train)
