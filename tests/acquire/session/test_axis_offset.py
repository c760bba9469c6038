"""The tilt axis's offset, from defoci made by the stated physics with random errors."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.session.axis_offset import SeenDefocus, fit_axis_offset


def defoci(axis_um: float, rng: np.random.Generator, *, hand: int = -1, angles=range(-30, 31, 6), sd: float = 0.05):
    """Nine targets on a slope; a lens with a zero and a scale of its own; a stage whose height wanders."""
    seen = []
    x = rng.uniform(-8, 8, 9)
    z = 0.1 * x + rng.normal(0, 0.3, 9)
    stage = {tilt: rng.normal(0, 0.03) for tilt, _ in enumerate(angles)}
    for tilt, angle in enumerate(angles):
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        for target in range(9):
            height = z[target] * cos - (x[target] - axis_um) * sin + stage[tilt]
            # Set for a flat specimen whose axis is in the middle, as a session would that knows no better.
            lens = 3.0 + hand * x[target] * sin
            true = 0.2 + 3.0 + 1.03 * (lens - 3.0) + hand * height
            seen.append(
                SeenDefocus(
                    target=target,
                    tilt=tilt,
                    x_um=float(x[target]),
                    tilt_deg=float(angle),
                    lens_um=float(lens),
                    defocus_um=float(true + rng.normal(0, sd)),
                    sd_um=sd,
                )
            )
    return seen


@pytest.mark.parametrize("hand", [-1, 1])
@pytest.mark.parametrize("axis_um", [-1.0, 0.4])
def test_the_axis_is_found_with_its_sign(hand, axis_um) -> None:
    errors = []
    for seed in range(8):
        found = fit_axis_offset(defoci(axis_um, np.random.default_rng(seed), hand=hand), hand=hand, wanted_um=3.0)
        assert found is not None
        errors.append((found.axis_um - axis_um) / found.sd_um)
    assert np.sqrt(np.mean(np.square(errors))) < 1.5
    assert found.sd_um < 0.2


def test_wrong_defoci_do_not_move_it() -> None:
    seen = defoci(0.5, np.random.default_rng(3))
    wrong = [
        SeenDefocus(**{**vars(one), "defocus_um": one.defocus_um + 1.5}) if place % 15 == 7 else one
        for place, one in enumerate(seen)
    ]
    found = fit_axis_offset(wrong, hand=-1, wanted_um=3.0)
    assert found is not None
    assert found.axis_um == pytest.approx(0.5, abs=3 * found.sd_um)


def test_one_side_alone_does_not_tell() -> None:
    assert (
        fit_axis_offset(defoci(0.5, np.random.default_rng(1), angles=range(0, 31, 6)), hand=-1, wanted_um=3.0) is None
    )
    assert fit_axis_offset([], hand=-1, wanted_um=3.0) is None
