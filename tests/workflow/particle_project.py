"""A small project whose particles are known: a body of Gaussians, seen in two tilt series, picked where it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.formats.images import image_name
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.geometry import TiltGeometry
from lamella.particles.views import SeriesTransfer, view_places, view_rotations
from lamella.records import Defocus, Optics, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.workflow.completion import Completion
from lamella.workflow.new import create_project
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import write_part, write_record

PIXEL, SIDE, VIEWS = 10.0, 128, 11
DIAMETER_ANG = 260.0
# x, y, z, width (Å) and mass: no mirror image of this can be turned onto it
BODY = np.array([
    [0.0, 0.0, 0.0, 26.0, 1.0],
    [70.0, 10.0, 0.0, 17.0, 0.45],
    [-10.0, 65.0, 20.0, 16.0, 0.4],
    [5.0, -25.0, 75.0, 15.0, 0.4],
    [-60.0, -35.0, -30.0, 14.0, 0.3],
    [35.0, 50.0, -55.0, 14.0, 0.25],
])  # fmt: skip
# where particles stand, px of the image from its centre, so that none hides another
_GRID = np.array([(x, y) for x in (-34, -1, 33) for y in (-33, 2, 34)], dtype=np.float64)


@dataclass(frozen=True)
class Truth:
    """Orientations and places of all particles of one series."""

    matrices: NDArray[np.float64]
    positions_ang: NDArray[np.float64]


def tilt_series(folder: Path, name: str, seed: int, noise: float) -> tuple[TiltSeries, Truth]:
    """A series with its stack on disk."""
    rng = np.random.default_rng(seed)
    tilts = np.linspace(-50, 50, VIEWS)
    path = folder / f"{name}.mrc"
    series = TiltSeries(
        name=name,
        pixel_size_ang=PIXEL,
        image_shape_px=(SIDE, SIDE),
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(i, str(path)) for i in range(VIEWS)),
        optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(tilts, 86.0),
        defocus=Defocus(u_ang=np.full(VIEWS, 42000.0), v_ang=np.full(VIEWS, 41000.0), angle_deg=np.full(VIEWS, 20.0)),
    )
    places = np.column_stack([_GRID * PIXEL + rng.uniform(-20, 20, _GRID.shape), rng.uniform(-60, 60, len(_GRID))])
    truth = Truth(Rotation.random(len(_GRID), random_state=seed).as_matrix(), places)
    write_mrc(path, _images(series, truth, rng, noise), PIXEL, stack=True)
    return series, truth


def _images(series: TiltSeries, truth: Truth, rng: np.random.Generator, noise: float) -> NDArray[np.float32]:
    """Bright-field images: mass is dark, its contrast transfer that of its depth."""
    rotations, places = view_rotations(series), view_places(series, truth.positions_ang)
    transfer = SeriesTransfer(series, SIDE, PIXEL)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    out = np.empty((len(series), SIDE, SIDE), np.float32)
    for view in range(len(series)):
        factors = transfer.of_view(view, truth.positions_ang).numpy()
        terms = np.zeros((SIDE, SIDE // 2 + 1), complex)
        for matrix, place, factor in zip(truth.matrices, places[view], factors, strict=True):
            picture = np.zeros((SIDE, SIDE))
            for *centre, width, mass in BODY:
                at = (rotations[view] @ matrix @ centre)[:2] / PIXEL + place
                far = (x - at[0]) ** 2 + (y - at[1]) ** 2
                picture += mass * np.exp(-far * PIXEL**2 / (2 * width**2)) / (2 * np.pi * (width / 26) ** 2)
            terms += np.fft.rfft2(picture) * factor
        out[view] = 10 - np.fft.irfft2(terms, s=(SIDE, SIDE)) + rng.normal(0, noise, (SIDE, SIDE))
    return out


def body_map(box_px: int, voxel_ang: float) -> NDArray[np.float32]:
    """The body's density ``(box, box, box)``, origin at box // 2."""
    line = (np.arange(box_px) - box_px // 2) * voxel_ang
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    out = np.zeros((box_px,) * 3)
    for bx, by, bz, width, mass in BODY:
        far = (x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2
        out += mass * np.exp(-far / (2 * width**2)) / width**3
    return (1e4 * out).astype(np.float32)


def make_project(
    folder: Path, *, noise: float = 0.05, turn_deg: float = 6.0, series: int = 2
) -> tuple[Project, tuple[Truth, ...]]:
    """A project whose `pick` holds every particle, turned and moved a little from where it is."""
    raw = folder / "data"
    raw.mkdir(parents=True)
    made = [tilt_series(raw, f"TS_{number}", number, noise) for number in range(1, series + 1)]
    project = create_project(folder / "P", Imported(tuple(one for one, _ in made), ()))
    members = [picked(one, truth, turn_deg, number) for number, (one, truth) in enumerate(made)]
    put_record(project, RecordName("pick"), members)
    return project, tuple(truth for _, truth in made)


def picked(series: TiltSeries, truth: Truth, turn_deg: float, seed: int) -> Particles:
    """Particles near where they are."""
    rng = np.random.default_rng(seed)
    n = len(truth.matrices)
    turns = Rotation.from_rotvec(np.deg2rad(turn_deg) * rng.normal(0, 0.6, (n, 3))).as_matrix()
    tomogram = Tomogram(tilt_series=series, size_px=(SIDE, SIDE, 40))
    placed = Particles(tomogram=tomogram, coordinates_ang=truth.positions_ang + rng.normal(0, 3, (n, 3)))
    return placed.with_poses(turns @ truth.matrices).with_changes(
        scores={"PickScore": np.linspace(9, 6, n)}, quality={"ParticleDiameterAngst": DIAMETER_ANG}
    )


def put_record(project: Project, name: RecordName, members: list[Particles]) -> None:
    """Write a record as if another program had made it."""
    for member in members:
        place = project.completion(name, member.name)
        write_part(place, member, project.root)
        done = Completion(
            fingerprint="", made_from=("raw",), settings={}, inputs={}, version="another", origin="import"
        )
        done.write(place)
    write_record(project, name, [ParticleSet(members=tuple(members))])
    stamp = {member.name: " " for member in members}
    (project.completions(name) / "tables.json").write_text(json.dumps(stamp))


def correlation(volume: NDArray[np.float32], voxel_ang: float) -> float:
    """Of a map with the body, no finer than 40 Å, within its sphere."""
    box = volume.shape[0]
    truth = body_map(box, voxel_ang)
    line = torch.fft.fftfreq(box)
    k = torch.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + torch.fft.rfftfreq(box) ** 2)
    low = [
        torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(one)) * (k < voxel_ang / 40), s=(box,) * 3).numpy()
        for one in (volume, truth)
    ]
    at = np.arange(box) - box // 2
    inside = at[:, None, None] ** 2 + at[:, None] ** 2 + at**2 < (DIAMETER_ANG / 2 / voxel_ang) ** 2
    return float(np.corrcoef(low[0][inside], low[1][inside])[0, 1])
