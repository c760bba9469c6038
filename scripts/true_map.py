"""Write the map of the body that a simulation used, in its images' pixels: a template, or the truth of an average.

python scripts/true_map.py SIMULATED OUT.mrc [BODY]
"""

from __future__ import annotations

import sys
from pathlib import Path

from lamella.formats.mrc import write_mrc
from lamella.simulate import SimulateSettings
from lamella.simulate.library import named_template


def main(simulated: Path, target: Path, body: str = "ribosome") -> None:
    """Draw the body without noise, mass positive."""
    settings = SimulateSettings.model_validate_json((simulated / "truth" / "settings.json").read_text())
    template = named_template(body, settings.pixel_size)
    write_mrc(target, template.volume, settings.pixel_size)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
