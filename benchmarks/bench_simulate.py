"""The simulator: seconds and memory of whole simulations, each in a process of its own, and of one slice.

`quick` shall take no more than 60 s, 41 views of 1024² with 200 ribosomes and 8 frames no more than 4 minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from benchmarks.machine import best_of, machine_name

RUNS = (
    ("quick: 41 x 6 frames of 512²", "quick", {}),
    ("purified: 41 x 8 frames of 1024², 200 ribosomes", "purified", {"truth_binning": 0.0}),
    ("movies: 7 x 8 frames of 2048²", "movies", {"tilt_step": 20.0}),
)

CODE = """
import resource, sys, time
from lamella.runtime import prepare
prepare(torch=True)
import lamella.simulate as room
settings = room.preset_settings(sys.argv[1], **eval(sys.argv[2]))
start = time.perf_counter()
room.simulate(sys.argv[3], settings)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Print one table."""
    from lamella.geometry import euler_matrix
    from lamella.runtime import prepare
    from lamella.simulate import SimulateSettings, build_specimen
    from lamella.simulate.slices import template_spectrum

    print(machine_name())
    print(f"{'what':58} {'seconds':>8} {'MiB':>7}")
    for what, preset, changes in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-c", CODE, preset, repr(changes), folder]
            seconds, memory = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        print(f"{what:58} {float(seconds):8.1f} {float(memory):7.0f}", flush=True)
    prepare(torch=True)
    template = build_specimen(SimulateSettings(pixel_size=3.0, size=256, particles=1, vesicles=0, beads=0)).templates[0]
    spectrum, turn = template_spectrum(template), euler_matrix(30, 60, 90)
    seconds = best_of(lambda: spectrum.project(turn), 10)
    print(f"{f'one slice of a ribosome at 3 Å, {spectrum.size_px}² px':58} {seconds:8.4f}")


if __name__ == "__main__":
    main()
