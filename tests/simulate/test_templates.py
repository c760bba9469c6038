"""Templates: sampled without alias, of even cubes, true to the maps and models they are made from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.simulate.gaussians import Gaussians, render_volume
from lamella.simulate.library import file_template, gold_template, ice_template, named_template
from lamella.simulate.matter import two_lobed_particle
from lamella.simulate.templates import Template, box_size, cloud_template, resampled


def test_samples_are_those_of_the_cloud_itself() -> None:
    particle = two_lobed_particle()
    template = cloud_template("two lobes", particle, 4.0)
    size = len(template.volume)
    reference = render_volume(particle, 4.0, (size,) * 3)
    assert np.abs(template.volume - reference).max() < 1e-4 * reference.max()
    assert template.radius_ang < size * 4.0 / 2


def test_nothing_beyond_nyquist_in_any_direction() -> None:
    narrow = Gaussians(np.array([[1.3, -2.2, 0.4]]), np.array([1e3]), np.array([0.5]))
    for template in (cloud_template("point", narrow, 3.0), gold_template(40.0, 3.0)):
        power = np.abs(np.fft.fftn(template.volume))
        k = np.fft.fftfreq(len(power))
        radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
        assert power[radius > 0.502].max() < 1e-5 * power.max()
        assert power[radius < 0.3].max() > 0.1 * power.max()


def test_a_point_off_the_grid_keeps_its_place_and_weight() -> None:
    place = np.array([1.37, -4.21, 2.9])
    template = cloud_template("point", Gaussians(place[None], np.array([500.0]), np.array([1.0])), 2.0)
    terms = np.fft.fftn(np.fft.ifftshift(template.volume.astype(float)))
    assert terms[0, 0, 0].real * 8 == pytest.approx(500.0, rel=1e-4)
    period = len(template.volume) * 2.0
    for axis, index in enumerate(((0, 0, 1), (0, 1, 0), (1, 0, 0))):
        assert -np.angle(terms[index]) / (2 * np.pi) * period == pytest.approx(place[axis], abs=1e-3)


def test_a_bead_is_a_ball_of_its_volume_of_gold() -> None:
    bead = gold_template(100.0, 4.0)
    assert bead.total_potential() == pytest.approx(25.0 * np.pi / 6 * 100**3, rel=1e-4)
    z, y, x = np.indices(bead.volume.shape) - len(bead.volume) // 2
    radius = 4 * np.sqrt(x**2 + y**2 + z**2)
    assert bead.volume[radius < 35].mean() == pytest.approx(25.0, rel=0.02)
    assert np.abs(bead.volume[radius > 65]).max() < 2.5
    assert bead.absorption > 0
    assert not bead.damaged
    assert not bead.particle


def test_resampling_keeps_the_centre_and_the_whole() -> None:
    template = cloud_template("two lobes", two_lobed_particle(), 4.0)
    coarse = resampled(template, 16.0, oversampling=2)
    assert coarse.voxel_size_ang == pytest.approx(8.0, rel=0.05)
    assert coarse.total_potential() == pytest.approx(template.total_potential(), rel=1e-4)
    centres = []
    for made in (template, coarse):
        z, y, x = (np.indices(made.volume.shape) - len(made.volume) // 2) * made.voxel_size_ang
        mass = made.volume.astype(float)
        centres.append([(mass * line).sum() / mass.sum() for line in (x, y, z)])
    np.testing.assert_allclose(centres[1], centres[0], atol=0.3)


@pytest.mark.parametrize("pixel", [3.1, 4.0, 8.0])
def test_a_map_keeps_its_centre_hand_and_shape(tmp_path, pixel: float) -> None:
    particle = two_lobed_particle()
    values = render_volume(particle, 4.0, (90, 91, 94))
    write_mrc(tmp_path / "map.mrc", values, 4.0)
    template = file_template(tmp_path / "map.mrc", pixel)
    assert template.name == "map"
    size = len(template.volume)
    expected = render_volume(particle, pixel, (size,) * 3)
    assert np.corrcoef(template.volume.ravel(), expected.ravel())[0, 1] > 0.995


def test_files_that_cannot_serve_are_refused(tmp_path) -> None:
    write_mrc(tmp_path / "dark.mrc", -np.ones((8, 8, 8), np.float32), 4.0)
    with pytest.raises(ImageError, match="no positive matter"):
        file_template(tmp_path / "dark.mrc", 4.0)
    (tmp_path / "text.mrc").write_text("not a model")
    with pytest.raises(FormatError):
        file_template(tmp_path / "text.mrc", 4.0)
    with pytest.raises(InputError, match="larger pixel size"):
        box_size(5000.0, 1.0)
    with pytest.raises(InputError, match="even cube"):
        Template(name="odd", volume=np.zeros((5, 5, 5), np.float32), voxel_size_ang=1.0, radius_ang=2.0)


def test_ice_crystals_are_of_ice_and_all_different() -> None:
    first, other = ice_template(150.0, 8.0, 1), ice_template(150.0, 8.0, 2)
    assert np.median(first.volume[first.volume > 2]) == pytest.approx(4.53, rel=0.02)
    assert np.corrcoef(first.volume.ravel(), other.volume.ravel())[0, 1] < 0.97
    assert not first.damaged


def test_a_structure_and_its_map_by_another_program_agree(shared_data) -> None:
    """Cav1.1 from its atoms against the map that the polnet project made of the same entry, after alignment."""
    reference, voxel = read_mrc(shared_data / "models" / "polnet_5gjv_10A.mrc")
    template = file_template(shared_data / "models" / "polnet_5gjv.pdb.gz", float(voxel), b_factor_ang2=20.0)
    assert aligned_correlation(template.volume, reference) > 0.99
    assert aligned_correlation(template.volume[:, :, ::-1], reference) < 0.9  # of one hand
    channel = named_template("channel", float(voxel), 20.0)
    assert aligned_correlation(channel.volume, reference) > 0.99


def aligned_correlation(volume, reference) -> float:
    """Best correlation over rotations (from the principal axes on) and shifts."""
    found = np.argwhere(volume > 0.1 * volume.max())[:, ::-1].astype(float)
    weights = volume[volume > 0.1 * volume.max()].astype(float)
    wanted = np.argwhere(reference > 0.05 * reference.max())[:, ::-1].astype(float)
    levels = reference[reference > 0.05 * reference.max()].astype(float)
    points = found - np.average(found, axis=0, weights=weights)
    middle = np.average(wanted, axis=0, weights=levels)
    centred = reference - reference.mean()

    def axes(places, mass):
        return np.linalg.eigh(np.einsum("n,ni,nj->ij", mass, places, places))[1]

    def correlation(turn, shift):
        cloud = Gaussians(points @ turn.T + shift, weights, np.array(0.75))
        made = render_volume(cloud, 1.0, reference.shape, (0.0, 0.0, 0.0))
        made = made - made.mean()
        return float((made * centred).sum() / np.sqrt((made**2).sum() * (centred**2).sum()))

    starts = []
    for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        turn = axes(wanted - middle, levels) * signs @ axes(points, weights).T
        if np.linalg.det(turn) < 0:
            turn = axes(wanted - middle, levels) * np.negative(signs) @ axes(points, weights).T
        starts.append((correlation(turn, middle), turn))
    turn = max(starts, key=lambda start: start[0])[1]
    result = minimize(
        lambda p: -correlation(Rotation.from_rotvec(p[:3] / 10).as_matrix() @ turn, middle + p[3:]),
        np.zeros(6),
        method="Powell",
        options={"maxiter": 4, "xtol": 0.02, "ftol": 1e-4},
    )
    return -float(result.fun)
