"""The demonstration: simulate movies, make their tomogram and the particles' average, compare both with the truth.

    python scripts/demo.py FOLDER [--set FIELD=VALUE …]

Settings after ``--set`` go to `lamella simulate`: ``--set size=256`` makes a smaller and quicker one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

LAMELLA = Path(sys.executable).with_name("lamella")
DIAMETER_ANG = 270
PICK = {"method": "template", "diameter": DIAMETER_ANG, "resolution": 60, "angle_step": 20}
"""A first search coarser than the default: quick, and enough for bodies as large as these."""


def lamella(*words: str) -> None:
    """Run a command as a user would, and show it."""
    print("\n$ lamella " + " ".join(word if "*" not in word else f"'{word}'" for word in words), flush=True)
    subprocess.run([LAMELLA, *words], check=True)


def main(folder: Path, changes: list[str]) -> None:
    """Run the demonstration in a folder of its own, which is emptied first."""
    started = time.perf_counter()
    raw, project = folder / "quick", folder / "project"
    for old in (raw, project):
        if old.exists():
            shutil.rmtree(old)
    lamella("simulate", str(raw), "--preset", "quick", "--seed", "1", *changes)
    gain = [word for path in (raw / "raw").glob("gain.*") for word in ("--gain", str(path))]
    lamella("new", str(project), "--mdoc", f"{raw}/raw/*.mdoc", *gain)
    whole, template = folder / "ribosome.mrc", folder / "template.mrc"
    subprocess.run([sys.executable, str(Path(__file__).with_name("true_map.py")), str(raw), str(whole)], check=True)
    template.unlink(missing_ok=True)
    lamella("convert", str(whole), str(template), "--low-pass", "40")
    settings = PICK | {"template": template}
    sets = [word for name, value in settings.items() for word in ("--set", f"pick.{name}={value}")]
    lamella("run", str(project), "--to", "postprocess", *sets)

    from against_truth import compare, compare_average, write_page  # heavy imports wait until the commands have run

    comparisons = compare(raw, project)
    average = compare_average(project, whole)
    page = write_page(folder / "truth.html", comparisons, average)
    print()
    for one in comparisons:
        for name, value in one.numbers.items():
            print(f"{one.name}: {name}: {value}")
    for name, value in average.numbers.items():
        print(f"average: {name}: {value}")
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    print(f"report: {project / 'report' / 'index.html'}")
    print(f"against the truth: {page}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    main(Path(arguments[0]), arguments[1:])
