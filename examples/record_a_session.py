"""Many tilt series at once, by the library: on the simulated microscope, then on a microscope of one's own.

python examples/record_a_session.py [FOLDER]
"""

import sys
from pathlib import Path

from lamella.acquire import AcquireSettings, plan_session, run_session
from lamella.acquire.microscope.port import Picture, Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.plan_record import record_of_plan
from lamella.acquire.session.summary import summarise
from lamella.acquire.simulated_session import simulate_session, simulated_targets
from lamella.acquire.world import load_world
from lamella.report.plots import plot_session_off, plot_session_plan, plot_session_timeline

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")
folder.mkdir(parents=True, exist_ok=True)

# One session on the simulated microscope, and how far its views really were off: what only the simulation knows.
world = load_world("bisect", {"stage.jump_rate": 0.1})
few = {"tilt_range": 30.0, "tilt_step": 6.0}
for predictor in ("bisect", "shared"):
    score = simulate_session(world, seed=1, targets=6, overrides={**few, "predictor": predictor}).score
    print(
        f"{predictor}: {score.targeting_um.median:.3f} µm off the target, {score.minutes_per_series:.1f} min per series"
    )


class MyMicroscope:
    """What a session asks of a microscope is the port, `lamella.acquire.microscope.port.Microscope`: nine verbs.

    This one hands them to a simulated microscope; yours calls the vendor's library. Units are µm, degrees, mrad and
    seconds. A call returns when it is done; what fails for a passing reason raises `PassingFault` and is asked again.
    """

    repeatable = False  # a real microscope: a session that is gone on with does not ask it again what it answered

    def __init__(self, behind: SimulatedMicroscope) -> None:
        self._behind = behind
        self.calibrations, self.limits = behind.calibrations, behind.limits
        self.status, self.ready, self.wait = behind.status, behind.ready, behind.wait
        self.tilt, self.move_stage = behind.tilt, behind.move_stage
        self.shift_image, self.focus, self.tilt_beam = behind.shift_image, behind.focus, behind.tilt_beam
        self.exposures = 0

    def expose(self, preset: str, purpose: Purpose, *, exposure_s: float | None = None) -> Picture:
        """Take a picture."""
        self.exposures += 1
        return self._behind.expose(preset, purpose, exposure_s=exposure_s)


behind = SimulatedMicroscope(world, 2, targets=6)
targets, settings = simulated_targets(behind), AcquireSettings(**few)
microscope = MyMicroscope(behind)

plan = plan_session(microscope.calibrations, microscope.limits, targets, settings)
print(f"planned: {int(plan.reachable.sum())} views in {plan.minutes:.0f} min, {plan.doses.max():.0f} e/Å² at most")
result = run_session(microscope, targets, settings)  # given a folder, it writes its log there, and can be resumed
print(f"{result.counts['finished']} series in {result.minutes:.0f} min, {microscope.exposures} exposures")

session = summarise("mine", result.plan, result.events)
for name, figure in {
    "plan": plot_session_plan(record_of_plan(plan)),
    "off": plot_session_off(session),
    "time": plot_session_timeline(session),
}.items():
    path = folder / f"session-{name}.png"
    figure.savefig(path, facecolor="white")
    print(path)
