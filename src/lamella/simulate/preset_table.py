"""The presets of the simulation: a sentence on each, and what it changes of the defaults.

Free of heavy imports, so that the help of the command line can list them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["PRESET_TABLE", "Preset"]


@dataclass(frozen=True)
class Preset:
    """One preset.

    Attributes
    ----------
    summary
        what it is good for, in a sentence.
    changes
        settings that differ from the defaults.
    """

    summary: str
    changes: Mapping[str, Any]


PRESET_TABLE: Mapping[str, Preset] = MappingProxyType(
    {
        "quick": Preset("ribosomes, two vesicles and a few beads, 512² px of 8 Å; made in seconds", {}),
        "purified": Preset(
            "200 ribosomes in thin ice, 1024² px of 3.4 Å, for averaging",
            {
                "size": 1024,
                "pixel_size": 3.4,
                "thickness": 1100.0,
                "particles": 200,
                "vesicles": 0,
                "beads": 10,
                "frames": 8,
                "motion_start": 6.0,
                "local_motion": 2.0,
                "truth_binning": 4.0,
            },
        ),
        "beads": Preset(
            "rich in gold beads, 1024² px of 5.4 Å, for alignment",
            {
                "size": 1024,
                "pixel_size": 5.4,
                "thickness": 1500.0,
                "particles": 60,
                "vesicles": 1,
                "beads": 60,
                "contamination": 3,
                "defocus": 40000.0,
                "frames": 8,
            },
        ),
        "cellular": Preset(
            "a crowd of many proteins and vesicles without beads, a gold film over a corner, 1024² px of 5 Å",
            {
                "membrane_proteins": 1500.0,
                "size": 1024,
                "pixel_size": 5.0,
                "thickness": 1800.0,
                "bend": 40.0,
                "beads": 0,
                "particles": 150,
                "small_particles": 1200,
                "small_complexes": ("ribosome_small", "groel", "ternary_complex"),
                "vesicles": 6,
                "vesicle_radius_min": 250.0,
                "vesicle_radius_max": 750.0,
                "film": "corner",
                "film_material": "gold",
                "film_thickness": 400.0,
                "defocus": 45000.0,
                "defocus_spread": 350.0,
                "deformation": 6.0,
                "frames": 8,
            },
        ),
        "lamella": Preset(
            "a milled slab, pre-tilted and bent: membranes, filaments, proteins, no beads; Falcon 4, Tomography 5",
            {
                "membrane_proteins": 1500.0,
                "size": 1024,
                "pixel_size": 4.0,
                "thickness": 1700.0,
                "bend": 120.0,
                "tilt_offset": 10.0,
                "start_tilt": -10.0,
                "tilt_range": 54.0,
                "tilt_group": 2,
                "beads": 0,
                "contamination": 2,
                "particles": 80,
                "small_particles": 700,
                "sheets": 1,
                "microtubules": 1,
                "actin": 3,
                "defocus": 40000.0,
                "deformation": 8.0,
                "frames": 8,
                "mdoc": "tomo5",
                "detector": "falcon4",
            },
        ),
        "virions": Preset(
            "enveloped virions with spikes and a capsid lattice, 1024² px of 4 Å; PACEtomo",
            {
                "size": 1024,
                "pixel_size": 4.0,
                "thickness": 1900.0,
                "particles": 0,
                "vesicles": 0,
                "beads": 12,
                "virions": 4,
                "frames": 8,
                "mdoc": "pacetomo",
            },
        ),
        "dual": Preset(
            "two tilt axes of one specimen with beads, stacks of 1024² px of 5 Å",
            {
                "size": 1024,
                "pixel_size": 5.0,
                "thickness": 1500.0,
                "particles": 120,
                "beads": 20,
                "dual_axis": True,
                "scheme": "bidirectional",
                "defocus": 40000.0,
                "dose": 1.5,
                "frames": 0,
            },
        ),
        "movies": Preset(
            "movies of 8 frames, 2048² px of 1.35 Å, 0.7 electrons per pixel and frame, for motion",
            {
                "size": 2048,
                "pixel_size": 1.35,
                "thickness": 1000.0,
                "particles": 60,
                "vesicles": 0,
                "beads": 0,
                "defocus": 25000.0,
                "dose": 0.7 * 8 / 1.35**2,
                "frames": 8,
                "hot_columns": 3,
                "hot_pixels": 40,
                "dead_pixels": 30,
                "motion_start": 4.0,
                "truth_binning": 0.0,
            },
        ),
    }
)
