"""`postprocess`: the average masked, sharpened and judged, and its copies in the tomograms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lamella.particles as particles
from lamella.errors import ImageError, InputError, SettingsError
from lamella.formats.map_fsc import write_map_fsc
from lamella.formats.map_tables import write_directional, write_guinier
from lamella.formats.mrc import open_mrc
from lamella.formats.mtf import read_mtf
from lamella.particles.postprocess import Mtf, Postprocessed
from lamella.particles.postprocess_settings import PostprocessSettings
from lamella.records import Particles, ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.particle_inputs import file_of

__all__ = ["needs", "run"]

Volume = NDArray[np.float32]

_MAP, _FSC, _MASK = "map.mrc", "fsc.star", "mask.mrc"
_JUDGED = 0.8  # of the time goes to the map, the rest to its copies
_ALIKE = 0.01  # voxel sizes that differ by a smaller part are one
_VOLUMES = 20  # of the box, that are held at once


def needs(record: ParticleSet, settings: PostprocessSettings) -> Needs:
    """Room for the maps and for one volume of copies per tomogram."""
    box = 0 if record.map is None else record.map.box_px
    voxels = 3.0 * box**3 + 2.0 * box**3 * settings.local_resolution
    if settings.place_copies:
        voxels += sum(float(np.prod(member.tomogram.shape)) for member in record.members if len(member))
    return Needs(disk=4 * voxels, memory=4.0 * _VOLUMES * box**3)


def run(record: ParticleSet, settings: PostprocessSettings, context: Context) -> ParticleSet:
    """Mask, sharpen and judge the average of a record's particles from its half maps.

    Raises
    ------
    InputError
        if there is no average, it has no half maps, or a file is gone or does not fit.
    """
    average = record.map
    if average is None:
        raise InputError("there is no average to postprocess", mend="run refine or average first")
    half1, half2 = (_volume(context.root / name, average.voxel_size_ang, "half map") for name in average.halves)
    mask = _volume(file_of(settings.mask, context.root), average.voxel_size_ang, "mask") if settings.mask else None
    made = particles.postprocess(
        half1,
        half2,
        average.voxel_size_ang,
        settings,
        symmetry=average.symmetry,
        mask=mask,
        mtf=_mtf(record, settings, context.root),
        progress=context.part("postprocess", (0.0, _JUDGED if settings.place_copies else 1.0)),
    )
    _write(made, average.voxel_size_ang, context)
    numbers = _numbers(made)
    context.measure(MapResolutionAngst=made.resolution_ang, **numbers)
    _tell(made, context)
    if settings.place_copies:
        _place(record, made.masked, average.voxel_size_ang, context)
    found = replace(
        average,
        volume=context.name(context.folder / _MAP),
        fsc=context.name(context.folder / _FSC),
        mask=context.name(context.folder / _MASK),
        resolution_ang=made.resolution_ang,
        quality={**average.quality, **numbers},
    )
    return replace(record, map=found)


def _volume(path: Path, voxel_size_ang: float, what: str) -> Volume:
    """A map of the average's own voxels.

    Raises
    ------
    InputError
        if it is gone or its header states other voxels.
    """
    if not path.is_file():
        raise InputError(f"the {what} {path} is not there", mend="run the step before again, or mend the setting")
    file = open_mrc(path)
    stated = file.pixel_size_ang
    if stated is not None and abs(stated / voxel_size_ang - 1) > _ALIKE:
        raise ImageError(
            f"the {what} {path} has voxels of {stated:g} Å, the average of {voxel_size_ang:g} Å",
            mend=f"bring it to the average's with `lamella convert --pixel-size {voxel_size_ang:g} --box N`",
        )
    return file.read()


def _mtf(record: ParticleSet, settings: PostprocessSettings, root: Path) -> Mtf | None:
    """The detector's transfer, with the pixel size that it is for.

    Raises
    ------
    SettingsError
        if the movies differ in pixel size and none was stated.
    """
    if not settings.mtf:
        return None
    frequency, value = read_mtf(file_of(settings.mtf, root))
    pixel = settings.mtf_pixel_size
    if isinstance(pixel, str):
        series = [member.tilt_series for member in record.members]
        sizes = {round(one.original_pixel_size_ang or one.pixel_size_ang, 4) for one in series}
        if len(sizes) != 1:
            raise SettingsError(
                f"the movies' pixels are of {', '.join(f'{size:g}' for size in sorted(sizes))} Å, the MTF is for one",
                mend="state postprocess.mtf_pixel_size",
            )
        pixel = sizes.pop()
    return Mtf(frequency=frequency, value=value, pixel_size_ang=pixel)


def _write(made: Postprocessed, voxel_size_ang: float, context: Context) -> None:
    """Write every map and table."""
    volumes = {_MAP: made.masked, "map_unmasked.mrc": made.sharpened, _MASK: made.mask}
    if made.local is not None and made.local_map is not None:
        volumes |= {"local_resolution.mrc": made.local.resolution_ang, "map_local.mrc": made.local_map}
    for name, volume in volumes.items():
        depth, height, width = volume.shape
        with context.new_mrc(name, (depth, height, width), voxel_size_ang) as write:
            write(0, 0, 0, volume)
    with context.new_file(_FSC) as path:
        write_map_fsc(path, made.fsc)
    with context.new_file("guinier.star") as path:
        _write_guinier(path, made)
    if made.directional is not None:
        with context.new_file("directional.star") as path:
            write_directional(path, made.directional.rot_tilt_deg, made.directional.resolution_ang)


def _write_guinier(path: Path, made: Postprocessed) -> None:
    plot = made.guinier
    columns = {
        "rlnResolutionSquared": plot.inverse_square,
        "rlnLogAmplitudesOriginal": plot.amplitude,
        "rlnLogAmplitudesWeighted": plot.weighted,
        "lamellaLogAmplitudesExpected": plot.expected,
        "lamellaGuinierUsed": plot.used.astype(np.float64),
    }
    line = {"rlnFinalResolution": made.resolution_ang, "rlnBfactorUsedForSharpening": made.b_factor_ang2}
    if plot.b_factor_ang2 is not None and plot.intercept is not None and plot.correlation is not None:
        line |= {
            "rlnFittedSlopeGuinierPlot": plot.b_factor_ang2 / 4,
            "rlnFittedInterceptGuinierPlot": plot.intercept,
            "lamellaBfactorError": plot.b_factor_error_ang2 or 0.0,
            "rlnCorrelationFitGuinierPlot": plot.correlation,
        }
    write_guinier(path, columns, line)


def _numbers(made: Postprocessed) -> dict[str, float]:
    """Quality numbers of the map, by the name of their column without ``lamella``."""
    numbers = {
        "FirstCrossingAngst": made.fsc.first_crossing_ang() or made.fsc.finest_ang,
        "UnmaskedResolutionAngst": made.unmasked_resolution_ang,
        "BFactor": made.b_factor_ang2,
        "MaskFraction": float(made.mask.mean()),
    }
    if made.guinier.b_factor_error_ang2 is not None:
        numbers["BFactorError"] = made.guinier.b_factor_error_ang2
    if made.found_mask is not None:
        numbers |= {"MaskThreshold": made.found_mask.threshold, "MaskNoise": made.found_mask.noise}
    if made.local is not None:
        low, high = made.local.percentiles_ang
        numbers |= {
            "LocalResolutionMedianAngst": made.local.median_ang,
            "LocalResolutionBestAngst": low,
            "LocalResolutionWorstAngst": high,
        }
    if made.directional is not None:
        numbers |= {
            "Sphericity": made.directional.sphericity,
            "BestDirectionAngst": float(made.directional.resolution_ang.min()),
            "WorstDirectionAngst": float(made.directional.resolution_ang.max()),
        }
    return numbers


def _tell(made: Postprocessed, context: Context) -> None:
    context.say(
        f"{made.resolution_ang:.2f} Å at a corrected correlation of 0.143 ({made.unmasked_resolution_ang:.2f} Å "
        f"without a mask), {_sharpening(made)}"
    )
    if made.local is not None:
        low, high = made.local.percentiles_ang
        context.say(
            f"local resolution {low:.1f} to {high:.1f} Å (5 % to 95 %), half of it below {made.local.median_ang:.1f} Å"
        )
    if made.directional is not None:
        best, worst = made.directional.resolution_ang.min(), made.directional.resolution_ang.max()
        context.say(f"by direction {best:.1f} to {worst:.1f} Å, sphericity {made.directional.sphericity:.2f}")
    for text in made.messages:
        context.say(text)


def _sharpening(made: Postprocessed) -> str:
    """What was done to the amplitudes."""
    line, used = made.guinier, made.b_factor_ang2
    if used == 0 or used != line.b_factor_ang2 or line.b_factor_error_ang2 is None:
        return f"B-factor {used:.0f} Å²"
    against = "a particle's amplitudes" if line.expected.any() else "a flat spectrum"
    return f"B-factor {used:.0f} ± {line.b_factor_error_ang2:.0f} Å² against {against} from {line.from_ang:g} Å on"


def _place(record: ParticleSet, reference: Volume, voxel_size_ang: float, context: Context) -> None:
    """Write ``NAME_placed.mrc`` for every tomogram with particles, where its own volume lies."""
    holding = [member for member in record.members if len(member)]
    for number, member in enumerate(holding):
        shape, voxel = member.tomogram.shape, member.tomogram.voxel_size_ang
        inside = _inside(member)
        if not inside.any():
            context.say(f"{member.name}: no particle lies in the tomogram, so no copy is placed")
            continue
        share = (1 - _JUDGED) / len(holding)
        begin = _JUDGED + share * number
        with context.new_mrc(
            f"{member.name}_placed.mrc", shape, voxel, origin_ang=_origin(member, context.root)
        ) as write:
            particles.place_copies(
                reference,
                voxel_size_ang,
                member.matrices(),
                member.positions_ang(),
                shape,
                voxel,
                write,
                context.part(f"copies in {member.name}", (begin, begin + share)),
            )
        if not inside.all():
            context.say(f"{member.name}: {int((~inside).sum())} particles lie outside the tomogram")


def _inside(member: Particles) -> NDArray[np.bool_]:
    """Particles whose place lies in the tomogram."""
    half = np.array(member.tomogram.shape[::-1]) * member.tomogram.voxel_size_ang / 2
    return np.asarray((np.abs(member.positions_ang()) <= half).all(axis=1))


def _origin(member: Particles, root: Path) -> tuple[float, float, float]:
    """Where viewers put the tomogram's first voxel: as its own file says; 0 without one."""
    name = member.tomogram.volume
    if name is None or not (root / name).is_file() or Path(name).suffix not in (".mrc", ".rec", ".map"):
        return 0.0, 0.0, 0.0
    return open_mrc(root / name).header.origin_ang
