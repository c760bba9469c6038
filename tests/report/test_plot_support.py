"""The picture of support: unsupported structure is orange, flagged places are ringed, noise stays grey."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Circle

from lamella.geometry import TiltGeometry
from lamella.records import ArrayVolume, TiltSeries, Tomogram
from lamella.report.plots import plot_support

SHAPE = (40, 60, 80)


def test_what_has_no_support_is_orange_and_ringed():
    rng = np.random.default_rng(0)
    volume = 0.1 * rng.normal(size=SHAPE).astype(np.float32)
    volume[15:25, 10:20, 10:20] -= 2  # supported
    volume[15:25, 40:50, 60:70] -= 2  # not supported
    support = np.zeros(SHAPE, np.float32)
    support[:, :30, :40] = 1
    tilts = np.linspace(-40, 40, 5)
    series = TiltSeries(
        name="TS", pixel_size_ang=10.0, image_shape_px=(60, 80), nominal_tilt_deg=tilts, nominal_axis_deg=np.zeros(5),
        geometry=TiltGeometry.from_angles(tilts),
    )  # fmt: skip
    tomogram = Tomogram(tilt_series=series, size_px=(80, 60, 40))
    places = [(250.0, 150.0, 0.0, 100.0), (0.0, 0.0, -190.0, 60.0)]
    figure = plot_support(tomogram, ArrayVolume(volume), ArrayVolume(support), places)
    plain, judged = figure.axes
    before, after = (axis.images[0].get_array() for axis in (plain, judged))
    np.testing.assert_allclose(after[12:18, 12:18], before[12:18, 12:18])
    assert (after[42:48, 62:68, 0] > after[42:48, 62:68, 2] + 0.05).all()
    rings = [patch.center for patch in judged.patches if isinstance(patch, Circle)]
    assert rings == [(65.5, 45.5)]  # the other one lies in another slice
    # a strongest place far from the middle gets a row of its own
    assert len(plot_support(tomogram, ArrayVolume(volume), ArrayVolume(support), places[::-1]).axes) == 4
