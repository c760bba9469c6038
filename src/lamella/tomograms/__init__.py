"""From aligned tilt images to volumes: reconstruct, denoise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.tomograms.combine import CombineResult, Volumes, combine
    from lamella.tomograms.combine_settings import CombineSettings
    from lamella.tomograms.deconvolve import RadialTransfer, deconvolve
    from lamella.tomograms.denoise import DenoiseResult, denoise
    from lamella.tomograms.denoise_settings import DenoiseSettings
    from lamella.tomograms.gold import GoldPlan, plan_gold
    from lamella.tomograms.gold_find import GoldBeads, find_gold
    from lamella.tomograms.level import LevelResult, level
    from lamella.tomograms.level_settings import LevelSettings
    from lamella.tomograms.networks.training import train
    from lamella.tomograms.position import SpecimenPosition, measure_position
    from lamella.tomograms.quality import TomogramQuality, tomogram_quality
    from lamella.tomograms.reconstruct import ReconstructResult, half_sets, plan_tomogram, reconstruct
    from lamella.tomograms.reconstruct_settings import ReconstructSettings
    from lamella.tomograms.support import Halves, SupportResult, measure_support
    from lamella.tomograms.support_views import other_half_views, view_correlations

__all__ = [
    "CombineResult",
    "CombineSettings",
    "DenoiseResult",
    "DenoiseSettings",
    "GoldBeads",
    "GoldPlan",
    "Halves",
    "LevelResult",
    "LevelSettings",
    "RadialTransfer",
    "ReconstructResult",
    "ReconstructSettings",
    "SpecimenPosition",
    "SupportResult",
    "TomogramQuality",
    "Volumes",
    "combine",
    "deconvolve",
    "denoise",
    "find_gold",
    "half_sets",
    "level",
    "measure_position",
    "measure_support",
    "other_half_views",
    "plan_gold",
    "plan_tomogram",
    "reconstruct",
    "tomogram_quality",
    "train",
    "view_correlations",
]

open_room(
    __name__,
    {
        "CombineResult": "combine",
        "CombineSettings": "combine_settings",
        "DenoiseResult": "denoise",
        "DenoiseSettings": "denoise_settings",
        "GoldBeads": "gold_find",
        "GoldPlan": "gold",
        "Halves": "support",
        "LevelResult": "level",
        "LevelSettings": "level_settings",
        "RadialTransfer": "deconvolve",
        "ReconstructResult": "reconstruct",
        "ReconstructSettings": "reconstruct_settings",
        "SupportResult": "support",
        "SpecimenPosition": "position",
        "TomogramQuality": "quality",
        "Volumes": "combine",
        "combine": "combine",
        "deconvolve": "deconvolve",
        "denoise": "denoise",
        "find_gold": "gold_find",
        "half_sets": "reconstruct",
        "measure_support": "support",
        "level": "level",
        "measure_position": "position",
        "other_half_views": "support_views",
        "plan_gold": "gold",
        "plan_tomogram": "reconstruct",
        "reconstruct": "reconstruct",
        "tomogram_quality": "quality",
        "train": "networks.training",
        "view_correlations": "support_views",
    },
)
