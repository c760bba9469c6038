"""Classic subtomograms out of stacks of an exact body; RELION 3's own programs read them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import starfile
import torch

from lamella.errors import InputError
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.particle_images import ParticleWriter
from lamella.formats.relion3 import whole_transform
from lamella.fourier import shell_correlation
from lamella.geometry import TiltGeometry
from lamella.particles.views import view_rotations, view_transfer
from lamella.records import Defocus, Optics, ParticleImages, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.workflow.export_relion3 import STAR, export_relion3

BOX, PIXEL, WIDTH = 32, 4.0, 4.0
TILTS = np.arange(-60.0, 61.0, 6.0)


def body(rng: np.random.Generator) -> np.ndarray:
    """Places ``(12, 3)`` of equal Gaussians, Å: no symmetry, off centre."""
    return np.add(rng.uniform(-25, 25, (12, 3)), [5, 0, -3])


def density(places: np.ndarray) -> np.ndarray:
    """``(n, n)`` or ``(n, n, n)`` sum of Gaussians at places ``(k, 2 or 3)`` in Å from the centre pixel."""
    line = (np.arange(BOX) - BOX // 2) * PIXEL
    parts = [np.exp(-((line[None] - axis[:, None]) ** 2) / (2 * WIDTH**2)) for axis in places.T]
    return np.einsum("ky,kx->yx" if len(parts) == 2 else "kz,ky,kx->zyx", *parts[::-1])


def tomogram(name: str, group: str) -> Tomogram:
    n = len(TILTS)
    series = TiltSeries(
        name=name,
        pixel_size_ang=PIXEL,
        image_shape_px=(256, 256),
        nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.full(n, 85.0),
        pre_exposure=np.abs(TILTS) / 3,
        optics=Optics(voltage_kv=300.0),
        optics_group=group,
        geometry=TiltGeometry.from_angles(TILTS, 85.0, x_tilt_deg=3.0),
        defocus=Defocus(u_ang=np.full(n, 21000.0), v_ang=np.full(n, 20000.0), angle_deg=np.full(n, 30.0)),
    )
    return Tomogram(tilt_series=series, size_px=(256, 256, 100))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> tuple[Path, ParticleSet, np.ndarray]:
    """A folder with the stacks of 40 particles in two tomograms, their record, and the body."""
    rng, root = np.random.default_rng(7), tmp_path_factory.mktemp("project")
    places, members = body(rng), []
    for name, group in (("a", "one"), ("b", "two")):
        count = 20
        angles = [rng.uniform([-180, 0, -180], [180, 180, 180], (count, 3)) for _ in range(2)]
        one = Particles(
            tomogram=tomogram(name, group),
            coordinates_ang=rng.uniform(-150, 150, (count, 3)),
            origin_ang=rng.normal(0, 4, (count, 3)),
            subtomogram_deg=angles[0],
            angles_deg=angles[1],
            half_set=np.arange(count) % 2 + 1,
            visible=rng.random((count, len(TILTS))) > 0.1,
        )
        sink = ParticleWriter(folder=root / "extract", root=root, pixel_size_ang=PIXEL)
        names = []
        for index in range(count):
            away = one.matrices()[index] @ places.T - (one.coordinates_ang - one.positions_ang())[index][:, None]
            seen = view_rotations(one.tilt_series)[one.visible[index]] @ away
            pictures = torch.from_numpy(np.stack([density(view[:2].T) for view in seen]))
            terms = torch.fft.rfft2(pictures) * view_transfer(one, index, BOX, PIXEL) ** 2
            stack = torch.fft.irfft2(terms, s=(BOX, BOX)).numpy().astype(np.float32)
            names.append(sink(one.names[index], stack, None)[0])
        members.append(replace(one, images=ParticleImages(names=tuple(names), pixel_size_ang=PIXEL, box_px=BOX)))
    return root, ParticleSet(members=tuple(members)), density(places)


def test_a_whole_transform_is_what_fftn_gives(rng):
    for n in (8, 9):
        volume = rng.normal(size=(n, n, n))
        power = np.abs(np.fft.fftn(volume)) ** 2
        half = power[..., : n // 2 + 1].astype(np.float32)
        np.testing.assert_allclose(whole_transform(half), np.fft.fftshift(power), rtol=1e-5)


def test_the_table_is_relions(extracted, tmp_path):
    root, particles, _ = extracted
    (star,), notes = export_relion3(particles, root / "out", root)
    assert "40 subtomograms" in str(notes[0])
    tables = starfile.read(star)
    assert tables["optics"].rlnOpticsGroupName.tolist() == ["one", "two"]
    assert tables["optics"].rlnImageDimensionality.tolist() == [3, 3]
    rows = tables["particles"]
    assert rows.rlnOpticsGroup.tolist() == [1] * 20 + [2] * 20
    np.testing.assert_allclose(rows.rlnDetectorPixelSize / rows.rlnMagnification * 1e4, PIXEL)
    np.testing.assert_allclose(rows.rlnAngleTilt[20:], particles.members[1].angles_deg[:, 1])
    np.testing.assert_allclose(rows.rlnOriginZAngst[:20], particles.members[0].origin_ang[:, 2])
    volume, pixel = read_mrc(root / rows.rlnImageName[3])
    transfer, _ = read_mrc(root / rows.rlnCtfImage[3])
    assert volume.shape == transfer.shape == (BOX,) * 3
    assert pixel == pytest.approx(PIXEL)


@pytest.mark.program("relion_reconstruct")
def test_relion_reconstructs_the_body(extracted):
    root, particles, truth = extracted
    export_relion3(particles, root / "out", root)
    words = ["--i", "out/particles.star", "--o", "map.mrc", "--3d_rot", "--ctf", "--pad", "2"]
    done = subprocess.run(["relion_reconstruct", *words], cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found, pixel = read_mrc(root / "map.mrc")
    assert pixel == pytest.approx(PIXEL)
    frequency, correlation, _ = shell_correlation(torch.from_numpy(found), torch.from_numpy(truth.astype(np.float32)))
    assert correlation[frequency < 0.44].min() > 0.95  # seen: 0.974


def test_a_subtomogram_is_its_transfer_times_the_map(tmp_path):
    """Of full strength near the middle and farther out: RELION compares it with the reference's own grey values."""
    rng = np.random.default_rng(3)
    places = np.add(rng.uniform(-32, 32, (60, 3)), [0, 2, -2])
    series = replace(tomogram("a", "one").tilt_series, defocus=None)
    one = Particles(
        tomogram=replace(tomogram("a", "one"), tilt_series=series),
        coordinates_ang=np.zeros((1, 3)),
        visible=np.ones((1, len(TILTS)), dtype=bool),
    )
    seen = view_rotations(series) @ places.T
    pictures = torch.from_numpy(np.stack([density(view[:2].T) for view in seen]))
    terms = torch.fft.rfft2(pictures) * view_transfer(one, 0, BOX, PIXEL) ** 2
    stack = torch.fft.irfft2(terms, s=(BOX, BOX)).numpy().astype(np.float32)
    names = (
        ParticleWriter(folder=tmp_path / "extract", root=tmp_path, pixel_size_ang=PIXEL)(one.names[0], stack, None)[0],
    )
    one = replace(one, images=ParticleImages(names=names, pixel_size_ang=PIXEL, box_px=BOX))
    export_relion3(ParticleSet(members=(one,)), tmp_path / "out", tmp_path)
    rows = starfile.read(tmp_path / "out" / STAR)["particles"]
    files = [
        rows[label] if isinstance(rows[label], str) else rows[label].iloc[0]
        for label in ("rlnImageName", "rlnCtfImage")
    ]
    volume, transfer = (read_mrc(tmp_path / name)[0] for name in files)
    whole = np.fft.fftn(density(places)) * np.fft.ifftshift(transfer)
    expected = np.fft.ifftn(whole).real
    line = (np.arange(BOX) - BOX // 2) * PIXEL
    away = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    strength = [
        float((volume * expected)[shell].sum() / (expected**2)[shell].sum())
        for shell in (away < 18, (away >= 18) & (away < 28), (away >= 28) & (away < 40))
    ]
    np.testing.assert_allclose(np.array(strength) / strength[0], 1, atol=0.06)


@pytest.mark.program("relion_refine")
def test_relion_refines_from_the_table(extracted):
    """One iteration of a coarse search over eight particles: volumes and transfers are read and used."""
    root, particles, truth = extracted
    few = ParticleSet(members=tuple(one.select(range(4)) for one in particles.members))
    export_relion3(few, root / "few", root)
    write_mrc(root / "ref.mrc", truth.astype(np.float32), PIXEL)
    words = "--firstiter_cc --ini_high 20 --iter 1 --K 1 --ctf --healpix_order 0 --offset_range 2 --offset_step 2"
    words += " --oversampling 0 --particle_diameter 110 --zero_mask --pad 1 --j 1 --norm --scale --dont_check_norm"
    words += f" --dont_combine_weights_via_disc --i few/{STAR} --o few/run --ref ref.mrc"
    done = subprocess.run(["relion_refine", *words.split()], cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    rows = starfile.read(root / "few/run_it001_data.star")["particles"]
    assert len(rows) == 8
    assert rows.rlnMaxValueProbDistribution.between(0, 1).all()


def test_what_cannot_be_exported(extracted):
    root, particles, _ = extracted
    a, b = particles.members
    with pytest.raises(InputError, match="there are no particles"):
        export_relion3(ParticleSet(members=(a.select([]),)), root / "x", root)
    with pytest.raises(InputError, match="no pictures"):
        export_relion3(ParticleSet(members=(a, replace(b, images=None))), root / "x", root)
    with pytest.raises(InputError, match="several sizes"):
        export_relion3(
            ParticleSet(members=(a, replace(b, images=replace(b.images, pixel_size_ang=5.0)))), root / "x", root
        )
    with pytest.raises(InputError, match="not multiplied"):
        export_relion3(
            ParticleSet(members=(replace(a, images=replace(a.images, premultiplied=False)),)), root / "x", root
        )
