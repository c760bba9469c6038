"""Recording tilt series of many targets at once by beam-image shift, on a real or a simulated microscope.

Frames
------
One frame of places is used, in µm, the *stage frame*: x across the tilt axis, y along it, z along the beam at a tilt of
0°; its origin is the point of the tilt axis in the middle of the beam. A place ``(x, y, z)`` of the specimen is after a
tilt by θ at ``(x cosθ + z sinθ, y, z cosθ − x sinθ)``: `geometry`'s ``Ry``. What an image shows of it is turned by the
tilt axis's angle (`geometry`'s ``Rz``) and scaled. An image shift ``s`` brings the point ``s`` of the plane across the
beam into the image's middle. Lens settings and defoci are in µm, positive is underfocus; a point's defocus is the
lens's plus ``hand · z`` of the tilted place (`geometry`'s handedness).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.acquire.acquire_settings import AcquireSettings
    from lamella.acquire.comparing import AlignedSeries, Displacement, measure_shift
    from lamella.acquire.grid_plane import GridPlane, fit_plane
    from lamella.acquire.plan import Plan, plan_session
    from lamella.acquire.session.result import SessionResult
    from lamella.acquire.session.run import SessionHead, read_head, replay_session, resume_session, run_session
    from lamella.acquire.targets import Target, grid_targets, read_targets, write_targets

__all__ = [
    "AcquireSettings",
    "AlignedSeries",
    "Displacement",
    "GridPlane",
    "Plan",
    "SessionHead",
    "SessionResult",
    "Target",
    "fit_plane",
    "grid_targets",
    "measure_shift",
    "plan_session",
    "read_head",
    "read_targets",
    "replay_session",
    "resume_session",
    "run_session",
    "write_targets",
]

open_room(
    __name__,
    {
        "AcquireSettings": "acquire_settings",
        "AlignedSeries": "comparing",
        "Displacement": "comparing",
        "GridPlane": "grid_plane",
        "Plan": "plan",
        "SessionHead": "session.run",
        "SessionResult": "session.result",
        "Target": "targets",
        "fit_plane": "grid_plane",
        "grid_targets": "targets",
        "measure_shift": "comparing",
        "plan_session": "plan",
        "read_head": "session.run",
        "read_targets": "targets",
        "replay_session": "session.run",
        "resume_session": "session.run",
        "run_session": "session.run",
        "write_targets": "targets",
    },
)
