"""Defocus and hand of a simulated series, beside the truth.

python examples/find_the_defocus.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import lamella.tilts as tilts
from lamella.formats.images import open_images
from lamella.formats.relion import read_tilt_series
from lamella.report.plots import plot_ctf_pictures, plot_ctf_profiles, plot_defocus
from lamella.runtime import prepare
from lamella.simulate import PRESETS, simulate

prepare()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")

changes = {"size": 512, "pixel_size": 4.0, "frames": 0, "tilt_step": 5.0, "defocus": 32000.0, "vesicles": 0, "beads": 0}
files = simulate(folder, PRESETS["quick"].model_copy(update=changes))

# The truth holds a defocus too; the estimate looks at the geometry alone.
(truth,) = read_tilt_series(files.tilt_series, folder)
images = open_images(truth.images, folder)
result = tilts.estimate_ctf(truth, images, tilts.CtfSettings())
for note in result.notes:
    print(note)

found = result.series
apart = found.defocus.mean_ang - truth.defocus.mean_ang
errors = found.scores["CtfDefocusErrorAngst"]
print(f"defocus off by {np.median(np.abs(apart)):.0f} Å in the median, {np.abs(apart).max():.0f} Å at worst")
print(f"{np.mean(np.abs(apart) < errors):.0%} of the views lie within their standard error")
print(f"hand {found.hand:+d}, simulated {truth.hand:+d}; confidence {found.quality['CtfHandConfidence']:.4f}")

# A point of the specimen has a defocus of its own in each view: here one 500 Å above the centre, to the right.
u, v = found.defocus_at([800.0, 0.0, 500.0])
print("its defocus from view to view, Å:", np.round((u + v) / 2).astype(int))

figures = {
    "defocus": plot_defocus(found),
    "rings": plot_ctf_profiles(found, result.profiles),
    "spectra": plot_ctf_pictures(found, result.profiles),
}
for name, figure in figures.items():
    path = folder / f"{name}.png"
    figure.savefig(path, facecolor=figure.get_facecolor())
    print(path)
