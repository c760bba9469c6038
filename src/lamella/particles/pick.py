"""`pick`: particles in a tomogram by a template, or laid over a shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, InputError
from lamella.geometry import angles_from_matrix
from lamella.parallel import part_of
from lamella.particles.exclusion import Exclusion
from lamella.particles.peak_poses import Poses, polish_poses
from lamella.particles.peaks import NoisePeaks, local_maxima, noise_among, noise_peaks, strongest_apart, top_hat
from lamella.particles.pick_hand import FEWEST_PLACES, HandTest, compare_hands
from lamella.particles.pick_settings import PickSettings
from lamella.particles.score_volume import ScoreVolume, search_tomogram
from lamella.particles.search_plan import SearchPlan, plan_search
from lamella.particles.search_state import SearchKeeper
from lamella.particles.template import Template
from lamella.particles.template_weights import Correction, SearchWeights, measure_noise
from lamella.progress import Progress, no_progress
from lamella.records import PARTICLE_DIAMETER, Particles, Tomogram, VolumeSink, VolumeSource
from lamella.runtime import prepare

__all__ = ["CORRECTION", "PickResult", "pick"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

CORRECTION = "lamellaCtfCorrection"
"""Under this name the tomogram's tilt series says how its contrast transfer was corrected."""
APART = 0.5
"""Of the diameter: particles stand no closer."""

_WINDOW = 1.3  # of the diameter: edge of the windows in which noise is measured
_CANDIDATES = 300.0  # peaks of noise that are polished beside the particles
_MOST = 4000
_FINEST_DEG = 1.5  # the last step of polishing for a particle of 270 Å at 30 Å
_HAT_QUANTILE = 0.5
_CORRECTIONS: tuple[Correction, ...] = ("none", "phase-flip", "multiply", "wiener")


@dataclass(frozen=True, kw_only=True)
class PickResult:
    """What was found in one tomogram.

    Attributes
    ----------
    particles
        the best first, with their score (`PickScore`, deviations of noise) and what a template of random phases got
        there (`PickBackground`).
    plan
        how the search was done.
    orientations
        that it went through.
    threshold
        the least score.
    expected_false
        number of particles above it that noise alone would make, by the fit; NaN where too few peaks allowed one.
    peaks
        ``(n,)`` scores of all peaks that were polished, may be particles by their place, and stand apart; the greatest
        first. Those below the threshold were left out.
    noise
        the fit of those that are noise, where there is one.
    hand
        whether the template's mirror image fits better; None where there are too few particles.
    notes
        what its user should know, a sentence each.
    """

    particles: Particles
    plan: SearchPlan
    orientations: int
    threshold: float
    expected_false: float
    peaks: Array
    noise: NoisePeaks | None = None
    hand: HandTest | None = None
    notes: tuple[str, ...] = ()


def pick(
    tomogram: Tomogram,
    volume: VolumeSource,
    template: Template,
    settings: PickSettings,
    score: VolumeSink | None = None,
    *,
    gold_ang: Array | None = None,
    exclusion_mask: VolumeSource | None = None,
    correction: Correction | None = None,
    dose_weighted: bool = True,
    keeper: SearchKeeper | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> PickResult:
    """Find particles by a template.

    Parameters
    ----------
    tomogram, volume
        the record and its measured voxels, mass dark (bright field).
    template
        from `prepare_template`, on the tomogram's voxels.
    settings
        see `PickSettings`.
    score
        takes the score volume, of the tomogram's size.
    gold_ang
        ``(g, 4)`` x, y, z and diameter of gold beads, Å, or ``(g, 3)`` where the diameter is not known.
    exclusion_mask
        of the tomogram's size: nothing is picked where it is positive.
    correction
        of the contrast transfer in the tomogram; None: what the record says, else flipped phases where it is known.
    dose_weighted
        whether the tomogram was weighted by dose.
    keeper
        keeps the search's state, from which one that was stopped goes on.
    device
        ``cpu`` or a torch device.

    Raises
    ------
    ImageError
        if the template has other voxels than the tomogram or is larger than it, or the tomogram is not finite.
    ProjectError
        if the record has no geometry.

    Notes
    -----
    1. The whole tomogram is searched at the detail and in the steps of `plan_search`: whitened in three dimensions by
       its own mean spectrum and band by band by its local deviation; the template weighted by the views' mean transfer.
    2. A template of the same spectrum with random phases is searched for in coarser steps; its score is subtracted.
    3. Peaks are polished in orientation and place at `SearchPlan.resolution_ang`, both templates alike.
    4. The threshold is where `settings.false_positives` peaks of noise are expected (`noise_among`).
    5. The best picks are compared with the template's mirror image (`compare_hands`).
    """
    prepare(torch=True)  # the number of threads decides how transforms round, and numba would change it under way
    _check(tomogram, volume, template)
    plan = plan_search(template, settings)
    weights = _weights(tomogram, volume, template, plan, settings, _correction(tomogram, correction), dose_weighted)
    found = search_tomogram(
        volume, template, weights, plan, settings, keeper=keeper, device=device, progress=part_of(progress, 0, 0.78)
    )
    if score is not None:
        found.write(score, volume.shape, plan.ratio)
    exclusion = _exclusion(tomogram, volume, template, settings, gold_ang, exclusion_mask)
    poses, behind_as, noise = _candidates(found, exclusion, template, plan, settings)
    own, behind = _polished(volume, template, weights, plan, settings, poses, behind_as, part_of(progress, 0.78, 0.96))
    kept = _apart(own, exclusion.allows(_places_ang(own, volume, tomogram)), template)
    threshold, fit = _threshold(own.scores[kept], noise, settings)
    chosen = kept[own.scores[kept] >= threshold][: settings.maximum or None]
    hand = _hand(volume, template, weights, plan, settings, own, chosen, kept, part_of(progress, 0.96, 1.0))
    progress(1.0, "picked")
    return PickResult(
        particles=_record(tomogram, volume, template, own, behind, chosen, threshold), plan=plan,
        orientations=found.orientations, threshold=threshold,
        expected_false=float(fit.expected(threshold)) if fit is not None else math.nan,
        peaks=own.scores[kept], noise=fit, hand=hand,
        notes=(*template.notes, *_notes(fit is not None, chosen, settings)),
    )  # fmt: skip


def _check(tomogram: Tomogram, volume: VolumeSource, template: Template) -> None:
    if abs(template.voxel_size_ang / tomogram.voxel_size_ang - 1) > 1e-3:
        raise ImageError(
            f"a template in voxels of {template.voxel_size_ang:g} Å for a tomogram in {tomogram.voxel_size_ang:g} Å",
            mend="bring it to the tomogram's voxels with prepare_template",
        )
    if tomogram.tilt_series.imaging == "dark":
        raise InputError(
            f"{tomogram.name}: a dark-field tomogram, in which mass is bright",
            mend="invert its contrast first; template matching expects mass to be dark",
        )
    if min(volume.shape) * template.voxel_size_ang < template.diameter_ang:
        raise ImageError(
            f"{tomogram.name}: a template of {template.diameter_ang:.0f} Å is larger than the tomogram "
            f"({' × '.join(f'{n * template.voxel_size_ang:.0f}' for n in volume.shape[::-1])} Å)",
            mend="check the template's voxel size, or reconstruct a thicker tomogram",
        )


def _correction(tomogram: Tomogram, stated: Correction | None) -> Correction:
    series = tomogram.tilt_series
    said = series.other.get(CORRECTION, "")
    known = next((name for name in _CORRECTIONS if name == said), None)
    if stated is not None or known is not None:
        return stated or known or "none"
    return "phase-flip" if series.defocus is not None and series.optics.voltage_kv is not None else "none"


def _weights(
    tomogram: Tomogram,
    volume: VolumeSource,
    template: Template,
    plan: SearchPlan,
    settings: PickSettings,
    correction: Correction,
    dose_weighted: bool,
) -> SearchWeights:
    voxel = template.voxel_size_ang
    edge = 2 * math.ceil(_WINDOW * template.diameter_ang / voxel / 2)
    noise = measure_noise(volume, min(edge, min(volume.shape)), settings.seed) if settings.whiten else None
    return SearchWeights.of(
        tomogram.tilt_series, voxel, template.diameter_ang, noise, highest_px=voxel / plan.resolution_ang,
        correction=correction, dose_weighted=dose_weighted,
    )  # fmt: skip


def _exclusion(
    tomogram: Tomogram,
    volume: VolumeSource,
    template: Template,
    settings: PickSettings,
    gold_ang: Array | None,
    mask: VolumeSource | None,
) -> Exclusion:
    """Where nothing is picked; gold beads whose diameter is not known are points."""
    if gold_ang is not None and gold_ang.shape[1] == 3:
        gold_ang = np.concatenate([gold_ang, np.zeros((len(gold_ang), 1))], axis=1)
    return Exclusion(
        tomogram=tomogram, shape=volume.shape, diameter_ang=template.diameter_ang,
        slab_margin_ang=settings.slab_margin, gold_ang=gold_ang, gold_distance_ang=settings.gold_distance, mask=mask,
    )  # fmt: skip


def _candidates(
    found: ScoreVolume, exclusion: Exclusion, template: Template, plan: SearchPlan, settings: PickSettings
) -> tuple[Poses, Array, float]:
    """Peaks to polish, the background's orientation at each, and how many may be noise (0: not known)."""
    voxel = template.voxel_size_ang * plan.ratio
    places, heights = local_maxima(found.score)
    size = np.array(exclusion.shape[::-1]) // 2
    allowed = exclusion.allows((places[:, ::-1] * plan.ratio - size) * template.voxel_size_ang)
    places, heights = places[allowed], heights[allowed]
    kept = strongest_apart(places.astype(np.float64), heights, APART * template.diameter_ang / voxel)
    places, heights = places[kept], heights[kept]
    noise = noise_peaks(heights)
    if settings.top_hat and len(places):
        hats = top_hat(found.score, places, 2 * plan.search_resolution_ang / voxel)
        narrow = hats >= np.quantile(hats, _HAT_QUANTILE)
    else:
        narrow = np.ones(len(places), dtype=bool)
    least = noise.threshold(_CANDIDATES * max(1.0, settings.false_positives)) if noise is not None else -np.inf
    chosen = np.flatnonzero(narrow & (heights >= least))[:_MOST]
    at = tuple(places[chosen].T)
    starts: Array = places[chosen][:, ::-1].astype(np.float64) * plan.ratio
    poses = Poses(starts, found.matrices[found.which[at]], heights[chosen])
    behind = found.background_matrices
    turned = behind[found.background_which[at]] if len(behind) else np.empty((0, 3, 3))
    return poses, turned, float(noise.expected(least)) if noise is not None else 0.0


def _polished(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    plan: SearchPlan,
    settings: PickSettings,
    poses: Poses,
    background: Array,
    progress: Progress,
) -> tuple[Poses, Array]:
    """Peaks at their best pose, scored against the background there, whose own scores come too (none if not asked)."""
    highest = template.voxel_size_ang / plan.resolution_ang
    finest = _FINEST_DEG * (plan.resolution_ang / 30) * (270 / template.diameter_ang)
    share = 0.5 if len(background) else 1.0
    own = polish_poses(
        volume, template, weights, poses, highest_px=highest, step_deg=plan.step_deg, finest_deg=finest,
        progress=part_of(progress, 0, share),
    )  # fmt: skip
    if not len(background):
        return own, np.zeros(0)
    behind = polish_poses(
        volume, template.with_random_phases(settings.seed), weights, Poses(own.places_px, background, poses.scores),
        highest_px=highest, step_deg=plan.step_deg, finest_deg=finest, progress=part_of(progress, share, 1),
    )  # fmt: skip
    scores: Array = own.scores - (behind.scores - np.median(behind.scores))
    return Poses(own.places_px, own.matrices, scores), behind.scores


def _apart(poses: Poses, allowed: NDArray[np.bool_], template: Template) -> Integers:
    """Numbers of the allowed peaks that stand apart, the greatest first."""
    distance_px = APART * template.diameter_ang / template.voxel_size_ang
    strongest = strongest_apart(poses.places_px[allowed], poses.scores[allowed], distance_px)
    return np.flatnonzero(allowed)[strongest]


def _hand(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    plan: SearchPlan,
    settings: PickSettings,
    poses: Poses,
    chosen: Integers,
    kept: Integers,
    progress: Progress,
) -> HandTest | None:
    """The test of the template's hand by the picks; None where they, and the best peaks, tell nothing of it.

    With too few picks the best peaks are asked: a template of the other hand may find nothing at all.
    """
    enough = len(chosen) >= FEWEST_PLACES
    asked = poses.select(chosen if enough else kept)
    hand = compare_hands(volume, template, weights, plan, settings.symmetry, asked, progress=progress)
    # Peaks of noise tell nothing of a hand.
    return hand if hand is not None and (enough or hand.wrong) else None


def _threshold(scores: Array, noise: float, settings: PickSettings) -> tuple[float, NoisePeaks | None]:
    """The least score, and the fit of the noise among the scores."""
    fit = noise_among(scores, noise, settings.false_positives) if noise else None
    if settings.score != "auto":
        least = float(settings.score)
    elif fit is not None:
        least = fit.threshold(settings.false_positives)
    else:
        least = _gaussian_threshold(len(scores))
    return least, fit


def _gaussian_threshold(peaks: int) -> float:
    """Where too few peaks tell of the noise: the score that a million Gaussian numbers per peak pass once."""
    return math.sqrt(2 * math.log(1e6 * max(peaks, 1)))


def _places_ang(poses: Poses, volume: VolumeSource, tomogram: Tomogram) -> Array:
    places: Array = (poses.places_px - np.array(volume.shape[::-1]) // 2) * tomogram.voxel_size_ang
    return places


def _record(
    tomogram: Tomogram,
    volume: VolumeSource,
    template: Template,
    poses: Poses,
    behind: Array,
    chosen: Integers,
    threshold: float,
) -> Particles:
    some = poses.select(chosen)
    scores = {"PickScore": some.scores}
    if len(behind):
        scores["PickBackground"] = behind[chosen]
    return Particles(
        tomogram=tomogram,
        coordinates_ang=_places_ang(some, volume, tomogram),
        angles_deg=np.stack(angles_from_matrix(some.matrices), axis=-1).reshape(-1, 3),
        scores=scores,
        quality={PARTICLE_DIAMETER: template.diameter_ang, "PickThreshold": threshold},
    )


def _notes(told: bool, chosen: Integers, settings: PickSettings) -> list[str]:
    out = []
    if not told and settings.score == "auto":
        out.append("too few peaks to tell noise by: the threshold is that of Gaussian noise; look at the particles")
    if not len(chosen):
        out.append("no particle stands out of the noise: is the template the right one, and its mass positive?")
    return out
