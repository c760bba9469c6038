"""Specimens: everything in its place, nothing inside another, the same for the same seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial import cKDTree

from lamella.errors import FormatError, SettingsError
from lamella.formats.mrc import write_mrc
from lamella.geometry import rotation_x, rotation_y, rotation_z
from lamella.simulate.gaussians import render_volume
from lamella.simulate.globs import globs_cloud
from lamella.simulate.matter import two_lobed_particle
from lamella.simulate.packaged import read_packaged
from lamella.simulate.specimen import Bodies, Specimen, build_specimen
from lamella.simulate.specimen_settings import SpecimenSettings

SMALL = SpecimenSettings(
    width=160, height=120, pixel_size=12.0, thickness=1200.0, particles=12, vesicles=1, beads=6, tilt_range=45.0
)
EMPTY = SMALL.model_copy(update={"particles": 0, "vesicles": 0, "beads": 0})


def changed(settings: SpecimenSettings = EMPTY, **changes: object) -> SpecimenSettings:
    return SpecimenSettings.model_validate(settings.model_dump() | changes)


def of_kind(specimen: Specimen, name: str) -> Bodies:
    number = [template.name for template in specimen.templates].index(name)
    return specimen.bodies.select(specimen.bodies.template == number)


def matter(bodies: Bodies, name: str) -> np.ndarray:
    """``(bodies, points, 3)`` where the globs of bodies of one packaged model are."""
    points = read_packaged(name).steps[::11] * 0.02
    return np.einsum("nij,mj->nmi", bodies.rotations(), points) + bodies.places_ang[:, None]


def test_nothing_overlaps_and_everything_is_inside_the_ice() -> None:
    specimen = build_specimen(changed(SMALL, particles=40))
    ribosomes = matter(of_kind(specimen, "ribosome"), "ribosome")
    assert np.abs(ribosomes[..., 2]).max() < SMALL.thickness / 2 + 12
    trees = [cKDTree(body) for body in ribosomes]
    centres = cKDTree(of_kind(specimen, "ribosome").places_ang)
    pairs = centres.query_pairs(330.0)
    assert pairs
    assert all(trees[a].count_neighbors(trees[b], 6.0) == 0 for a, b in pairs)
    for bead in specimen.beads_ang:
        assert np.linalg.norm(ribosomes - bead, axis=-1).min() > SMALL.bead_diameter / 2
    for centre, radius in zip(specimen.vesicles_ang, specimen.vesicle_radii_ang, strict=True):
        assert np.abs(np.linalg.norm(ribosomes - centre, axis=-1) - radius).min() > 25  # beside the bilayer
        assert abs(centre[2]) + radius < SMALL.thickness / 2


def test_as_many_as_asked_for_in_view_and_as_dense_around() -> None:
    specimen = build_specimen(SMALL)
    assert len(specimen.particles_in_view()) == 12
    assert len(specimen.particles()) == (of_kind(specimen, "ribosome").template).size
    assert specimen.field_ang == (120 * 12.0, 160 * 12.0, 1200.0)  # the axis at 86.7° turns width into y
    half = np.array(specimen.field_ang[:2]) / 2
    for places, wanted in ((specimen.particles().places_ang, 12), (specimen.beads_ang, 6)):
        in_view = (np.abs(places[:, :2]) <= half).all(axis=1)
        assert in_view.sum() == wanted
        assert (~in_view).sum() > 0.8 * wanted
    reached = np.abs(specimen.particles().places_ang[:, 0]).max()
    assert reached > 0.8 * half[0] / np.cos(np.deg2rad(45))  # what tilted views see at their edges


def test_a_second_axis_sees_more_of_the_other_side() -> None:
    once = build_specimen(changed(SMALL, particles=60))
    twice = build_specimen(changed(SMALL, particles=60, dual_axis=True))
    reach = [np.abs(made.bodies.places_ang[:, 1]).max() for made in (once, twice)]
    assert reach[1] > 1.3 * reach[0]


def test_a_concentration_decides_the_number() -> None:
    specimen = build_specimen(changed(concentration=1.0))
    volume_litre = 120 * 12.0 * 160 * 12.0 * 1200.0 * 1e-27
    assert len(specimen.particles_in_view()) == pytest.approx(1e-6 * volume_litre * 6.02214e23, abs=0.6)


def fingerprint(specimen: Specimen) -> str:
    digest = hashlib.sha256()
    bodies, cloud = specimen.bodies, specimen.cloud
    for array in (bodies.places_ang, bodies.angles_deg, bodies.template, cloud.places_ang, cloud.weights):
        digest.update(np.ascontiguousarray(array).tobytes())
    for template in specimen.templates:
        digest.update(template.volume.tobytes())
    return digest.hexdigest()


def test_the_seed_and_the_series_decide() -> None:
    settings = changed(
        SMALL, membrane_proteins=2000.0, sheets=1, microtubules=1, actin=1, contamination=1, small_particles=10
    )
    assert fingerprint(build_specimen(settings)) == fingerprint(build_specimen(settings))
    others = [build_specimen(changed(settings, seed=2)), build_specimen(settings, 1)]
    assert len({fingerprint(made) for made in (build_specimen(settings), *others)}) == 3


def test_orientations_are_spread_evenly() -> None:
    specimen = build_specimen(changed(width=700, height=700, thickness=3000.0, particles=400, tilt_range=0.0))
    for axis in range(3):
        lines = specimen.particles().rotations()[:, :, axis]
        assert len(lines) >= 400
        np.testing.assert_allclose(lines.mean(axis=0), 0, atol=0.12)
        np.testing.assert_allclose((lines[:, :, None] * lines[:, None]).mean(axis=0), np.eye(3) / 3, atol=0.08)


def test_beads_lie_on_the_surfaces_that_they_are_asked_on() -> None:
    settings = changed(width=300, height=300, beads=60, bend=150.0, thickness=900.0, tilt_range=0.0)
    for surfaces in ("both", "top", "bottom", "inside"):
        specimen = build_specimen(changed(settings, bead_surfaces=surfaces))
        height = specimen.beads_ang[:, 2] - specimen.midplane_z_at(specimen.beads_ang[:, :2])
        if surfaces == "inside":
            assert np.abs(height).max() < 450 - 50 + 12
            continue
        np.testing.assert_allclose(np.abs(height), 450.0, atol=1e-6)
        assert ((height > 0).mean() == pytest.approx(0.5, abs=0.2)) if surfaces == "both" else True
        assert {"both": 2, "top": 1, "bottom": 1}[surfaces] == len(set(np.sign(height)))
        distance, _ = cKDTree(specimen.beads_ang).query(specimen.beads_ang, k=2)
        assert distance[:, 1].min() > 100 - 12


def test_a_bent_slab_bends_what_it_holds() -> None:
    flat, bent = (build_specimen(changed(particles=30, thickness=500.0, bend=bend)) for bend in (0.0, 200.0))
    edge = np.array([bent.field_ang[0] / 2, 0.0])
    assert bent.midplane_z_at(edge) - bent.midplane_z_at(0 * edge) == pytest.approx(-200.0)
    assert bent.thickness_at(np.zeros((4, 5, 2))).shape == (4, 5)
    for made in (flat, bent):
        places = made.particles().places_ang
        assert np.abs(places[:, 2] - made.midplane_z_at(places[:, :2])).max() < 250


def test_membrane_proteins_stand_on_their_vesicles_and_displace_lipids() -> None:
    settings = changed(vesicles=2, thickness=1600.0, vesicle_radius_min=350.0, vesicle_radius_max=450.0)
    specimen = build_specimen(changed(settings, membrane_proteins=4000.0))
    channels = of_kind(specimen, "channel")
    assert len(channels) > 20
    offset = channels.places_ang[:, None] - specimen.vesicles_ang
    radial = np.linalg.norm(offset, axis=2)
    nearest = np.abs(radial - specimen.vesicle_radii_ang).argmin(axis=1)
    row = np.arange(len(channels))
    np.testing.assert_allclose(radial[row, nearest], specimen.vesicle_radii_ang[nearest], atol=1e-6)
    normals = offset[row, nearest] / radial[row, nearest][:, None]
    np.testing.assert_allclose(channels.rotations()[:, :, 2], normals, atol=1e-6)  # z of the model is outwards
    bare = build_specimen(settings)
    assert 0.7 * len(bare.cloud) < len(specimen.cloud) < len(bare.cloud)
    area = (4 * np.pi * specimen.vesicle_radii_ang**2).sum() / 1e8
    assert len(channels) / area == pytest.approx(4000, rel=0.3)
    trees = [cKDTree(body) for body in matter(channels, "channel")]
    pairs = cKDTree(channels.places_ang).query_pairs(200.0)
    assert all(trees[a].count_neighbors(trees[b], 4.0) == 0 for a, b in pairs)


def test_virions_carry_spikes_outside_and_capsomers_inside() -> None:
    specimen = build_specimen(changed(virions=1, thickness=1700.0, tilt_range=0.0, shift=0.0))
    centre, radius = specimen.vesicles_ang[0], specimen.vesicle_radii_ang[0]
    spikes, capsomers = of_kind(specimen, "spike"), of_kind(specimen, "capsomer")
    for bodies, distance in ((spikes, radius), (capsomers, radius - 85.0)):
        offset = bodies.places_ang - centre
        near = np.linalg.norm(offset, axis=1) < 1.2 * radius
        np.testing.assert_allclose(np.linalg.norm(offset[near], axis=1), distance, rtol=1e-6)
        outwards = offset[near] / np.linalg.norm(offset[near], axis=1)[:, None]
        np.testing.assert_allclose(bodies.rotations()[near][:, :, 2], outwards, atol=1e-6)
    assert len(capsomers) > 5 * len(spikes) > 0
    assert cKDTree(capsomers.places_ang).query(capsomers.places_ang, k=2)[0][:, 1].min() > 55.0


def test_films_cover_what_they_are_asked_to() -> None:
    for film, low, high in (("edge", 0.08, 0.35), ("corner", 0.01, 0.2)):
        specimen = build_specimen(changed(film=film, film_material="gold"))
        assert specimen.film is not None
        half = np.array(specimen.field_ang[:2]) / 2
        grid = np.stack(np.meshgrid(*(np.linspace(-h, h, 200) for h in half), indexing="ij"), axis=-1)
        coverage = specimen.film.coverage(grid)
        assert coverage.min() == 0
        assert coverage.max() == 1
        assert low < coverage.mean() < high
        texture = specimen.film.texture(grid)
        assert texture.mean() == pytest.approx(specimen.film.material.potential_v, rel=0.02)
        assert 0 < texture.std() < 0.1 * texture.mean()
    assert build_specimen(EMPTY).film is None


def test_the_volume_is_the_sum_of_what_is_where() -> None:
    settings = changed(particles=1, beads=1, vesicles=1, complexes=["groel"], tilt_range=0.0, shift=0.0)
    specimen = build_specimen(settings)
    bodies = of_kind(specimen, "groel")
    painted = specimen.volume(10.0, (130, 220, 180))
    cloud = globs_cloud(read_packaged("groel"), b_factor_ang2=settings.b_factor)
    cloud = cloud.moved(bodies.rotations()[0], bodies.places_ang[0])
    expected = render_volume(cloud.widened(8.0), 10.0, (130, 220, 180))
    x, y, z = np.rint(bodies.places_ang[0] / 10).astype(int) + np.array([90, 110, 65])
    box = np.s_[max(0, z - 10) : z + 10, y - 10 : y + 10, x - 10 : x + 10]
    assert np.corrcoef(painted[box].ravel(), expected[box].ravel())[0, 1] > 0.93
    x, y, z = np.rint(specimen.beads_ang[0] / 10).astype(int) + np.array([90, 110, 65])
    around = painted[z - 9 : z + 10, y - 9 : y + 10, x - 9 : x + 10]
    assert around.sum() * 1000 == pytest.approx(25.0 * np.pi / 6 * 100**3, rel=0.05)


def test_a_full_slab_is_refused_in_words() -> None:
    with pytest.raises(SettingsError, match=r"no room for another particle .* ask for fewer"):
        build_specimen(changed(particles=3000))
    with pytest.raises(SettingsError, match="no room for another vesicle"):
        build_specimen(changed(thickness=70.0, vesicles=1))
    with pytest.raises(SettingsError, match="no room for another microtubule"):
        build_specimen(changed(thickness=200.0, microtubules=1))


def test_models_of_the_user_take_the_place_of_the_packaged(tmp_path) -> None:
    write_mrc(tmp_path / "lobes.mrc", render_volume(two_lobed_particle(), 12.0, (36, 36, 36)), 12.0)
    specimen = build_specimen(changed(particles=8, models=(str(tmp_path / "lobes.mrc"),)))
    assert [template.name for template in specimen.templates] == ["lobes"]
    (tmp_path / "broken.pdb").write_text("no atoms here")
    with pytest.raises(FormatError, match=r"broken\.pdb"):
        build_specimen(changed(particles=8, models=(str(tmp_path / "broken.pdb"),)))
    with pytest.raises(SettingsError, match="no packaged model 'virus'"):
        build_specimen(changed(particles=1, complexes=("virus",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"vesicle_radius_min": 600.0},
        {"bead_diameter": 900.0, "thickness": 500.0},
        {"width": 8},
        {"complexes": ()},
        {"bead_surfaces": "left"},
        {"film": "everywhere"},
        {"thickness": 0.0},
        {"partcles": 3},
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SpecimenSettings.model_validate(changes)


def test_size_is_both_sides_unless_one_is_given() -> None:
    assert SpecimenSettings(size=300).image_shape_px == (300, 300)
    assert SpecimenSettings(size=300, width=400).image_shape_px == (300, 400)


def test_the_made_up_particle_has_no_symmetry() -> None:
    particle = two_lobed_particle()
    assert np.linalg.norm(np.average(particle.places_ang, axis=0, weights=particle.weights)) < 1e-9
    volume = render_volume(particle, 8.0, (48, 48, 48))
    turns = [rotation(180.0) for rotation in (rotation_x, rotation_y, rotation_z)]
    mirrors = [np.diag(signs) for signs in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1))]
    for change in turns + mirrors:
        moved = render_volume(particle.moved(change, np.zeros(3)), 8.0, (48, 48, 48))
        assert np.corrcoef(volume.ravel(), moved.ravel())[0, 1] < 0.93
