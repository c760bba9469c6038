"""Raw data of `lamella simulate` against its truth, both read without the library; and through `lamella motion`."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas
import pytest
import starfile
import tifffile
from scipy.ndimage import uniform_filter
from tests.cli.simulated_truth import (
    axis_rotation,
    dark_spot,
    global_table,
    isolated,
    places,
    project,
    views,
)

from lamella.cli import main
from lamella.simulate.packaged import read_packaged

PIXEL = 10.0
BARE = {
    "pixel_size": PIXEL,
    "thickness": 900,
    "tilt_range": 40,
    "tilt_step": 40,
    "particles": 0,
    "vesicles": 0,
    "beads": 12,
    "bead_diameter": 120,
    "deformation": 0,
    "local_motion": 0,
    "doming": 0,
    "ice_noise": 0,
    "xrays": 0,
    "truth_binning": 0,
    "magnification_drift": 0.005,
    "width": 168,
    "height": 144,
}
NOTHING_ELSE = {
    "small_particles": 0,
    "membrane_proteins": 0,
    "sheets": 0,
    "microtubules": 0,
    "actin": 0,
    "contamination": 0,
    "virions": 0,
}
SHAPE = (144, 168)
RADIUS = 10.0


def simulate(folder: Path, preset: str, **changes: object) -> None:
    words = ["simulate", str(folder), "--preset", preset, "--seed", "4"]
    told = BARE | changes
    assert main(words + [word for name, value in told.items() for word in ("--set", f"{name}={value}")]) == 0


def errors_of_beads(images: np.ndarray, folder: Path, name: str = "TS_01") -> np.ndarray:
    """``(n, 2)`` px from where the truth has each bead to where the image of its view shows it."""
    beads, found = places(folder, "beads", name), []
    for image, (_, view) in zip(images, views(folder, name).iterrows(), strict=True):
        pixels = project(beads, view)[0] / PIXEL + (SHAPE[1] // 2, SHAPE[0] // 2)
        alone = pixels[isolated(pixels, SHAPE, RADIUS)]
        found += [dark_spot(image, near, RADIUS) - near for near in alone]
    assert len(found) >= 5
    return np.array(found)


def stack_by_tilt(folder: Path, name: str = "TS_01") -> np.ndarray:
    """Sections of a raw stack, which stand in the order of recording, by rising tilt."""
    stack = mrcfile.read(folder / f"raw/{name}.mrc").astype(float)
    return stack[[int(text.partition("@")[0]) - 1 for text in views(folder, name).rlnMicrographName]]


@pytest.mark.parametrize("preset", ["quick", "lamella", "virions"])
@pytest.mark.parametrize("ctf", ["true", "false"])
def test_beads_are_where_the_truth_projects_them(preset: str, ctf: str, tmp_path: Path) -> None:
    simulate(tmp_path, preset, frames=0, noise="false", ctf=ctf, **NOTHING_ELSE)
    errors = errors_of_beads(stack_by_tilt(tmp_path), tmp_path)
    assert np.abs(errors).max() < 0.1
    assert np.linalg.norm(errors.mean(axis=0)) < 0.04


def test_both_axes_show_the_specimen_as_it_was_mounted(tmp_path: Path) -> None:
    simulate(tmp_path, "dual", noise="false", ctf="false", bend=0)
    table = starfile.read(tmp_path / "truth/mounting.star").set_index("rlnTomoName")
    moved = table.loc["TS_01b"]
    shift = moved[[f"lamellaShift{axis}Angst" for axis in "XYZ"]].to_numpy(dtype=float)
    turned = places(tmp_path, "beads", "TS_01a") @ axis_rotation("z", moved.lamellaTurnZ).T + shift
    np.testing.assert_allclose(turned, places(tmp_path, "beads", "TS_01b"), atol=1e-5)
    for name in ("TS_01a", "TS_01b"):
        assert np.abs(errors_of_beads(stack_by_tilt(tmp_path, name), tmp_path, name)).max() < 0.1


def test_frames_show_the_motion_that_the_tables_state(tmp_path: Path) -> None:
    """A table's shifts are RELION's: what is added to bring the frame back."""
    simulate(
        tmp_path, "quick", frames=4, frame_format="mrc", noise="false", ctf="false", gain="false", hot_pixels=0,
        dead_pixels=0, motion_start=60, motion_drift=60, beads=16, bead_diameter=90,
    )  # fmt: skip
    beads, seen = places(tmp_path, "beads"), 0
    for _, view in views(tmp_path).iterrows():
        frames = mrcfile.read(tmp_path / view.rlnMicrographMovieName).astype(float)
        told = starfile.read(tmp_path / view.rlnMicrographMetadata, always_dict=True)["global_shift"]
        shifts = told[["rlnMicrographShiftX", "rlnMicrographShiftY"]].to_numpy(dtype=float)
        assert np.abs(shifts).max() > 1
        first = project(beads, view)[0] / PIXEL + (SHAPE[1] // 2, SHAPE[0] // 2)
        for near in first[isolated(first, SHAPE, RADIUS + 3)]:
            found = np.array([dark_spot(frame, near - s, RADIUS) for frame, s in zip(frames, shifts, strict=True)])
            np.testing.assert_allclose(found, near - shifts, atol=0.1)
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize("hand", [-1, 1])
def test_particles_are_where_and_as_the_truth_says(hand: int, tmp_path: Path) -> None:
    """Points of the model, turned and projected by the tables alone, against the image, and against its mirrors."""
    simulate(tmp_path, "quick", beads=0, particles=14, noise="false", ctf="false", damage="false", frames=0, hand=hand)
    assert global_table(tmp_path).loc["TS_01"].rlnTomoHand == hand
    table = starfile.read(tmp_path / "truth/particles.star")
    model = read_packaged("ribosome").steps * 0.02
    turns = [
        np.linalg.multi_dot([axis_rotation(axis, -angle) for axis, angle in zip("zyz", angles, strict=True)])
        for angles in table[["rlnAnglePsi", "rlnAngleTilt", "rlnAngleRot"]].to_numpy()
    ]
    centres = places(tmp_path, "particles")
    for image, (_, view) in zip(stack_by_tilt(tmp_path), views(tmp_path).iterrows(), strict=True):
        right = painted([model @ turn.T + centre for turn, centre in zip(turns, centres, strict=True)], view)
        mirrored = painted([-model @ turn.T + centre for turn, centre in zip(turns, centres, strict=True)], view)
        inside = right > 0
        score, other = (-np.corrcoef(image[inside], made[inside])[0, 1] for made in (right, mirrored))
        assert score > 0.93
        assert score > other + 0.1


def painted(bodies: list[np.ndarray], view: pandas.Series) -> np.ndarray:
    """How many points of the bodies each pixel holds, smoothed over about one."""
    out = np.zeros(SHAPE)
    for body in bodies:
        x, y = (project(body, view)[0] / PIXEL + (SHAPE[1] // 2, SHAPE[0] // 2)).T
        kept = (x > 1) & (y > 1) & (x < SHAPE[1] - 2) & (y < SHAPE[0] - 2)
        x, y = x[kept], y[kept]
        i, j = np.floor(x).astype(int), np.floor(y).astype(int)
        for column, part in ((i, 1 - (x - i)), (i + 1, x - i)):
            np.add.at(out, (j, column), part * (1 - (y - j)))
            np.add.at(out, (j + 1, column), part * (y - j))
    return out


@pytest.mark.parametrize("kind", ["tiff", "mrc", "eer"])
def test_sums_of_every_format_are_flat_and_of_the_right_hand(kind: str, tmp_path: Path) -> None:
    """From simulated frames and their gain to tilt images: beads where the truth has them, no trace of the gain."""
    camera = "falcon4" if kind == "eer" else "k3"
    simulate(
        tmp_path, "quick", frames=3, frame_format=kind, detector=camera, motion_start=0, motion_drift=0,
        motion_jitter=0, dose=2.5, dose_rate=40, ctf="false",
    )  # fmt: skip
    (gain,) = (tmp_path / "raw").glob("gain.*")
    assert gain.suffix == (".gain" if kind == "eer" else ".mrc")
    project_folder = tmp_path / "P"
    words = ["new", str(project_folder), "--mdoc", str(tmp_path / "raw/*.mdoc"), "--gain", str(gain)]
    assert main(words) == 0
    assert main(["motion", str(project_folder), "--model", "none"]) == 0
    images = mrcfile.read(project_folder / "motion/TS_01.mrcs").astype(float)
    assert images.shape == (3, *SHAPE)
    errors = errors_of_beads(images, tmp_path)
    assert np.abs(errors).max() < 1  # of counts that have their noise; a mirrored sum is off by many pixels
    assert np.linalg.norm(np.median(errors, axis=0)) < 0.15
    reference = gain_as_images_stand(gain)
    good = np.abs(reference - 1) < 0.4
    for image in images:
        flat = image / np.median(image)
        part = good & (np.abs(flat - 1) < 0.3)
        own, told = (values - uniform_filter(values, 5) for values in (flat, reference))  # pixel to pixel
        assert abs(np.corrcoef(own[part], told[part])[0, 1]) < 0.04
    even, odd = (mrcfile.read(project_folder / f"motion/TS_01_{half}.mrcs") for half in ("even", "odd"))
    np.testing.assert_allclose(even + odd, images, rtol=1e-4, atol=1e-3 * images.mean())


def gain_as_images_stand(path: Path) -> np.ndarray:
    if path.suffix == ".mrc":
        return mrcfile.read(path).reshape(SHAPE).astype(float)
    return tifffile.imread(path).reshape(SHAPE).astype(float)
