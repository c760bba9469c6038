"""The plots of the report, one by one; in a notebook, the last line of a cell shows the figure.

python examples/look_at_a_series.py [FOLDER]
"""

import sys
from pathlib import Path

from lamella.formats.images import open_images
from lamella.formats.relion import read_tilt_series
from lamella.report.plots import plot_axis, plot_intensity, plot_montage, plot_power, plot_power_images, plot_shifts
from lamella.runtime import prepare
from lamella.simulate import PRESETS, simulate

prepare()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")

settings = PRESETS["quick"].model_copy(update={"size": 256, "frames": 0, "particles": 50, "tilt_step": 5.0})
files = simulate(folder, settings)

# A record is what is known of a series; its pixels are read when they are asked for. Here: the true geometry.
(series,) = read_tilt_series(files.tilt_series, folder)
images = open_images(series.images, folder)
print(f"{series.name}: {len(series)} views of {images.shape[2]} × {images.shape[1]} px")

figures = {
    "views": plot_montage(series, images),
    "views-aligned": plot_montage(series, images, aligned=True),
    "brightness": plot_intensity(series, images),
    "power": plot_power(series, images),
    "power-images": plot_power_images(series, images),
    "shifts": plot_shifts(series),
    "axis": plot_axis(series),
}
for name, figure in figures.items():
    path = folder / f"{name}.png"
    figure.savefig(path, facecolor=figure.get_facecolor())
    print(path)
