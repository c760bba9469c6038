"""An average masked, sharpened and judged: against the truth it was made of, and against RELION's program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.particles.half_maps import body_signal, with_noise

import lamella.particles as particles
from lamella.errors import ImageError, InputError
from lamella.formats.mrc import write_mrc
from lamella.formats.star import read_star
from lamella.fourier import resolution_at, shell_correlation
from lamella.particles.postprocess_settings import PostprocessSettings

VOXEL = 1.5
QUICK = PostprocessSettings(local_resolution=False, directional=False, mask_low_pass=12)


def test_resolution_and_map_agree_with_the_truth(rng: np.random.Generator) -> None:
    signal = body_signal(80, 20, VOXEL, 150.0, rng)
    half1, half2 = with_noise(signal, 0.03, rng)
    seen: list[float] = []
    made = particles.postprocess(
        half1, half2, VOXEL, QUICK.model_copy(update={"local_resolution": True, "directional": True}),
        progress=lambda share, text="": seen.append(share),
    )  # fmt: skip
    mask = torch.from_numpy(made.mask)
    frequency, truth, _ = shell_correlation(
        torch.from_numpy((half1 + half2) / 2) * mask, torch.from_numpy(signal) * mask
    )
    # 0.143 of the halves is 0.5 of their mean with the truth
    assert made.resolution_ang == pytest.approx(resolution_at(frequency, truth, 0.5, VOXEL), rel=0.05)
    assert made.unmasked_resolution_ang > made.resolution_ang
    assert made.mask[signal > 0.5 * signal.max()].min() > 0.99
    assert made.local is not None
    assert made.local.median_ang == pytest.approx(made.resolution_ang, rel=0.15)
    assert made.directional is not None
    assert made.directional.sphericity > 0.97
    np.testing.assert_array_equal(made.masked, made.sharpened * made.mask)
    assert not made.messages
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_what_is_told(rng: np.random.Generator) -> None:
    signal = body_signal(48, 12, 4.0, 1500.0, rng)
    coarse = particles.postprocess(*with_noise(signal, 0.02, rng), 4.0, QUICK)
    assert coarse.b_factor_ang2 == pytest.approx(-1500, rel=0.2)
    assert coarse.b_factor_ang2 == coarse.guinier.b_factor_ang2
    blunt = particles.postprocess(*with_noise(body_signal(48, 12, 4.0, 6000.0, rng), 0.02, rng), 4.0, QUICK)
    assert blunt.b_factor_ang2 == 0
    assert any("not sharpened" in text for text in blunt.messages)
    fine = body_signal(48, 12, 4.0, 0.0, rng)
    limited = particles.postprocess(*with_noise(fine, 0.02, rng), 4.0, QUICK)
    assert limited.limited
    assert limited.resolution_ang == pytest.approx(8.0)
    assert any("voxels limit" in text for text in limited.messages)
    given = particles.postprocess(
        *with_noise(signal, 0.02, rng), 4.0, QUICK.model_copy(update={"b_factor": -50.0, "low_pass": 30.0})
    )
    assert given.b_factor_ang2 == -50
    terms = torch.fft.rfftn(torch.from_numpy(given.sharpened)).abs()
    assert terms[0, 0, 12:].max() < 1e-3 * terms.max()  # finer than 48 · 4 / 12 = 16 Å
    rough = ((rng.random(signal.shape) < 0.3) * (coarse.mask > 0.5)).astype(np.float32)
    tight = particles.postprocess(*with_noise(signal, 0.02, rng), 4.0, QUICK, mask=rough)
    assert any("tight" in text for text in tight.messages)


def test_halves_of_two_things_are_refused(rng: np.random.Generator) -> None:
    one, two = (body_signal(32, 8, 4.0, 100.0, rng) for _ in range(2))
    with pytest.raises(InputError, match="do not agree even in the first shell"):
        particles.postprocess(one, -two, 4.0, QUICK, mask=np.ones_like(one))
    with pytest.raises(ImageError, match="a mask of"):
        particles.postprocess(*with_noise(one, 0.1, rng), 4.0, QUICK, mask=np.ones((8, 8, 8), np.float32))
    with pytest.raises(ImageError, match="denser"):
        particles.postprocess(*(rng.normal(size=(2, 32, 32, 32)).astype(np.float32)), 4.0, QUICK)


@pytest.mark.program("relion_postprocess")
def test_relion_finds_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    signal = body_signal(72, 18, VOXEL, 80.0, rng)
    half1, half2 = with_noise(signal, 0.03, rng)
    made = particles.postprocess(half1, half2, VOXEL, QUICK)
    for name, volume in (("half1", half1), ("half2", half2), ("mask", made.mask)):
        write_mrc(tmp_path / f"{name}.mrc", volume, VOXEL)
    names = ["--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--o", "out"]
    # it ends with a PDF that it may not be able to make
    subprocess.run(
        ["relion_postprocess", *names, "--auto_bfac"], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    tables = read_star(tmp_path / "out.star")
    fsc = tables["fsc"]
    theirs = fsc.numbers("rlnFourierShellCorrelationUnmaskedMaps")
    np.testing.assert_allclose(made.fsc.unmasked, theirs, atol=0.02)
    np.testing.assert_allclose(made.fsc.masked, fsc.numbers("rlnFourierShellCorrelationMaskedMaps"), atol=0.02)
    corrected = fsc.numbers("rlnFourierShellCorrelationCorrected")
    assert np.abs(made.fsc.correlation - corrected).mean() < 0.03
    shell = 1 / (72 * VOXEL)
    stated = float(tables["general"].text("rlnFinalResolution")[0])
    assert abs(1 / made.resolution_ang - 1 / stated) < 1.5 * shell  # RELION states whole shells
    # RELION fits the amplitudes of the unmasked map, whose noise is larger, so its line is flatter
    b_factor = float(tables["general"].text("rlnBfactorUsedForSharpening")[0])
    assert made.b_factor_ang2 == pytest.approx(b_factor, abs=35)
