"""A tomogram without a project: simulate, align, reconstruct and denoise in memory.

python examples/first_tomogram.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

from lamella.formats.images import open_images
from lamella.formats.mdoc_series import series_from_mdoc
from lamella.formats.mrc import write_mrc
from lamella.formats.relion import read_tilt_series
from lamella.records import ArrayVolume
from lamella.report.plots import plot_slices
from lamella.runtime import prepare
from lamella.simulate import PRESETS, simulate
from lamella.tilts import AlignSettings, align
from lamella.tilts.compare import geometry_error
from lamella.tomograms import DenoiseSettings, ReconstructSettings, denoise, plan_tomogram, reconstruct

prepare()  # threads, memory, cache of compiled kernels
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")

# Raw data as a microscope leaves them: 31 views of a smaller field than the preset's.
settings = PRESETS["quick"].model_copy(update={"size": 320, "frames": 0, "particles": 80, "tilt_step": 4.0})
files = simulate(folder, settings)

# What the mdoc says, and everything that had to be assumed.
imported = series_from_mdoc(files.mdocs)
for note in imported.notes:
    print(note)
(series,) = imported.series
images = open_images(series.images, Path.cwd())

# Each stage takes a record and gives a new one.
aligned = align(series, images, AlignSettings()).series
print(f"tilt axis: stated {series.nominal_axis_deg.mean():.1f}°, found {aligned.geometry.z_rot_deg.mean():.2f}°")

tomogram = plan_tomogram(aligned, ReconstructSettings())
nx, ny, nz = (round(side / tomogram.binning) for side in tomogram.size_px)
volume = ArrayVolume(np.zeros((nz, ny, nx), dtype=np.float32))
reconstruct(aligned, images, tomogram, ReconstructSettings(), volume)

clean = ArrayVolume(np.zeros_like(volume.array))
denoise(volume, DenoiseSettings(), clean)
write_mrc(folder / "denoised.mrc", clean.array, tomogram.voxel_size_ang)
plot_slices(tomogram, volume, clean).savefig(folder / "slices.png")

# The truth is known here: how far apart do the two geometries put the same points?
(true,) = read_tilt_series(files.tilt_series, folder)
points = np.random.default_rng(0).uniform(-1, 1, (200, 3)) * (1000, 1000, 600)
difference = geometry_error(aligned.geometry, true.geometry, points)
print(f"alignment error: {difference.rms_ang / series.pixel_size_ang:.2f} px rms over the specimen")
print(f"{folder / 'denoised.mrc'}, {folder / 'slices.png'}")
