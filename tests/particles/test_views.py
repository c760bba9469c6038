"""What a view does to a particle, against the formulas view by view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.optics import contrast_transfer, dose_filter
from lamella.particles.views import (
    SeriesTransfer,
    noise_after_crop,
    view_places,
    view_rotations,
    view_transfer,
    visible_views,
)
from lamella.records import Defocus, Optics, Particles, TiltSeries, Tomogram

TILTS = np.array([-40.0, 0.0, 35.0])
PLACE = np.array([[300.0, -120.0, 210.0], [0.0, 0.0, 0.0]])


def series(**changes: object) -> TiltSeries:
    """Three views with everything a view can have."""
    n = len(TILTS)
    return TiltSeries(
        name="TS",
        pixel_size_ang=3.0,
        image_shape_px=(301, 200),
        nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.full(n, 85.0),
        pre_exposure=np.array([6.0, 0.0, 3.0]),
        optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(TILTS, 85.0, x_tilt_deg=2.0, x_shift_ang=[4.0, -5.0, 6.0]),
        defocus=Defocus(
            u_ang=np.array([31000.0, 30000.0, 30500.0]),
            v_ang=np.array([30500.0, 29000.0, 30000.0]),
            angle_deg=np.array([10.0, 20.0, -30.0]),
            phase_shift_deg=np.array([0.0, 5.0, 10.0]),
        ),
    ).with_changes(**changes)


def particles(tilt_series: TiltSeries, **changes: object) -> Particles:
    tomogram = Tomogram(tilt_series=tilt_series, size_px=(200, 300, 100))
    return Particles(tomogram=tomogram, coordinates_ang=PLACE, **changes)


def test_transfer_is_the_contrast_transfer_at_the_particles_depth_times_what_the_dose_left() -> None:
    one = series()
    found = view_transfer(particles(one), 0, 48, 6.0)
    u, v = one.defocus_at(PLACE[0])
    for view in range(len(TILTS)):
        ctf = contrast_transfer(
            (48, 48), 6.0, defocus_u_ang=u[view], defocus_v_ang=v[view], angle_deg=one.defocus.angle_deg[view],
            voltage_kv=300.0, phase_shift_deg=one.defocus.phase_shift_deg[view],
        )  # fmt: skip
        dose = dose_filter((48, 48), 6.0, one.pre_exposure[view], 3.0, 300.0)
        torch.testing.assert_close(found[view], ctf * dose, atol=2e-5, rtol=0)


def test_only_visible_views_come_in_the_order_of_the_table() -> None:
    one = series()
    marked = particles(one, visible=np.array([[True, False, True], [False, False, True]]))
    assert visible_views(marked, 0).tolist() == [0, 2]
    whole = SeriesTransfer(one, 16, 6.0).at(PLACE[0])
    torch.testing.assert_close(view_transfer(marked, 0, 16, 6.0), whole[[0, 2]])
    assert visible_views(particles(one), 1).tolist() == [0, 1, 2]


def test_what_is_not_known_is_left_out() -> None:
    bare = SeriesTransfer(series(defocus=None, pre_exposure=None), 16, 6.0).at((0, 0, 0))
    assert (bare == 1).all()
    dark = SeriesTransfer(series(imaging="dark"), 16, 6.0).at((0, 0, 0))
    torch.testing.assert_close(dark[0], dose_filter((16, 16), 6.0, 6.0, 3.0, 300.0))
    with pytest.raises(GeometryError, match="voltage"):
        SeriesTransfer(series(optics=Optics()), 16, 6.0)
    with pytest.raises(GeometryError, match="not aligned"):
        view_rotations(series(geometry=None))


def test_places_count_pixels_from_the_images_first() -> None:
    one = series()
    places = view_places(one, PLACE)
    assert places.shape == (3, 2, 2)
    np.testing.assert_allclose(places[1, 1], [100 - 5 / 3, 150])
    np.testing.assert_allclose((places - (100, 150)) * 3, one.geometry.project(PLACE))


@pytest.mark.parametrize("padding", [1, 2])
def test_noise_of_cropped_pictures_is_what_noise_shows(padding: int) -> None:
    """White noise times a transfer with zeros, cropped, and its power over many pictures."""
    whole, box = 96, 64
    generator = torch.Generator().manual_seed(1)

    def transfer(n: int) -> torch.Tensor:
        k = torch.fft.fftfreq(n)[:, None] ** 2 + torch.fft.rfftfreq(n)[None] ** 2
        return torch.sin(40 * k + 0.1)

    white = torch.fft.rfft2(torch.randn(4000, whole, whole, generator=generator))
    pictures = torch.fft.irfft2(white * transfer(whole), s=(whole, whole))[:, 16 : 16 + box, 16 : 16 + box]
    size = padding * box
    power = (torch.fft.rfft2(pictures, s=(size, size)).abs() ** 2).mean(dim=0) / box**2
    stated = noise_after_crop(transfer(size)[None] ** 2, padding)[0]
    assert (power / stated - 1).abs().mean() < 0.05
    assert (power / stated - 1)[1:-1, 1:-1].abs().max() < 0.3
