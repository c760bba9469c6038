"""The pictures' sizes that all tomograms of an extraction share, chosen before any of them is begun."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.particles.extract_settings import ExtractSettings
from lamella.records import Particles

__all__ = ["settle"]


def settle(records: Sequence[Particles], settings: ExtractSettings) -> ExtractSettings:
    """Settings in which diameter, box and crop_from are numbers, so that each tomogram's pictures are alike.

    Raises
    ------
    SettingsError
        if the diameter is not known, or the tilt series differ in pixel size.
    """
    holding = [record for record in records if len(record)]
    if not holding:
        return settings
    # torch comes with them: only where there is something to settle
    from lamella.particles.extract import particle_diameter_ang
    from lamella.particles.extract_box import choose_box

    diameter = max(particle_diameter_ang(record, settings) for record in holding)
    box = choose_box([record.tilt_series for record in holding], settings, diameter)
    found = {"diameter": diameter, "box": box.box_px, "crop_from": box.crop_from_px}
    return settings.model_copy(update=found)
