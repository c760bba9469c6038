"""What the record of a tomogram refuses, and the one door to measured volumes."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import InputError
from lamella.records import TiltSeries, Tomogram

SERIES = TiltSeries(
    name="TS",
    pixel_size_ang=4.0,
    image_shape_px=(64, 64),
    nominal_tilt_deg=np.linspace(-40, 40, 5),
    nominal_axis_deg=np.full(5, 85.0),
)


def tomogram(**files: str) -> Tomogram:
    return Tomogram(tilt_series=SERIES, size_px=(64, 64, 32), binning=2.0, **files)


@pytest.mark.parametrize("place", ["volume", "even_volume", "odd_volume"])
def test_a_denoised_file_cannot_stand_where_a_measured_one_belongs(place):
    with pytest.raises(InputError, match="as denoised and as measured"):
        tomogram(denoised="denoise/TS.mrc", **{place: "denoise/TS.mrc"})


def test_measured_volumes_are_never_the_denoised_ones():
    whole = tomogram(volume="r/TS.mrc", denoised="d/TS.mrc")
    assert whole.measured_volumes == ("r/TS.mrc",)
    assert not whole.has_halves
    both = tomogram(volume="r/TS.mrc", even_volume="r/e.mrc", odd_volume="r/o.mrc", denoised="d/TS.mrc")
    assert both.measured_volumes == ("r/TS.mrc", "r/e.mrc", "r/o.mrc")
    assert both.measured_halves == ("r/e.mrc", "r/o.mrc")


def test_where_only_denoised_data_are_there_the_step_ends():
    with pytest.raises(InputError, match=r"no measured volume, only the denoised d/TS\.mrc"):
        tomogram(denoised="d/TS.mrc").measured_volumes  # noqa: B018
    with pytest.raises(InputError, match="no two halves"):
        tomogram(volume="r/TS.mrc", even_volume="r/e.mrc").measured_halves  # noqa: B018
