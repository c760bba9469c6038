"""Particles of known poses for the benchmark of refinement: pictures from a formula, or cut out of simulated images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.formats.images import open_images
from lamella.formats.particle_images import ParticleWriter, open_particles
from lamella.formats.relion import read_tilt_series
from lamella.formats.star import read_star
from lamella.fourier import soft_mask
from lamella.geometry import TiltGeometry, euler_matrix
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.particles.average import average
from lamella.particles.extract import extract
from lamella.particles.extract_box import choose_box
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.likelihood import picture_index
from lamella.particles.views import SeriesTransfer
from lamella.records import Defocus, Optics, ParticleImages, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.simulate.library import named_template

__all__ = ["DIAMETER_ANG", "RefineCase", "modelled", "simulated"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

DIAMETER_ANG, VIEWS = 290.0, 41
TURNED_DEG, MOVED_ANG = 7.0, 5.0
"""How far the poses given are from the true ones: root mean squares."""
NOISE_ANG = 1.65
"""Noise of a pixel of 1 Å over the highest value of a projection.

3 e/Å² leave 1/√3 of the intensity there, and a ribosome's phase of 0.36 rad changes it by up to 0.72, which makes 0.8;
ice of 1100 Å and the detector double it.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineCase:
    """Particles whose poses are known.

    Attributes
    ----------
    particles
        in disturbed poses, with pictures in files and half sets.
    root
        the folder that the files' names start from.
    matrices, positions_ang
        ``(n, 3, 3)`` and ``(n, 3)``: the true poses.
    body
        ``(b, b, b)`` the true map on the pictures' pixels, in their grey values.
    """

    particles: ParticleSet
    root: Path
    matrices: Array
    positions_ang: Array
    body: Floats

    @property
    def pixel_ang(self) -> float:
        """Of the pictures."""
        images = self.particles.members[0].images
        assert images is not None
        return images.pixel_size_ang

    @property
    def box_px(self) -> int:
        """Of the pictures."""
        return self.body.shape[0]

    def true(self) -> ParticleSet:
        """The particles in their true poses."""
        parts = (self.particles.split(part) for part in (self.matrices, self.positions_ang))
        members = (one.with_poses(*poses) for one, *poses in zip(self.particles.members, *parts, strict=True))
        return replace(self.particles, members=tuple(members))


def modelled(root: Path, count: int, box_px: int) -> RefineCase:
    """Ribosomes in 41 views of white noise, by the model of `lamella.particles.views`."""
    rng = np.random.default_rng(1)
    pixel = round(1.45 * DIAMETER_ANG / box_px, 2)
    body = _centred(named_template("ribosome", pixel).volume, box_px)
    series = _series(pixel)
    true = rng.uniform(-1500, 1500, (count, 3)) * (1, 1, 0.2)
    matrices = Rotation.random(count, random_state=1).as_matrix()
    cut_out = true + rng.normal(size=true.shape) * MOVED_ANG / np.sqrt(3)
    write = ParticleWriter(folder=root / "pictures", root=root, pixel_size_ang=pixel)
    transfer = SeriesTransfer(series, box_px, pixel)
    transform, index = padded_transform(torch.from_numpy(body)).numpy(), picture_index(box_px, box_px // 2)
    noise = NOISE_ANG / pixel * float(body.sum(axis=0).max())
    assert series.geometry is not None
    frames = series.geometry.rotations()
    files = []
    for number in range(count):
        seen = transfer.at(cut_out[number])
        moves = frames @ (true[number] - cut_out[number]) / pixel + box_px // 2
        slices = take_terms(transform, index.index, frames @ matrices[number], box_px)
        slices = slices * np.exp(-2j * np.pi / box_px * (moves @ index.index.T))
        terms = torch.zeros(VIEWS, box_px * (box_px // 2 + 1), dtype=torch.complex64)
        terms[:, torch.from_numpy(index.flat)] = torch.from_numpy(slices.astype(np.complex64))
        white = torch.from_numpy(rng.normal(size=(VIEWS, box_px, box_px)).astype(np.float32) * noise)
        shown = (terms.reshape(VIEWS, box_px, -1) * seen + torch.fft.rfft2(white)) * seen
        files.append(write(f"TS/{number + 1}", torch.fft.irfft2(shown, s=(box_px, box_px)).numpy(), None)[0])
    member = Particles(
        tomogram=Tomogram(tilt_series=series, size_px=(1024, 1024, 300)),
        coordinates_ang=cut_out,
        half_set=np.arange(count) % 2 + 1,
        images=ParticleImages(names=tuple(files), pixel_size_ang=pixel, box_px=box_px),
    )
    return _disturbed(ParticleSet(members=(member,)), root, matrices, true, body)


def simulated(truth: Path, root: Path, count: int, binning: float) -> RefineCase:
    """Ribosomes of a data set of ``lamella simulate``, cut out by its true geometry; the first `count` of them."""
    table = read_star(truth / "truth" / "particles.star")["particles"]
    names = np.array(table.text("rlnTomoName"))
    places, angles = (
        np.stack([table.numbers(label.format(part)) for part in parts], axis=-1)
        for label, parts in (("rlnCenteredCoordinate{}Angst", "XYZ"), ("rlnAngle{}", ("Rot", "Tilt", "Psi")))
    )
    settings, rng = ExtractSettings(diameter=DIAMETER_ANG, binning=binning), np.random.default_rng(5)
    series = read_tilt_series(truth / "truth" / "tilt_series.star", truth)
    box = choose_box(series, settings, DIAMETER_ANG)
    write = ParticleWriter(folder=root / "pictures", root=root, pixel_size_ang=box.pixel_size_ang)
    members, kept = [], []
    for one in series:
        rows = np.flatnonzero(names == one.name)[: count - sum(map(len, members))]
        height, width = one.image_shape_px
        given = Particles(
            tomogram=Tomogram(tilt_series=one, size_px=(width, height, 300)),
            coordinates_ang=places[rows] + rng.normal(size=(len(rows), 3)) * MOVED_ANG / np.sqrt(3),
            names=tuple(f"{one.name}/{row}" for row in rows),
        )
        if len(rows):
            members.append(extract(given, open_images(one.images or (), truth), settings, write, box=box))
            kept += [int(name.rpartition("/")[2]) for name in members[-1].names or ()]
    body = _centred(named_template("ribosome", box.pixel_size_ang).volume, box.box_px)
    matrices, found = euler_matrix(*angles[kept].T), ParticleSet(members=tuple(members))
    case = _disturbed(found, root, matrices, places[kept], body)
    return replace(case, body=body * np.float32(_grey_value(case)))


def _grey_value(case: RefineCase) -> float:
    """What the body is to be multiplied by to have the pictures' grey values: fits the average of the true poses."""
    made = average(case.true(), open_particles(case.particles, case.root))
    edge = 20 / case.pixel_ang
    mask = soft_mask((case.box_px,) * 3, DIAMETER_ANG / 2 / case.pixel_ang, edge).numpy()
    one, other = made.whole * mask, case.body * mask
    terms = [np.fft.rfftn(part - mask * part.sum() / mask.sum()) for part in (one, other)]
    line = np.fft.fftfreq(case.box_px) / case.pixel_ang
    length = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + np.fft.rfftfreq(case.box_px, case.pixel_ang) ** 2)
    low = length < 1 / 40
    return float(np.vdot(terms[1][low], terms[0][low]).real / np.vdot(terms[1][low], terms[1][low]).real)


def _disturbed(particles: ParticleSet, root: Path, matrices: Array, places: Array, body: Floats) -> RefineCase:
    """Turned away from their true poses, and where they were cut out."""
    turns = np.random.default_rng(2).normal(size=(len(matrices), 3)) * np.deg2rad(TURNED_DEG) / np.sqrt(3)
    parts = particles.split(matrices @ Rotation.from_rotvec(turns).as_matrix())
    members = (one.with_poses(part, one.coordinates_ang) for one, part in zip(particles.members, parts, strict=True))
    return RefineCase(
        particles=replace(particles, members=tuple(members)), root=root, matrices=matrices, positions_ang=places,
        body=body,
    )  # fmt: skip


def _series(pixel_ang: float) -> TiltSeries:
    tilts = np.linspace(-60, 60, VIEWS)
    return TiltSeries(
        name="TS", pixel_size_ang=pixel_ang, image_shape_px=(1024, 1024), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(VIEWS, 85.0), optics=Optics(voltage_kv=300.0),
        pre_exposure=3.0 * np.argsort(np.argsort(np.abs(tilts))), geometry=TiltGeometry.from_angles(tilts, 85.0),
        defocus=Defocus(
            u_ang=np.full(VIEWS, 31000.0), v_ang=np.full(VIEWS, 30000.0), angle_deg=np.full(VIEWS, 30.0)
        ),
    )  # fmt: skip


def _centred(volume: Floats, size: int) -> Floats:
    """A cube in a larger or smaller one, its voxel n // 2 at the other's."""
    n = volume.shape[0]
    out, kept = np.zeros((size,) * 3, np.float32), min(n, size)
    to, of = size // 2 - kept // 2, n // 2 - kept // 2
    out[(slice(to, to + kept),) * 3] = volume[(slice(of, of + kept),) * 3]
    return out
