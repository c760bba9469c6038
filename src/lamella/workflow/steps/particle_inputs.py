"""Files that the settings of steps on particles name. Light to import: planning a run must not load what computes."""

from __future__ import annotations

from pathlib import Path

from lamella.formats.images import split_name
from lamella.particles.classify_settings import ClassifySettings
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.pick_settings import PickSettings
from lamella.particles.postprocess_settings import PostprocessSettings
from lamella.particles.refine_settings import RefineSettings
from lamella.records import Particles, ParticleSet, Tomogram

__all__ = [
    "classify_inputs",
    "extract_inputs",
    "file_of",
    "pick_inputs",
    "postprocess_inputs",
    "refine_inputs",
]

RAW_TABLE = "raw.star"


def file_of(name: str, root: Path) -> Path:
    """A file that a setting names; a relative name starts from the project's folder."""
    return root / Path(name).expanduser()


def pick_inputs(record: Tomogram, settings: PickSettings, root: Path) -> list[Path]:
    """Template, mask, coordinates and this tomogram's exclusion mask."""
    by_template = settings.method == "template"
    names = (settings.template, settings.mask) if by_template else (settings.coordinates,)
    found = _named(names, root)
    if settings.exclusion_mask:
        found.append(file_of(settings.exclusion_mask, root) / f"{record.name}.mrc")
    if record.gold is not None:
        found.append(root / record.gold)
    # a folder of points, as copick has it, is known by its files
    return [path for entry in found for path in (sorted(entry.rglob("*.json")) if entry.is_dir() else [entry])]


def extract_inputs(record: Particles, settings: ExtractSettings, root: Path) -> list[Path]:
    """The tilt images, whatever was cut out of them before, and what the half sets go by."""
    names = dict.fromkeys(split_name(name)[1] for name in record.tilt_series.images or ())
    found = [root / name for name in names]
    if record.tomogram.gold is not None and settings.gold_distance:
        found.append(root / record.tomogram.gold)
    if settings.half_sets == "tomograms":
        found.append(root / RAW_TABLE)
    return found


def refine_inputs(record: ParticleSet, settings: RefineSettings, root: Path) -> list[Path]:
    """The first reference and the solvent's mask."""
    return _named((settings.reference, settings.mask), root)


def classify_inputs(record: ParticleSet, settings: ClassifySettings, root: Path) -> list[Path]:
    """The mask of what may differ."""
    return _named((settings.mask,), root)


def postprocess_inputs(record: ParticleSet, settings: PostprocessSettings, root: Path) -> list[Path]:
    """The mask and the detector's modulation transfer."""
    return _named((settings.mask, settings.mtf), root)


def _named(names: tuple[str, ...], root: Path) -> list[Path]:
    return [file_of(name, root) for name in names if name]
