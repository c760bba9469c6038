"""Extraction and the map from true poses: time, memory, and how far the map agrees with the truth; RELION beside it.

Without data, particles are cut out of noise. With a simulated data set (``lamella simulate DIR --preset purified``) the
map of its true poses is compared with the true map; where RELION 3.1's ``relion_reconstruct`` is installed, the same
pictures go to it as subtomograms with their transfer.

    python -m benchmarks extract                                  # 20 particles in 512 × 512
    EXTRACT_TRUTH=DIR python -m benchmarks extract                # truth/ and raw/ of a simulated data set
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.formats.images import open_images
from lamella.formats.mrc import read_mrc
from lamella.formats.particle_images import ParticleWriter, open_particles
from lamella.formats.relion import read_tilt_series
from lamella.formats.star import read_star
from lamella.fourier import shell_correlation
from lamella.geometry import TiltGeometry
from lamella.particles.average import average
from lamella.particles.extract import extract
from lamella.particles.extract_box import choose_box
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.map_fsc import half_map_fsc
from lamella.records import (
    ArrayImages,
    Defocus,
    ImageSource,
    Optics,
    Particles,
    ParticleSet,
    TiltSeries,
    Tomogram,
)
from lamella.runtime import prepare, threads
from lamella.simulate.library import named_template
from lamella.workflow.export_relion3 import STAR, export_relion3

DIAMETER_ANG = 300.0
Pixels = NDArray[np.float32]


def main() -> None:
    """Print times and, where there is a truth, agreement with it."""
    prepare(torch=True)
    truth = os.environ.get("EXTRACT_TRUTH")
    sets = _simulated(Path(truth)) if truth else [_noise(20, 512, 5.0)]
    settings = ExtractSettings(diameter=DIAMETER_ANG)
    with tempfile.TemporaryDirectory() as name:
        made = _extract(sets, settings, Path(name))
        _compare(made, Path(name), bool(truth))


def _extract(sets: Sequence[tuple[Particles, ImageSource]], settings: ExtractSettings, root: Path) -> ParticleSet:
    box = choose_box([particles.tilt_series for particles, _ in sets], settings, DIAMETER_ANG)
    members = []
    for particles, images in sets:
        sink = ParticleWriter(folder=root / particles.name, root=root, pixel_size_ang=box.pixel_size_ang)
        start = time.perf_counter()
        members.append(extract(particles, images, settings, sink, box=box))
        print(
            f"extract {particles.name}: {len(members[-1])} of {len(particles)} particles, box {box.box_px} of "
            f"{box.crop_from_px} px: {time.perf_counter() - start:.1f} s, {threads()} thread(s), {_peak()}"
        )
    return ParticleSet(members=tuple(members))


def _compare(particles: ParticleSet, root: Path, with_truth: bool) -> None:
    start = time.perf_counter()
    made = average(particles, open_particles(particles, root))
    pictures = sum(int(member.visible.sum()) for member in particles.members if member.visible is not None)
    print(f"average: {pictures} pictures, {time.perf_counter() - start:.1f} s, {_peak()}")
    if not with_truth:
        return
    true = _centred(named_template("ribosome", made.voxel_size_ang).volume, made.whole.shape[0])
    if made.half1 is not None and made.half2 is not None:
        halves = half_map_fsc(made.half1, made.half2, made.voxel_size_ang)
        print(f"half maps, 0.143: {halves.resolution_ang() or halves.finest_ang:.1f} Å")
    _agreement("whole", made.whole, true, made.voxel_size_ang)
    if shutil.which("relion_reconstruct"):
        export_relion3(particles, root / "relion", root)
        start = time.perf_counter()
        command = ["relion_reconstruct", "--i", f"relion/{STAR}", "--o", "relion/map.mrc", "--ctf", "--3d_rot"]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        print(f"relion_reconstruct: {time.perf_counter() - start:.1f} s")
        _agreement("RELION", read_mrc(root / "relion" / "map.mrc")[0], true, made.voxel_size_ang)


def _agreement(name: str, volume: Pixels, true: Pixels, voxel_ang: float) -> None:
    """Where the masked correlation with the truth falls below 0.5 first, and where it is above it last."""
    n = len(true)
    line = (np.arange(n) - n // 2) * voxel_ang
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    mask = np.clip((DIAMETER_ANG / 2 + 15 - radius) / 15, 0, 1)
    level = volume[radius > DIAMETER_ANG / 2].mean()
    parts = [torch.from_numpy((part * mask).astype(np.float32)) for part in (volume - level, true)]
    curve = shell_correlation(*parts)[1].numpy()
    first = 1 + int(np.argmax(curve[1:] < 0.5))
    last = int(np.flatnonzero(curve >= 0.5)[-1])
    print(f"{name}: correlation with the truth below 0.5 from {n * voxel_ang / first:.2f} Å, last above it at "
          f"{n * voxel_ang / last:.2f} Å, mean {curve.mean():.3f}")  # fmt: skip


def _simulated(root: Path) -> list[tuple[Particles, ImageSource]]:
    """The true geometry and poses of a simulated data set, and its images."""
    table = read_star(root / "truth" / "particles.star")["particles"]
    names = np.array(table.text("rlnTomoName"))
    places, angles = (
        np.stack([table.numbers(label.format(part)) for part in parts], axis=-1)
        for label, parts in (("rlnCenteredCoordinate{}Angst", "XYZ"), ("rlnAngle{}", ("Rot", "Tilt", "Psi")))
    )
    out: list[tuple[Particles, ImageSource]] = []
    for series in read_tilt_series(root / "truth" / "tilt_series.star", root):
        rows = names == series.name
        height, width = series.image_shape_px
        tomogram = Tomogram(tilt_series=series, size_px=(width, height, 2 * (height // 4)))
        particles = Particles(tomogram=tomogram, coordinates_ang=places[rows], angles_deg=angles[rows])
        out.append((particles, open_images(series.images or (), root)))
    return out


def _noise(count: int, size: int, pixel_ang: float) -> tuple[Particles, ImageSource]:
    """Particles in images of noise."""
    rng = np.random.default_rng(1)
    tilts = np.arange(-60, 61, 3.0)
    n = len(tilts)
    defocus = Defocus(u_ang=np.full(n, 3e4), v_ang=np.full(n, 2.95e4), angle_deg=np.zeros(n))
    series = TiltSeries(
        name="noise", pixel_size_ang=pixel_ang, image_shape_px=(size, size), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(n, 85.0), optics=Optics(voltage_kv=300.0), defocus=defocus,
        pre_exposure=np.abs(tilts), geometry=TiltGeometry.from_angles(tilts, 85.0),
    )  # fmt: skip
    reach = (size / 2 - 60) * pixel_ang
    tomogram = Tomogram(tilt_series=series, size_px=(size, size, size // 2))
    places = rng.uniform(-reach, reach, (count, 3)) * (1, 1, 0.2)
    particles = Particles(tomogram=tomogram, coordinates_ang=places, angles_deg=rng.uniform(0, 180, (count, 3)))
    return particles, ArrayImages(rng.normal(100, 5, (n, size, size)).astype(np.float32))


def _centred(volume: Pixels, size: int) -> Pixels:
    """A cube in a larger or smaller one, its voxel n // 2 at the other's."""
    n = volume.shape[0]
    out = np.zeros((size,) * 3, np.float32)
    kept = min(n, size)
    to, of = size // 2 - kept // 2, n // 2 - kept // 2
    out[(slice(to, to + kept),) * 3] = volume[(slice(of, of + kept),) * 3]
    return out


def _peak() -> str:
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


if __name__ == "__main__":
    main()
