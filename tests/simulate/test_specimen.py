"""Specimens: everything in its place, nothing inside another, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lamella.errors import ImageError, SettingsError
from lamella.formats.mrc import write_mrc
from lamella.geometry import rotation_x, rotation_y, rotation_z
from lamella.simulate import SimulateSettings, build_specimen, render_volume
from lamella.simulate.matter import bilayer_sphere, gold_bead, particle_from_map, two_lobed_particle

SMALL = SimulateSettings(
    width=160, height=120, pixel_size=12.0, thickness=1200.0, particles=12, vesicles=1, beads=3, tilt_range=45.0
)


def test_nothing_overlaps_and_everything_is_inside_the_ice() -> None:
    specimen = build_specimen(SMALL)
    reach = np.linalg.norm(specimen.models[0].places_ang, axis=1).max()
    balls = [(place, reach) for place in specimen.particles.places_ang]
    balls += [(place, SMALL.bead_diameter / 2) for place in specimen.beads_ang]
    for (a, radius_a), (b, radius_b) in itertools.combinations(balls, 2):
        assert np.linalg.norm(a - b) > radius_a + radius_b
    for centre, radius in zip(specimen.vesicles_ang, specimen.vesicle_radii_ang, strict=True):
        for place, reach_of in balls:
            assert abs(np.linalg.norm(place - centre) - radius) > reach_of + 20  # beside the bilayer, in or out
    assert (np.abs(specimen.matter.places_ang[:, 2]) < SMALL.thickness / 2).all()
    assert (np.abs(specimen.gold.places_ang[:, 2]) < SMALL.thickness / 2).all()


def test_as_many_as_asked_for_in_view_and_as_dense_around() -> None:
    specimen = build_specimen(SMALL)
    assert len(specimen.particles_in_view()) == 12
    assert specimen.field_ang == (120 * 12.0, 160 * 12.0, 1200.0)  # the axis at 86.7° turns width into y
    half = np.array(specimen.field_ang) / 2
    in_view = (np.abs(specimen.particles.places_ang) <= half).all(axis=1)
    assert in_view.sum() == 12
    assert (~in_view).sum() > 10
    reached = np.abs(specimen.particles.places_ang[:, 0]).max()
    assert reached > 0.8 * half[0] / np.cos(np.deg2rad(45))  # what tilted views see at their edges


def test_the_seed_and_the_series_decide() -> None:
    first, again = build_specimen(SMALL), build_specimen(SMALL)
    np.testing.assert_array_equal(first.matter.places_ang, again.matter.places_ang)
    other_seed = build_specimen(SMALL.model_copy(update={"seed": 2}))
    other_series = build_specimen(SMALL, 1)
    for other in (other_seed, other_series):
        assert not np.allclose(other.particles.places_ang[:5], first.particles.places_ang[:5])


def test_orientations_are_spread_evenly() -> None:
    settings = SMALL.model_copy(
        update={"width": 700, "height": 700, "particles": 300, "vesicles": 0, "tilt_range": 0.0}
    )
    axes = build_specimen(settings).particles.rotations()[:, :, 2]
    assert len(axes) >= 300
    np.testing.assert_allclose(axes.mean(axis=0), 0, atol=0.12)
    np.testing.assert_allclose((axes[:, :, None] * axes[:, None]).mean(axis=0), np.eye(3) / 3, atol=0.08)


def test_a_full_slab_is_refused_in_words() -> None:
    with pytest.raises(SettingsError, match=r"no room for another particle .* ask for fewer"):
        build_specimen(SMALL.model_copy(update={"particles": 400}))
    with pytest.raises(SettingsError, match="no room for another vesicle"):
        build_specimen(SMALL.model_copy(update={"thickness": 70.0, "vesicles": 1, "beads": 0, "particles": 0}))


def test_the_particle_has_no_symmetry() -> None:
    particle = two_lobed_particle()
    assert np.linalg.norm(np.average(particle.places_ang, axis=0, weights=particle.weights)) < 1e-9
    size = 2 * np.linalg.norm(particle.places_ang, axis=1).max()
    assert 240 < size < 330
    volume = render_volume(particle, 8.0, (48, 48, 48))
    turns = [rotation(180.0) for rotation in (rotation_x, rotation_y, rotation_z)]
    mirrors = [np.diag(signs) for signs in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1))]
    for change in turns + mirrors:
        moved = render_volume(particle.moved(change, np.zeros(3)), 8.0, (48, 48, 48))
        assert np.corrcoef(volume.ravel(), moved.ravel())[0, 1] < 0.93


def test_a_bead_is_a_ball_of_its_volume_of_gold() -> None:
    bead = gold_bead(100.0)
    assert bead.weights.sum() == pytest.approx(25.0 * np.pi / 6 * 100**3)
    profile = render_volume(bead, 4.0, (48, 48, 48))
    z, y, x = np.indices(profile.shape) - 24
    radius = 4 * np.sqrt(x**2 + y**2 + z**2)
    assert profile[radius < 35].mean() == pytest.approx(25.0, rel=0.15)
    assert profile[radius > 75].max() < 0.05


def test_a_bilayer_has_two_leaflets() -> None:
    radial = np.linalg.norm(bilayer_sphere(300.0).places_ang, axis=1)
    assert set(np.round(radial, 6)) == {280.0, 320.0}


def test_particles_from_a_map_keep_its_centre_hand_and_shape(tmp_path) -> None:
    particle = two_lobed_particle()
    values = render_volume(particle, 4.0, (90, 90, 90))
    write_mrc(tmp_path / "map.mrc", values, 4.0)
    for pixel in (4.0, 8.0):
        again = particle_from_map(tmp_path / "map.mrc", pixel)
        centre = np.average(again.places_ang, axis=0, weights=again.weights)
        np.testing.assert_allclose(centre, 0, atol=0.7)
        first = render_volume(particle.widened(14.0), 8.0, (48, 48, 48))
        second = render_volume(again.widened(11.5), 8.0, (48, 48, 48))
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.99


def test_a_map_without_matter_or_scale_is_refused(tmp_path) -> None:
    write_mrc(tmp_path / "dark.mrc", -np.ones((8, 8, 8), np.float32), 4.0)
    with pytest.raises(ImageError, match="no positive matter"):
        particle_from_map(tmp_path / "dark.mrc", 4.0)
