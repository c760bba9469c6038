"""The line of steps, in the order in which `lamella run` does them.

A step is a name, a settings class and ``run(record, settings, context) -> record``. Both are named by their import
path and loaded when they are needed, so that listing the steps costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamella.errors import InputError

if TYPE_CHECKING:
    from lamella.settings import StepSettings

__all__ = ["ASIDE", "LINE", "RecordKind", "Step", "all_steps", "find_step"]

RecordKind = Literal["series", "tomograms", "particles"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the line.

    Attributes
    ----------
    name
        of the step, its folder, its table in ``lamella.toml`` and its command.
    summary
        one sentence: what it does.
    settings_path, run_path
        ``module:name`` of the settings class and of ``run(record, settings, context) -> record``.
    inputs_path
        the same of ``inputs(record, settings, root) -> list[Path]``, where settings name files that the result depends
        on; else empty.
    settle_path
        the same of ``settle(records, settings) -> settings``, where a choice that settings leave open is made for all
        records at once; else empty. The work, and whether it is done, go by the settled ones.
    takes, gives
        the kind of record that goes in and comes out: tilt series, tomograms or particles.
    whole
        whether it works on the particles of all tomograms at once (`ParticleSet`) instead of series by series.
    reads
        the step whose record it starts from by default, where that is not the last before it that gives what it takes.
    version
        counted up whenever the same input and settings would give another result: results of an older version are
        made again.
    """

    name: str
    summary: str
    settings_path: str
    run_path: str
    inputs_path: str = ""
    settle_path: str = ""
    takes: RecordKind = "series"
    gives: RecordKind = "series"
    whole: bool = False
    reads: str = ""
    version: int = 1

    def settings_class(self) -> type[StepSettings]:
        """The class of this step's settings (light to import)."""
        return _load(self.settings_path)  # type: ignore[no-any-return]

    def inputs(self, record: Any, settings: StepSettings, root: Path) -> list[Path]:
        """Files that the settings name and the result depends on."""
        return _load(self.inputs_path)(record, settings, root) if self.inputs_path else []

    def settle(self, records: Sequence[Any], settings: StepSettings) -> StepSettings:
        """The settings, with what they leave open chosen for all records alike."""
        return _load(self.settle_path)(records, settings) if self.settle_path else settings

    def load_run(self) -> Callable[[Any, Any, Any], Any]:
        """The step's function; with it comes what it computes with."""
        return _load(self.run_path)  # type: ignore[no-any-return]


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


LINE: tuple[Step, ...] = (
    Step(
        name="motion",
        summary="movies to tilt images; stacks pass through",
        settings_path="lamella.movies.motion_settings:MotionSettings",
        run_path="lamella.workflow.steps.motion:run",
        inputs_path="lamella.workflow.steps.motion_files:inputs",
        version=2,
    ),
    Step(
        name="clean",
        summary="leave out dark and bad views, erase X-rays and hot pixels",
        settings_path="lamella.tilts.clean_settings:CleanSettings",
        run_path="lamella.workflow.steps.clean:run",
        version=2,
    ),
    Step(
        name="align",
        summary="find shifts, tilt axis, angles and level of every view",
        settings_path="lamella.tilts.align_settings:AlignSettings",
        run_path="lamella.workflow.steps.align:run",
        version=2,
    ),
    Step(
        name="ctf",
        summary="defocus and astigmatism of every view, and the hand of the series",
        settings_path="lamella.tilts.ctf_settings:CtfSettings",
        run_path="lamella.workflow.steps.ctf:run",
    ),
    Step(
        name="reconstruct",
        summary="tomograms, whole and in two halves, from the aligned views",
        settings_path="lamella.tomograms.reconstruct_settings:ReconstructSettings",
        run_path="lamella.workflow.steps.reconstruct:run",
        inputs_path="lamella.workflow.steps.reconstruct_mask:inputs",
        gives="tomograms",
        version=3,
    ),
    Step(
        name="denoise",
        summary="take noise out of the tomograms",
        settings_path="lamella.tomograms.denoise_settings:DenoiseSettings",
        run_path="lamella.workflow.steps.denoise:run",
        inputs_path="lamella.workflow.steps.denoise_files:inputs",
        takes="tomograms",
        gives="tomograms",
        version=2,
    ),
    Step(
        name="pick",
        summary="find particles in the tomograms",
        settings_path="lamella.particles.pick_settings:PickSettings",
        run_path="lamella.workflow.steps.pick:run",
        inputs_path="lamella.workflow.steps.particle_inputs:pick_inputs",
        takes="tomograms",
        gives="particles",
        reads="reconstruct",
    ),
    Step(
        name="extract",
        summary="cut the particles out of the tilt images",
        settings_path="lamella.particles.extract_settings:ExtractSettings",
        run_path="lamella.workflow.steps.extract:run",
        inputs_path="lamella.workflow.steps.particle_inputs:extract_inputs",
        settle_path="lamella.workflow.steps.extract_box:settle",
        takes="particles",
        gives="particles",
    ),
    Step(
        name="initial-model",
        summary="a first map from particles of unknown orientation",
        settings_path="lamella.particles.model_settings:ModelSettings",
        run_path="lamella.workflow.steps.initial_model:run",
        takes="particles",
        gives="particles",
        whole=True,
    ),
    Step(
        name="refine",
        summary="orientations and places of the particles, and their average in two half sets",
        settings_path="lamella.particles.refine_settings:RefineSettings",
        run_path="lamella.workflow.steps.refine:run",
        inputs_path="lamella.workflow.steps.particle_inputs:refine_inputs",
        takes="particles",
        gives="particles",
        whole=True,
    ),
    Step(
        name="classify",
        summary="sort the particles by the maps that they make",
        settings_path="lamella.particles.classify_settings:ClassifySettings",
        run_path="lamella.workflow.steps.classify:run",
        inputs_path="lamella.workflow.steps.particle_inputs:classify_inputs",
        takes="particles",
        gives="particles",
        whole=True,
        version=2,
    ),
    Step(
        name="postprocess",
        summary="mask, sharpen and judge the average",
        settings_path="lamella.particles.postprocess_settings:PostprocessSettings",
        run_path="lamella.workflow.steps.postprocess:run",
        inputs_path="lamella.workflow.steps.particle_inputs:postprocess_inputs",
        takes="particles",
        gives="particles",
        whole=True,
    ),
)
"""The steps of `lamella run`, in order."""

ASIDE: tuple[Step, ...] = (
    Step(
        name="average",
        summary="the average of particles as they are turned and placed",
        settings_path="lamella.particles.average_settings:AverageSettings",
        run_path="lamella.workflow.steps.average:run",
        takes="particles",
        gives="particles",
        whole=True,
    ),
)
"""Steps that are only done by their name."""


def all_steps() -> tuple[Step, ...]:
    """The steps of the line, then those that are only done by their name."""
    return (*LINE, *ASIDE)


def find_step(name: str, line: tuple[Step, ...] | None = None) -> Step:
    """The step of that name.

    Raises
    ------
    InputError
        if there is none; the nearest name is offered.
    """
    line = all_steps() if line is None else line
    for step in line:
        if step.name == name:
            return step
    names = [step.name for step in line]
    near = get_close_matches(name, names, n=1)
    raise InputError(
        f"there is no step {name!r}", mend=f"did you mean {near[0]}?" if near else f"the steps are {', '.join(names)}"
    )
