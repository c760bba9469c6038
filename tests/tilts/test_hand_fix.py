"""Both causes of a positive hand, from the images to the hand of the map."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.blobs import blob_images, blob_volume

from lamella.errors import GeometryError, InputError
from lamella.formats.frame_turn import turn_image
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, ArrayVolume, Defocus, TiltSeries
from lamella.tilts.hand_fix import fix_hand, mirror_image, weigh_causes
from lamella.tomograms import plan_tomogram, reconstruct
from lamella.tomograms.reconstruct_settings import ReconstructSettings

PIXEL, SIGMA = 8.0, 16.0
TILTS = np.linspace(-60, 60, 31)
# ten blobs that no turn and no mirror brings to themselves
POINTS = np.random.default_rng(6).uniform(-1, 1, (10, 3)) * (260, 260, 120)
MASS = np.linspace(0.6, 1.4, 10)
SIGNS = [np.array([a, b, c]) for a in (1, -1) for b in (1, -1) for c in (1, -1)]
PROPER = [signs for signs in SIGNS if signs.prod() > 0]


def true_geometry(axis=25.0):
    wobble = np.sin(np.arange(len(TILTS)))
    return TiltGeometry.from_angles(
        TILTS, axis, x_tilt_deg=4.0, x_shift_ang=60 + 20 * wobble, y_shift_ang=-30 + 25 * wobble[::-1]
    )


def a_record(geometry, shape, hand, **changes):
    n = len(geometry)
    values = {
        "name": "ts",
        "pixel_size_ang": PIXEL,
        "image_shape_px": shape,
        "nominal_tilt_deg": geometry.y_tilt_deg,
        "nominal_axis_deg": geometry.z_rot_deg,
        "geometry": geometry,
        "hand": hand,
        "defocus": Defocus(u_ang=np.linspace(3e4, 4e4, n), v_ang=np.linspace(2.9e4, 3.9e4, n), angle_deg=np.arange(n)),
        "quality": {"CtfMeasuredHand": float(hand), "AlignAxisDeg": 3.0},
    }
    return TiltSeries(**(values | changes))


def agreement(series, images):
    """Correlation of the map with the truth, turned or mirrored by each sign of (x, y, z)."""
    settings = ReconstructSettings(pixel_size=PIXEL, thickness=400, halves="off")
    tomogram = plan_tomogram(series, settings)
    x, y, z = tomogram.size_px
    volume = np.zeros((z, y, x), np.float32)
    reconstruct(series, ArrayImages(images), tomogram, settings, ArrayVolume(volume))
    return {
        tuple(signs.tolist()): np.corrcoef(
            volume.ravel(), blob_volume(volume.shape, PIXEL, POINTS * signs, SIGMA, MASS).ravel()
        )[0, 1]
        for signs in SIGNS
    }


def assert_right_handed(found, signs=(1, 1, 1)):
    assert max(found, key=found.get) == signs
    assert np.prod(signs) > 0
    assert found[signs] > 0.7
    assert max(value for key, value in found.items() if np.prod(key) < 0) < 0.35


def assert_same_geometry(one, other):
    for term in ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "x_shift_ang", "y_shift_ang", "magnification"):
        turned = (getattr(one, term) - getattr(other, term) + 180) % 360 - 180
        np.testing.assert_allclose(turned if "deg" in term else getattr(one, term) - getattr(other, term), 0, atol=1e-9)


def test_an_axis_of_the_wrong_sense():
    truth, shape = true_geometry(), (96, 100)
    images = blob_images(truth, shape, PIXEL, POINTS, SIGMA, MASS)
    wrong = a_record(truth.with_terms(z_rot_deg=truth.z_rot_deg - 180), shape, 1)
    before = agreement(wrong, images)
    assert max(before, key=before.get) == (-1, -1, -1)  # a mirror image, and sharp
    fixed = fix_hand(wrong, "axis")
    assert fixed.hand == -1
    assert_same_geometry(fixed.geometry, truth)
    assert_right_handed(agreement(fixed, images))
    np.testing.assert_allclose(fixed.nominal_axis_deg - wrong.nominal_axis_deg, 180)
    assert (np.abs(fixed.geometry.z_rot_deg - fixed.nominal_axis_deg) < 90).all()  # a later align keeps the sense
    assert fixed.quality["CtfMeasuredHand"] == -1
    assert fixed.quality["AlignAxisDeg"] == 183
    for point in POINTS:
        np.testing.assert_allclose(fixed.defocus_at(-point), wrong.defocus_at(point))


def test_tilts_of_the_wrong_sign():
    """Alignment with −θ solves a specimen mirrored in z; the fix leaves the true one, turned by 180° about z."""
    truth, shape = true_geometry(), (96, 96)
    images = blob_images(truth, shape, PIXEL, POINTS, SIGMA, MASS)
    found = truth.with_terms(y_tilt_deg=-truth.y_tilt_deg, x_tilt_deg=-truth.x_tilt_deg)
    np.testing.assert_allclose(found.project(POINTS * (1, 1, -1)), truth.project(POINTS), atol=1e-9)
    wrong = a_record(found, shape, 1)
    before = agreement(wrong, images)
    assert max(before, key=before.get) == (1, 1, -1)
    fixed = fix_hand(wrong, "axis")
    assert_right_handed(agreement(fixed, images), (-1, -1, 1))
    depths = truth.depth_ang(POINTS), fixed.geometry.depth_ang(POINTS * (-1, -1, 1))
    np.testing.assert_allclose(-1 * depths[0], fixed.hand * depths[1], atol=1e-9)  # the microscope's own defocus


@pytest.mark.parametrize("shape", [(96, 100), (95, 97)])
def test_mirrored_images(shape):
    truth = true_geometry()
    images = blob_images(truth, shape, PIXEL, POINTS, SIGMA, MASS)
    mirrored = np.stack([mirror_image(image) for image in images])
    found = truth.with_terms(z_rot_deg=-truth.z_rot_deg, x_tilt_deg=-truth.x_tilt_deg, x_shift_ang=-truth.x_shift_ang)
    seen = blob_images(found, shape, PIXEL, POINTS * (-1, 1, -1), SIGMA, MASS)
    np.testing.assert_allclose(mirrored[..., 1:], seen[..., 1:], atol=1e-6)  # the centre pixel is still the centre
    wrong = a_record(found, shape, 1, images=tuple(f"{n + 1:06d}@ts.mrc" for n in range(len(found))), frame_turn=1)
    out = np.zeros_like(mirrored)
    fixed = fix_hand(wrong, "mirror", ArrayImages(mirrored), lambda view, image: out.__setitem__(view, image))
    np.testing.assert_array_equal(out[..., 1:], images[..., 1:])
    assert fixed.hand == -1
    assert fixed.images is None
    assert_same_geometry(fixed.geometry, truth)
    np.testing.assert_allclose(fixed.nominal_axis_deg, truth.z_rot_deg)
    assert_right_handed(agreement(fixed, out))
    for point in POINTS:
        np.testing.assert_allclose(fixed.defocus_at(point * (-1, 1, -1)), wrong.defocus_at(point))
    np.testing.assert_allclose((fixed.defocus.angle_deg + wrong.defocus.angle_deg) % 180, 0)


def test_the_images_of_halves_are_mirrored_alike(rng):
    geometry = true_geometry().select([0, 15, 30])
    stacks = [rng.normal(size=(3, 9, 8)).astype(np.float32) for _ in range(3)]
    names = dict.fromkeys(("images", "even_images", "odd_images"), ("a.mrc", "b.mrc", "c.mrc"))
    series = a_record(geometry, (9, 8), 1, **names)
    outs = [np.zeros_like(stack) for stack in stacks]
    sources, sinks = [ArrayImages(stack) for stack in stacks], [out.__setitem__ for out in outs]
    fixed = fix_hand(
        series, "mirror", sources[0], sinks[0], even=sources[1], write_even=sinks[1], odd=sources[2], write_odd=sinks[2]
    )
    for stack, out in zip(stacks, outs, strict=True):
        np.testing.assert_array_equal(out[:, :, 4], stack[:, :, 4])
        np.testing.assert_array_equal(out[:, :, 3], stack[:, :, 5])
        np.testing.assert_array_equal(out[:, :, 0], stack[:, :, 0])
    assert (fixed.images, fixed.even_images, fixed.odd_images) == (None, None, None)
    with pytest.raises(InputError, match="are missing"):
        fix_hand(series, "mirror", sources[0], sinks[0])
    with pytest.raises(InputError, match="images of shape"):
        fix_hand(series, "mirror", ArrayImages(stacks[0][:2]), sinks[0], even=sources[1], write_even=sinks[1])


@pytest.mark.parametrize("turn", range(8))
def test_frames_get_the_mirroring_too(rng, turn):
    geometry = true_geometry().select([0])
    frame = rng.normal(size=(5, 7)).astype(np.float32)
    image = np.ascontiguousarray(turn_image(frame, turn))
    series = a_record(geometry, image.shape, 1, movies=("a.tif",), frame_turn=turn, metadata=("a.star",))
    out = np.zeros((1, *image.shape), np.float32)
    fixed = fix_hand(series, "mirror", ArrayImages(image[None]), out.__setitem__)
    np.testing.assert_array_equal(turn_image(frame, fixed.frame_turn), out[0])
    assert fixed.metadata is None


def test_oriented_particles_refuse_the_axis():
    series = a_record(true_geometry(), (8, 8), 1)
    with pytest.raises(GeometryError, match="pick them again"):
        fix_hand(series, "axis", matrices=np.eye(3))
    with pytest.raises(InputError, match="not aligned"):
        fix_hand(series.with_changes(geometry=None), "axis")


def weighed(found, stated, **changes):
    n = len(TILTS)
    geometry = TiltGeometry.from_angles(TILTS, found)
    return weigh_causes(a_record(geometry, (8, 8), 1, nominal_axis_deg=np.full(n, stated), **changes))


def test_the_causes_are_weighed():
    both = weighed(85.0, 85.0)
    assert "--fix axis" in both
    assert "--fix mirror" in both
    assert both.endswith("does not tell the two apart")  # 85° and its mirror image, 95°, are near
    assert "mirrored images are the likelier" in weighed(-12.0, 11.0)
    assert "12.0°, is the mirror image of the stated one, 11.0°" in weighed(-12.0, 11.0)
    assert "the sign of the tilts is the likelier" in weighed(12.0, 11.0)
    opposite = weighed(12.0 - 180, 11.0, quality={"RotationAndFlip": 5.0}, movies=("a.eer",) * len(TILTS))
    assert "-168.0°, runs against the stated one, 11.0°" in opposite
    assert "the sign of the tilts is the likelier" in opposite
    frames = {"movies": ("a.eer",) * len(TILTS), "quality": {"RotationAndFlip": 5.0}}
    assert "RotationAndFlip 5 mirrors the camera's pictures" in weighed(85.0, 85.0, **frames)
    assert "mirrored images are the likelier" in weighed(85.0, 85.0, **frames)
    assert "does not tell" in weighed(12.0, 11.0, **frames)  # one speaks for it, one against
    assert "the likelier" not in weighed(85.0, 85.0, quality={"RotationAndFlip": 5.0})  # a stack is as it should be
    assert "mirrors nothing" in weighed(85.0, 85.0, quality={"RotationAndFlip": 3.0})
    assert "what their titles ask for" in weighed(85.0, 85.0, frame_turn=5, **frames)
