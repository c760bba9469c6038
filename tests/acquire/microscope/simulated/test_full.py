"""Full pictures: what the true series says of them is where things are in them; files, doses and names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from lamella.acquire.microscope.port import RECORD, TRACK, Pixels, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings
from lamella.acquire.world import load_world
from lamella.errors import InputError
from lamella.geometry.rotations import rotation_z


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedMicroscope, list[np.ndarray], Path]:
    """One target: level in the middle, the same moved by an image shift, and tilted."""
    folder = tmp_path_factory.mktemp("session")
    world = load_world("rigid", {"grid.pretilt": [8.0, 8.0]})
    simulation = full_settings(4, world.optics.tilt_axis, frames=2, beads=10, size=160, particles=10, vesicles=1)
    scope = SimulatedMicroscope(
        world, 4, targets=1, pictures="full", full=FullSettings(simulation=simulation, folder=folder, names=("P7",))
    )
    images = []
    scope.focus(3.0)
    scope.shift_image(*scope.targets_um[0])
    for number, (tilt, shift) in enumerate([(0.0, (0.0, 0.0)), (0.0, (0.02, -0.012)), (12.0, (0.0, 0.0))]):
        scope.tilt(tilt)
        scope.shift_image(*(scope.targets_um[0] + shift))
        picture = scope.expose(RECORD, Purpose(kind="record", target=0, tilt=number))
        assert isinstance(picture.content, Pixels)
        images.append(picture.content.image)
    return scope, images, folder


Recorded = tuple[SimulatedMicroscope, list[np.ndarray], Path]


def test_a_shift_moves_the_picture_by_what_the_true_series_says(recorded: Recorded) -> None:
    scope, images, _ = recorded
    assert scope.full is not None
    truth = scope.full.true_series(0)
    assert truth.geometry is not None
    stated = np.diff(truth.geometry.shifts_ang()[:2], axis=0)[0]
    axis = float(truth.geometry.z_rot_deg[0])
    # the beam goes to (0.02, -0.012) µm across and along the axis: what was in the middle appears on the other side
    np.testing.assert_allclose(stated, -1e4 * rotation_z(axis)[:2, :2] @ (0.02, -0.012), atol=1.0)
    smooth = [ndimage.gaussian_filter(image.astype(float), 1.5) for image in images[:2]]
    smooth = [image - ndimage.gaussian_filter(image, 12) for image in smooth]
    terms = [np.fft.fft2(image) for image in smooth]
    peak = np.fft.ifft2(terms[1] * terms[0].conj()).real
    at = np.array(np.unravel_index(peak.argmax(), peak.shape))
    moved = (at + np.array(peak.shape) // 2) % peak.shape - np.array(peak.shape) // 2
    np.testing.assert_allclose(moved[::-1] * truth.pixel_size_ang, stated, atol=1.0 * truth.pixel_size_ang)


def test_the_true_series_knows_how_the_grid_lies_and_how_far_out_of_focus_it_is(recorded: Recorded) -> None:
    scope, _, _ = recorded
    assert scope.full is not None
    truth = scope.full.true_series(0)
    geometry = truth.geometry
    assert geometry is not None
    assert truth.defocus is not None
    # one plane of 8°, seen level and tilted by 12°
    tilted = geometry.rotations()[0] @ [0, 0, 1]
    assert np.rad2deg(np.arccos(tilted[2])) == pytest.approx(8.0, abs=1e-6)
    np.testing.assert_allclose(np.diff(geometry.y_tilt_deg), [0, 12], atol=1e-9)
    np.testing.assert_allclose(geometry.x_tilt_deg, geometry.x_tilt_deg[0])
    height = [view.defocus_um for view in scope.truth.views if view.purpose.kind == "record"]
    np.testing.assert_allclose(truth.defocus.u_ang, 1e4 * np.array(height))
    np.testing.assert_array_equal(truth.pre_exposure, np.arange(3) * truth.scores["Dose"][0])


def test_movies_are_named_by_target_order_and_angle_and_add_up_to_the_picture(recorded: Recorded) -> None:
    _, images, folder = recorded
    names = sorted(path.name for path in (folder / "frames").iterdir())
    assert names == ["P7_000_0.0.tif", "P7_001_0.0.tif", "P7_002_12.0.tif"]
    frames = tifffile.imread(folder / "frames" / names[2])
    assert frames.shape == (2, *images[2].shape)
    # row 0 of a TIFF is its top
    np.testing.assert_array_equal(frames.sum(axis=0)[::-1], images[2])


def test_other_pictures_stay_small_and_a_target_never_exposed_has_no_truth(recorded: Recorded) -> None:
    scope, images, folder = recorded
    assert scope.full is not None
    before = len(list((folder / "frames").iterdir()))
    picture = scope.expose(TRACK, Purpose(kind="track", target=-1, tilt=3))
    assert isinstance(picture.content, Pixels)
    assert picture.files == ()
    assert picture.content.image.shape != images[0].shape
    assert len(list((folder / "frames").iterdir())) == before
    with pytest.raises(InputError, match="was not exposed"):
        scope.full.true_series(1)
