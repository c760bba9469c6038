"""One function per plot, from a record: for the report, the web page and notebooks alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.report.plots.alignment import plot_axis, plot_shifts, plot_tracks
    from lamella.report.plots.average import (
        plot_directions,
        plot_guinier,
        plot_iterations,
        plot_local_resolution,
        plot_map,
        plot_map_fsc,
    )
    from lamella.report.plots.ctf import (
        plot_ctf_image,
        plot_ctf_pictures,
        plot_ctf_profiles,
        plot_ctf_sheet,
        plot_defocus,
    )
    from lamella.report.plots.intensity import plot_intensity
    from lamella.report.plots.montage import plot_montage, tilt_movie
    from lamella.report.plots.motion import plot_local_motion, plot_motion_lengths, plot_trajectories
    from lamella.report.plots.picks import plot_gallery, plot_pick_scores, plot_picks
    from lamella.report.plots.position import plot_position
    from lamella.report.plots.residuals import (
        plot_residuals,
        plot_scores,
        plot_track_residuals,
        plot_tracks_on_views,
    )
    from lamella.report.plots.session import (
        plot_session_heights,
        plot_session_map,
        plot_session_off,
        plot_session_prediction,
    )
    from lamella.report.plots.session_plan import plot_session_plan
    from lamella.report.plots.session_stage import (
        plot_session_drift,
        plot_session_focus,
        plot_session_settling,
        plot_session_tracking,
    )
    from lamella.report.plots.session_time import plot_session_dose, plot_session_time, plot_session_timeline
    from lamella.report.plots.slice_movie import SliceMovie, slice_movie
    from lamella.report.plots.slices import plot_heights, plot_slices
    from lamella.report.plots.spectra import plot_power, plot_power_images, plot_shell_correlation
    from lamella.report.plots.support import plot_support
    from lamella.report.plots.timings import plot_timings
    from lamella.report.plots.tomogram import plot_half_fsc, plot_held_out
    from lamella.report.plots.training import plot_training

__all__ = [
    "SliceMovie",
    "plot_axis",
    "plot_ctf_image",
    "plot_ctf_pictures",
    "plot_ctf_profiles",
    "plot_ctf_sheet",
    "plot_defocus",
    "plot_directions",
    "plot_gallery",
    "plot_guinier",
    "plot_half_fsc",
    "plot_heights",
    "plot_held_out",
    "plot_intensity",
    "plot_iterations",
    "plot_local_motion",
    "plot_local_resolution",
    "plot_map",
    "plot_map_fsc",
    "plot_montage",
    "plot_motion_lengths",
    "plot_pick_scores",
    "plot_picks",
    "plot_position",
    "plot_power",
    "plot_power_images",
    "plot_residuals",
    "plot_scores",
    "plot_session_dose",
    "plot_session_drift",
    "plot_session_focus",
    "plot_session_heights",
    "plot_session_map",
    "plot_session_off",
    "plot_session_plan",
    "plot_session_prediction",
    "plot_session_settling",
    "plot_session_time",
    "plot_session_timeline",
    "plot_session_tracking",
    "plot_shell_correlation",
    "plot_shifts",
    "plot_slices",
    "plot_support",
    "plot_timings",
    "plot_track_residuals",
    "plot_tracks",
    "plot_tracks_on_views",
    "plot_training",
    "plot_trajectories",
    "slice_movie",
    "tilt_movie",
]

open_room(
    __name__,
    {
        "SliceMovie": "slice_movie",
        "plot_axis": "alignment",
        "plot_ctf_image": "ctf",
        "plot_ctf_pictures": "ctf",
        "plot_ctf_profiles": "ctf",
        "plot_ctf_sheet": "ctf",
        "plot_defocus": "ctf",
        "plot_directions": "average",
        "plot_gallery": "picks",
        "plot_guinier": "average",
        "plot_half_fsc": "tomogram",
        "plot_heights": "slices",
        "plot_held_out": "tomogram",
        "plot_intensity": "intensity",
        "plot_iterations": "average",
        "plot_local_motion": "motion",
        "plot_local_resolution": "average",
        "plot_map": "average",
        "plot_map_fsc": "average",
        "plot_montage": "montage",
        "plot_motion_lengths": "motion",
        "plot_pick_scores": "picks",
        "plot_picks": "picks",
        "plot_position": "position",
        "plot_power": "spectra",
        "plot_power_images": "spectra",
        "plot_residuals": "residuals",
        "plot_scores": "residuals",
        "plot_session_dose": "session_time",
        "plot_session_drift": "session_stage",
        "plot_session_focus": "session_stage",
        "plot_session_heights": "session",
        "plot_session_map": "session",
        "plot_session_off": "session",
        "plot_session_plan": "session_plan",
        "plot_session_prediction": "session",
        "plot_session_settling": "session_stage",
        "plot_session_time": "session_time",
        "plot_session_timeline": "session_time",
        "plot_session_tracking": "session_stage",
        "plot_shell_correlation": "spectra",
        "plot_shifts": "alignment",
        "plot_slices": "slices",
        "plot_support": "support",
        "plot_timings": "timings",
        "plot_track_residuals": "residuals",
        "plot_tracks": "alignment",
        "plot_tracks_on_views": "residuals",
        "plot_training": "training",
        "plot_trajectories": "motion",
        "slice_movie": "slice_movie",
        "tilt_movie": "montage",
    },
)
