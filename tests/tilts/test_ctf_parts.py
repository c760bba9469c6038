"""Parts of the estimate of the contrast transfer: rings, tiles, search, shrinking, profile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tilts.ctf_scene import Scene, make

from lamella.geometry import TiltGeometry
from lamella.optics import phase_aberration
from lamella.records import Optics
from lamella.tilts.ctf_background import spline_basis
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_rings import Rings, hann, overlap_factor
from lamella.tilts.ctf_search import search
from lamella.tilts.ctf_shrink import shrink
from lamella.tilts.ctf_tiles import TilePlan, look_at_view, view_spectra

PLAN = TilePlan(edge_ang=1024.0, frequency_per_ang=(1 / 60, 0.12), turn_per_square=2 * np.pi * 0.0197 * 1e5)


def test_every_term_of_the_half_plane_falls_into_one_bin() -> None:
    rings = Rings.of((64, 48), (4.0, 4.0), (0.02, 0.12), turn_per_square=1000.0)
    ky, kx = np.fft.fftfreq(64)[:, None] / 4, np.fft.fftfreq(48)[None] / 4
    square = ky**2 + kx**2
    both = (square >= 0.02**2) & (square < 0.12**2)
    assert rings.terms.sum() == both.sum() / 2
    filled = rings.terms > 0
    assert (rings.square[filled] >= 0.02**2).all()
    np.testing.assert_allclose((rings.cos2**2 + rings.sin2**2)[rings.terms == 1], 1)


def test_merged_bins_hold_what_their_parts_held() -> None:
    rings = Rings.of((64, 64), (4.0, 4.0), (0.02, 0.12), turn_per_square=1000.0)
    merged = rings.merged(4)
    assert merged.terms.sum() == rings.terms[:, : merged.terms.shape[1] * 4].sum()
    assert merged.edges[1] == rings.edges[4]
    total = (rings.terms * rings.square)[:, : merged.terms.shape[1] * 4].sum()
    assert (merged.terms * merged.square).sum() == pytest.approx(total)


@pytest.mark.parametrize(("size", "step"), [(120, 40), (120, 60), (96, 24)])
def test_overlapping_tiles_count_as_the_scatter_of_white_noise_says(size: int, step: int) -> None:
    rng = np.random.default_rng(1)
    window = hann(size)
    length = 8 * step + size
    powers = []
    for _ in range(400):
        line = rng.normal(size=length)
        tiles = np.stack([line[start : start + size] * window for start in range(0, 8 * step + 1, step)])
        powers.append((np.abs(np.fft.rfft(tiles, axis=1)[:, 10:-10]) ** 2).mean(axis=0))
    scatter = np.var(powers, axis=0).mean() / np.mean(powers) ** 2
    independent = 9 / np.sqrt(overlap_factor(size, step))
    assert 1 / scatter == pytest.approx(independent, rel=0.3)  # nine tiles in a row, ends included


def test_the_lens_has_the_phase_of_the_optics_room() -> None:
    lens = Lens.of(Optics(voltage_kv=200.0, spherical_aberration_mm=1.4, amplitude_contrast=0.07))
    k = np.linspace(0.01, 0.3, 7)
    import torch

    chi = phase_aberration(
        torch.zeros(7, dtype=torch.float64), torch.from_numpy(k), defocus_u_ang=21000, defocus_v_ang=21000, angle_deg=0,
        voltage_kv=200, spherical_aberration_mm=1.4,
    ).numpy()  # fmt: skip
    np.testing.assert_allclose(lens.turn(k**2) * 21000 + lens.rest(k**2), 2 * chi, rtol=1e-12)


def test_splines_add_up_to_one() -> None:
    k = np.linspace(0.02, 0.2, 50)
    np.testing.assert_allclose(spline_basis(k, (0.02, 0.2), 0.03).sum(axis=1), 1)


def test_tiles_of_a_class_have_one_depth_and_noise_of_one() -> None:
    rng = np.random.default_rng(3)
    geometry = TiltGeometry.from_angles([50.0], 20.0, x_shift_ang=100.0)
    looked = look_at_view(rng.normal(5, 2, (512, 512)).astype(np.float32), 4.0, PLAN)
    assert looked is not None
    spectra = view_spectra(looked, geometry, PLAN)
    assert spectra is not None
    q = geometry.project(spectra.points_ang)[0]
    across = q @ [np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))]
    np.testing.assert_allclose(spectra.points_ang[:, 2], 0, atol=1e-9)
    slope = np.polyfit(across, spectra.depth_ang, 1)[0]
    assert slope == pytest.approx(-np.tan(np.deg2rad(50)), rel=1e-6)
    finest = spectra.whole()[:, -40:]
    assert np.average(finest, weights=spectra.rings.terms[:, -40:]) == pytest.approx(1, abs=0.02)


def test_beads_and_what_is_constant_do_not_count() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(100, 10, (512, 512)).astype(np.float32)
    y, x = np.ogrid[:512, :512]
    image[(y - 200) ** 2 + (x - 300) ** 2 < 15**2] -= 60
    looked = look_at_view(image, 4.0, PLAN)
    assert looked is not None
    assert looked.weight is not None
    assert looked.weight[200, 300] == 0
    assert looked.weight[50, 50] == 1
    assert look_at_view(np.full((64, 64), 3, np.float32), 4.0, PLAN) is None


def test_large_images_are_reduced_to_what_is_used() -> None:
    plan = TilePlan(edge_ang=1024.0, frequency_per_ang=(1 / 60, 0.2), turn_per_square=1e4)
    shape, pixel = plan.grid((4096, 3000), 1.0)
    assert 0.5 / max(pixel) > 0.2
    assert shape[0] < 2100
    assert shape[0] * pixel[0] == pytest.approx(4096)
    assert shape[1] * pixel[1] == pytest.approx(3000)


@pytest.mark.parametrize("hand", [-1, 1])
def test_the_search_finds_defocus_and_hand_from_a_wide_range(hand: int) -> None:
    true, images = make(Scene(tilts=(-45.0, 0.0, 45.0), strength=1.0, hand=hand, seed=9))
    assert true.geometry is not None
    assert true.defocus is not None
    lens = Lens.of(true.optics)
    views = []
    for number in range(3):
        looked = look_at_view(images.view(number), true.pixel_size_ang, PLAN)
        assert looked is not None
        views.append(view_spectra(looked, true.geometry.select([number]), PLAN))
    found = search(views, lens, (3000.0, 1e5), np.array([lens.contrast_phase]), joint=True)
    assert found.hand == hand
    assert found.certain
    np.testing.assert_allclose(found.defocus_ang, true.defocus.mean_ang, atol=700)


@given(st.integers(5, 40), st.floats(20, 400), st.floats(20, 400), st.integers(0, 1000))
def test_shrinking_stays_between_own_and_middle(n: int, scatter: float, error: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value = 30000 + rng.normal(0, np.hypot(scatter, error), n)
    shrunk = shrink(value, np.full(n, error))
    low, high = np.minimum(value, shrunk.middle_ang) - 1e-6, np.maximum(value, shrunk.middle_ang) + 1e-6
    assert ((shrunk.value_ang >= low) & (shrunk.value_ang <= high)).all()
    assert (shrunk.error_ang <= np.hypot(error, shrunk.scatter_ang) + 1e-6).all()


def test_shrinking_makes_errors_smaller_and_leaves_a_jump_alone() -> None:
    rng = np.random.default_rng(5)
    true = 30000 + rng.normal(0, 150, 400)
    error = np.full(400, 200.0)
    true[7] += 9000
    seen = true + rng.normal(0, 200, 400)
    shrunk = shrink(seen, error)
    assert shrunk.scatter_ang == pytest.approx(150, rel=0.2)
    assert np.std(shrunk.value_ang - true) < 0.8 * np.std(seen - true)
    assert shrunk.value_ang[7] == seen[7]
    inside = np.abs(shrunk.value_ang - true) < shrunk.error_ang
    assert 0.6 < inside.mean() < 0.76
    told = error.copy()
    told[3] = np.inf
    assert shrink(seen, told).own[3] == 0
