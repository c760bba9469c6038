import numpy as np
import pytest
import torch

from lamella.geometry import euler_matrix
from lamella.kernels.template_poses import pose_scores, pose_scores_reference, pose_slopes
from lamella.kernels.template_search import Band, keep_best, keep_best_torch, slice_pair, slice_pair_torch

SHAPE = (12, 20, 18)


def scene(rng, highest=0.4, reach=9):
    """A band, data of a real volume, and a cube of a real template."""
    band = Band.of(SHAPE, highest)
    half = np.fft.rfftn(rng.normal(size=SHAPE)).astype(np.complex64)
    data = half.reshape(-1)[band.flat()]
    size = 2 * reach + 3
    cube = rng.normal(size=(size,) * 3) + 1j * rng.normal(size=(size,) * 3)
    cube = (cube + cube[::-1, ::-1, ::-1].conj()).astype(np.complex64)
    matrices = euler_matrix([10, 200], [30, 80], [60, 10]) @ np.diag(reach / 0.4 / np.array(SHAPE[::-1]))
    return band, data, rng.random(len(band)).astype(np.float32), cube, matrices


def test_a_band_holds_the_terms_below_its_frequency_and_no_nyquist_term():
    band = Band.of(SHAPE, 0.45)
    z, y, x = np.fft.fftfreq(SHAPE[0]), np.fft.fftfreq(SHAPE[1]), np.fft.rfftfreq(SHAPE[2])
    length = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    expected = np.flatnonzero((length <= 0.45).ravel())
    np.testing.assert_array_equal(np.sort(band.flat()), expected)
    np.testing.assert_allclose(np.linalg.norm(band.frequencies(), axis=1), length.ravel()[band.flat()], atol=1e-12)
    assert len(Band.of(SHAPE, 0.9)) == (SHAPE[0] - 1) * (SHAPE[1] - 1) * (SHAPE[2] // 2)


def test_two_score_volumes_come_out_of_one_transform(rng):
    band, data, squares, cube, matrices = scene(rng)
    buffer = np.zeros(SHAPE, np.complex64)
    norms = slice_pair(cube, band, data, squares, matrices, buffer)
    found = np.fft.ifftn(buffer)
    terms, wanted = slice_pair_torch(
        torch.from_numpy(cube), torch.from_numpy(band.places()), torch.from_numpy(data), torch.from_numpy(squares),
        torch.from_numpy(band.multiplicity()), torch.from_numpy(matrices).float(),
    )  # fmt: skip
    np.testing.assert_allclose(norms, wanted, rtol=1e-4)
    for k, part in enumerate((found.real, found.imag)):
        half = np.zeros((SHAPE[0], SHAPE[1], SHAPE[2] // 2 + 1), np.complex64)
        half.reshape(-1)[band.flat()] = terms[k].numpy()
        np.testing.assert_allclose(
            part, np.fft.irfftn(half, s=SHAPE, axes=(0, 1, 2)), atol=1e-5 * np.abs(part).max() + 1e-6
        )


@pytest.mark.parametrize("keep", ["compiled", "torch"])
def test_the_best_score_and_its_number_are_kept(rng, keep):
    best, which = np.full(SHAPE, -np.inf, np.float32), np.zeros(SHAPE, np.int32)
    everything = []
    for number in (0, 2):
        pair = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)).astype(np.complex64)
        scales = np.array([1.0, 2.0])
        if keep == "compiled":
            keep_best(pair, scales, number, best, which)
        else:
            keep_best_torch(
                torch.from_numpy(pair), torch.from_numpy(scales).float(), number, torch.from_numpy(best),
                torch.from_numpy(which),
            )  # fmt: skip
        everything += [pair.real, 2 * pair.imag]
    np.testing.assert_array_equal(which, np.argmax(everything, axis=0))
    np.testing.assert_allclose(best, np.max(everything, axis=0), rtol=1e-6)


def test_scores_at_one_place_are_those_of_the_reference_and_slopes_their_derivatives(rng):
    band, data, squares, cube, matrices = scene(rng)
    places = band.places().astype(np.float32)
    twice = band.multiplicity()
    sums = pose_scores(cube, places, data * twice, squares * twice, matrices)
    np.testing.assert_allclose(
        sums, pose_scores_reference(cube, places, data * twice, squares * twice, matrices), rtol=2e-3, atol=1e-2
    )
    per_px = (2 * np.pi / np.array(SHAPE[::-1])).astype(np.float32)
    first, second = pose_slopes(cube, places, data * twice, matrices[0], per_px)

    def moved(step):
        phase = np.exp(1j * (places * per_px) @ step)
        return pose_scores_reference(cube, places, data * twice * phase, squares, matrices[:1])[0, 0]

    h = 1e-2
    for axis in range(3):
        step = np.eye(3)[axis] * h
        scale = np.abs(second).max()
        assert first[axis] == pytest.approx((moved(step) - moved(-step)) / (2 * h), abs=2e-3 * scale)
        curvature = (moved(step) + moved(-step) - 2 * moved(0 * step)) / h**2
        assert second[axis, axis] == pytest.approx(curvature, abs=2e-3 * scale)
