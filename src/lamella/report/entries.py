"""What the report is made from: one entry per series, one row per run of a step, and further sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.records import CtfProfiles, ImageSource, MovieMotion, TiltSeries, Tomogram, VolumeSource
from lamella.records.half_fsc import HalfFsc
from lamella.records.tracks import Tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunRow", "Section", "SeriesReport"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesReport:
    """Everything that is known of one series; None where a step has not run.

    Attributes
    ----------
    raw, raw_images
        the imported record and its pictures.
    record
        that a combined tomogram is of, such as ``combine.LABEL``; empty for a series that was recorded.
    moved, moved_images, motions
        the record of the sums of its movies, their pictures, and the motion of each movie; None where it was a stack.
    cleaned
        the record after bad views were taken out.
    excluded, excluded_reasons
        the views that were taken out, and one sentence for each.
    aligned, aligned_images
        the record with geometry, and the pictures in its order.
    tracks
        what the alignment followed through the views of `aligned`.
    defocused, ctf_profiles, ctf_passed_on
        the record with defocus, how its views' rings compare with it, and why there is none where `ctf` passed it on.
    ctf_excluded, ctf_excluded_reasons
        the views that `ctf` left out, and one sentence for each.
    tomogram, volume, denoised, support
        the reconstruction's record, its voxels, the same after denoising, and where the data support that.
    tomogram_numbers
        what `reconstruct` and `denoise` measured, by name.
    half_fsc, held_out_errors
        agreement of the halves, and the error of held-out views by round.
    unsupported
        places whose structure the data do not show: x, y, z from the centre voxel and diameter, Å; the strongest first.
    denoise_said
        sentences of `denoise`.
    notes
        what the import assumed, dropped or warns of; sentences.
    """

    raw: TiltSeries
    record: str = ""
    raw_images: ImageSource | None = None
    moved: TiltSeries | None = None
    moved_images: ImageSource | None = None
    motions: tuple[MovieMotion, ...] | None = None
    cleaned: TiltSeries | None = None
    excluded: TiltSeries | None = None
    excluded_reasons: tuple[str, ...] = ()
    aligned: TiltSeries | None = None
    aligned_images: ImageSource | None = None
    tracks: Tracks | None = None
    defocused: TiltSeries | None = None
    ctf_profiles: CtfProfiles | None = None
    ctf_passed_on: str = ""
    ctf_excluded: TiltSeries | None = None
    ctf_excluded_reasons: tuple[str, ...] = ()
    tomogram: Tomogram | None = None
    volume: VolumeSource | None = None
    denoised: VolumeSource | None = None
    support: VolumeSource | None = None
    tomogram_numbers: Mapping[str, float] = field(default_factory=dict)
    half_fsc: HalfFsc | None = None
    held_out_errors: tuple[float, ...] = ()
    unsupported: tuple[tuple[float, float, float, float], ...] = ()
    denoise_said: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The series' name."""
        return self.raw.name

    @property
    def title(self) -> str:
        """What it is headed by: the name, and the record where that is labelled."""
        return f"{self.name} ({self.record})" if "." in self.record else self.name

    @property
    def excluded_count(self) -> int:
        """How many views were taken out, by whatever step."""
        return sum(len(part) for part in (self.excluded, self.ctf_excluded) if part is not None)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRow:
    """One run of one step on one series.

    Attributes
    ----------
    step, label
        the step's name, and the label that it ran under.
    series
        name of the series; empty where the run concerned all.
    seconds, peak_bytes
        wall-clock time and the largest memory held; None where unknown.
    status
        ``done``, ``skipped``, ``failed``, …
    message
        what the step had to say.
    quality
        numbers by name.
    """

    step: str
    label: str = ""
    series: str = ""
    seconds: float | None = None
    peak_bytes: int | None = None
    status: str = "done"
    message: str = ""
    quality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A further section of the page: a sentence, numbers by name, pictures with their captions."""

    title: str
    text: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[tuple[str, Figure], ...] = ()
