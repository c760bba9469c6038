"""What `reconstruct` says of the contrast transfer, and which files it writes."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import ImageError, InputError
from lamella.formats.images import image_name
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.star import read_star
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, Optics, TiltSeries
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context
from lamella.workflow.steps import reconstruct
from lamella.workflow.steps.reconstruct_mask import inputs

VIEWS, SIZE = 11, 64
HOW = {"pixel_size": 8.0, "thickness": 512.0, "halves": "off"}


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "step").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "step", series="TS", device_name="cpu")


@pytest.fixture
def series(tmp_path, rng) -> TiltSeries:
    images = rng.normal(1000, 30, (VIEWS, SIZE, SIZE)).astype(np.float32)
    write_mrc(tmp_path / "TS.mrc", images, 8.0)
    tilt = np.linspace(-50, 50, VIEWS)
    return TiltSeries(
        name="TS",
        pixel_size_ang=8.0,
        image_shape_px=(SIZE, SIZE),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(i, "TS.mrc") for i in range(VIEWS)),
        optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(tilt, 85.0),
        defocus=Defocus(u_ang=np.full(VIEWS, 3e4), v_ang=np.full(VIEWS, 3e4), angle_deg=np.zeros(VIEWS)),
    )


def test_auto_corrects_where_a_defocus_is_known_and_says_so(series, context):
    plain = reconstruct.run(series.with_changes(defocus=None), ReconstructSettings(**HOW), context)
    assert "contrast transfer not corrected: no defocus is known" in context.messages
    before, _ = read_mrc(context.root / plain.volume)
    record = reconstruct.run(series, ReconstructSettings(**HOW), context)
    assert any(text.startswith("contrast transfer corrected by flipped phases in strips") for text in context.messages)
    assert plain.tilt_series.other["lamellaCtfCorrection"] == "none"
    assert record.tilt_series.other["lamellaCtfCorrection"] == "phase-flip"
    after, _ = read_mrc(context.root / record.volume)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.9
    with pytest.raises(InputError, match="no defocus is known; run ctf first"):
        reconstruct.run(series.with_changes(defocus=None), ReconstructSettings(**HOW, ctf="multiply"), context)


def test_halves_are_corrected_as_the_whole(series, context):
    """Two halves by tilts, flipped phases: their mean is the whole in a middle plane, as it is without correction."""
    settings = ReconstructSettings(**HOW | {"halves": "tilts"})
    record = reconstruct.run(series, settings, context)
    whole, even, odd = (
        read_mrc(context.root / name)[0] for name in (record.volume, record.even_volume, record.odd_volume)
    )
    assert np.corrcoef(whole.ravel(), (even + odd).ravel())[0, 1] > 0.95


def test_deconvolved_stands_beside(series, context):
    settings = ReconstructSettings(**HOW, deconvolve=True, snr_high_pass=200.0)
    record = reconstruct.run(series, settings, context)
    assert sorted(path.name for path in context.folder.iterdir()) == ["TS.mrc", "TS_deconvolved.mrc"]
    plain, _ = read_mrc(context.root / record.volume)
    restored, pixel = read_mrc(context.folder / "TS_deconvolved.mrc")
    assert pixel == pytest.approx(8.0)
    assert restored.shape == plain.shape
    assert any(text.startswith("deconvolved for the eye") for text in context.messages)
    reconstruct.run(series.with_changes(imaging="dark"), settings, context)
    assert "not deconvolved: dark-field images have none" in context.messages


def test_needs_tell_of_slabs_and_of_the_second_volume(series):
    settings = ReconstructSettings(**HOW)
    alone = reconstruct.needs(series, settings)
    slabs = reconstruct.needs(series, settings.model_copy(update={"ctf_tolerance": 50.0}))
    assert slabs.memory > 4 * alone.memory
    assert reconstruct.needs(series, settings.model_copy(update={"ctf": "none"})).memory <= alone.memory
    assert reconstruct.needs(series, settings.model_copy(update={"deconvolve": True})).disk == pytest.approx(
        2 * alone.disk
    )
    unknown = series.with_changes(defocus=None)
    assert reconstruct.needs(unknown, settings.model_copy(update={"ctf": "multiply"})).memory > 0


def test_rounds_are_chosen_once_told_and_kept_for_the_halves(series, context, monkeypatch):
    import lamella.tomograms as tomograms

    seen = []
    plain = tomograms.reconstruct

    def watched(*arguments, **more):
        result = plain(*arguments, **more)
        seen.append((arguments[3].iterations, result.rounds.count))
        return result

    monkeypatch.setattr(tomograms, "reconstruct", watched)
    settings = ReconstructSettings(**HOW | {"halves": "tilts"}, method="sart", iterations="auto")
    reconstruct.run(series, settings, context)
    count = seen[0][1]
    assert seen == [("auto", count), (count, count), (count, count)]
    assert any(text.startswith(f"sart: {count} round") and "left out" in text for text in context.messages)
    assert context.quality["Rounds"] == count
    tables = read_star(context.folder / "TS_held_out.star")
    errors = tables["rounds"].numbers("lamellaHeldOutError")
    assert np.argmin(errors) + 1 == tables["general"].integers("lamellaHeldOutBestRound")[0]
    assert tables["rounds"].integers("lamellaRound").tolist() == list(range(1, len(errors) + 1))
    assert context.quality["HeldOutError"] == pytest.approx(errors.min())
    assert 1 < tables["views"].integers("lamellaView").min() < VIEWS


def test_a_mask_is_read_from_its_file(series, context):
    mask = np.zeros((64, SIZE, SIZE), np.float32)
    mask[20:40] = 1
    write_mrc(context.root / "mask.mrc", mask, 8.0)
    settings = ReconstructSettings(**HOW, method="sirt", iterations=2, mask="mask.mrc")
    assert inputs(series, settings, context.root) == [context.root / "mask.mrc"]
    assert inputs(series, settings.model_copy(update={"method": "wbp"}), context.root) == []
    record = reconstruct.run(series, settings, context)
    volume, _ = read_mrc(context.root / record.volume)
    assert not volume[mask == 0].any()
    assert volume[20:40].std() > 0
    write_mrc(context.root / "mask.mrc", mask, 10.0)
    with pytest.raises(ImageError, match=r"voxels of 10 Å for a tomogram of 8 Å"):
        reconstruct.run(series, settings, context)
    write_mrc(context.root / "mask.mrc", mask[:32], 8.0)
    with pytest.raises(ImageError, match=r"mask.mrc has 64 × 64 × 32 voxels"):
        reconstruct.run(series, settings, context)
