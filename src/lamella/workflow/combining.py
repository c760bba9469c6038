"""`lamella combine`: the tomograms of two tilt axes of one specimen become one, in a record of its own.

It is no step, since it looks at two series at once. The record keeps which two and the settings, so that it is made
again where the tomograms that it was made from have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella import __version__
from lamella.errors import InputError, LamellaError, ProjectError
from lamella.formats.images import open_volume
from lamella.progress import Progress, no_progress
from lamella.records import TiltSeries, Tomogram
from lamella.settings import setting
from lamella.tomograms.combine_settings import CombineSettings
from lamella.workflow.completion import Completion
from lamella.workflow.context import Context
from lamella.workflow.derived_task import completions_of, do_task, inputs_of, write_parts
from lamella.workflow.digests import FileDigests, digest
from lamella.workflow.ledger import Ledger
from lamella.workflow.plan import ancestors
from lamella.workflow.project import Project
from lamella.workflow.record_name import COMBINE, RecordName, check_file_name
from lamella.workflow.steps import Step
from lamella.workflow.steps.reconstruct_gold import read_gold
from lamella.workflow.steps.reconstruct_position import tell_position
from lamella.workflow.steps.tomogram_quality import measure_quality
from lamella.workflow.tables import has_tables, read_record, tomogram_of
from lamella.workflow.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lamella.tomograms.combine import CombineResult, Volumes

__all__ = ["Combination", "PairSettings", "combine_series", "is_outdated", "make_again"]

_VERSION = 1
_PARTS = {"whole": ("volume", ""), "even": ("even_volume", "_even"), "odd": ("odd_volume", "_odd")}


class PairSettings(CombineSettings):
    """The settings of a combination, and what it is of."""

    first: str = setting("", "the series that was recorded first, whose frame and box are kept")
    second: str = setting("", "the series that was recorded with the specimen turned")
    name: str = setting("", "of the combined series")


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What was made: the record, the record of the tomograms, the combined series, and what there was to say."""

    target: RecordName
    source: RecordName
    series: str
    messages: tuple[str, ...]
    quality: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Pairing(Step):
    """Combining as a step on one series: the combined one, made from these two."""

    pair: tuple[Tomogram, Tomogram]

    def load_run(self) -> Callable[..., Any]:
        """The work."""
        return partial(_combine, self.pair)


def combine_series(
    project: Project,
    first: str,
    second: str,
    settings: CombineSettings,
    *,
    source: RecordName | None = None,
    label: str | None = None,
    name: str | None = None,
    progress: Progress = no_progress,
) -> Combination:
    """Combine two series of a project into a tomogram of the record ``combine`` (or ``combine.LABEL``).

    Parameters
    ----------
    project
        where; it is locked meanwhile.
    first, second
        names of the series; the first was exposed first, and its frame and box are kept.
    settings
        see `CombineSettings`.
    source
        the record of tomograms; None: ``reconstruct``.
    label
        of the record that is made.
    name
        of the combined series; None: what both names begin with, else both.

    Raises
    ------
    ProjectError
        if the record or a series does not exist, or holds no tomograms.
    InputError
        if the two cannot be combined, or the name is that of another series.
    """
    target = RecordName.parse(COMBINE if label is None else f"{COMBINE}.{label}")
    source = source or RecordName("reconstruct")
    if source == target:
        raise ProjectError(f"{target} cannot be made from itself", mend="name another --input, or a label with --as")
    if name is None:
        from lamella.tomograms.combine_record import combined_name

        name = combined_name(first, second)
    check_file_name(name)
    if name in {record.name for record in read_record(project, RecordName("raw"))}:
        raise InputError(f"{name} is a series of this project", mend="name the combined one with --name")
    pair = PairSettings(**settings.model_dump(), first=first, second=second, name=name)
    with project.lock(), Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command=f"lamella {target}", version=__version__, executor="local", device="cpu")
        state = "failed"
        try:
            made = _make(project, target, source, pair, ledger, run, progress)
            state = "done"
        finally:
            ledger.finish_run(run, state)
    return made


def is_outdated(project: Project, target: RecordName) -> bool:
    """Whether tomograms that a record of combined ones was made from have changed since."""
    files = FileDigests()
    return any(_changed(project, target, done, files) for done in completions_of(project, target).values())


def make_again(project: Project, target: RecordName, ledger: Ledger, run: int) -> str:
    """Combine again, with the settings that were kept, what was made from tomograms that have changed."""
    files = FileDigests()
    ledger.load_digests(files)
    again = [done for done in completions_of(project, target).values() if _changed(project, target, done, files)]
    ledger.save_digests(files)
    for done in again:
        _make(project, target, RecordName.parse(done.made_from[0]), _kept(done), ledger, run, no_progress)
    return f"{target}: combined again: {', '.join(_kept(done).name for done in again)}" if again else ""


def _make(
    project: Project,
    target: RecordName,
    source: RecordName,
    settings: PairSettings,
    ledger: Ledger,
    run: int,
    progress: Progress,
) -> Combination:
    pair = _pair(project, source, settings)
    files = FileDigests()
    ledger.load_digests(files)
    inputs = inputs_of(project, source, pair, files)
    ledger.save_digests(files)
    series = pair[0].tilt_series.with_changes(name=settings.name)
    task = Task(
        root=project.root,
        step=_Pairing(name=COMBINE, summary="", settings_path="", run_path="", pair=pair, version=_VERSION),
        target=target,
        settings=settings,
        record=replace(pair[0], tilt_series=series),
        fingerprint=_fingerprint(settings, inputs),
        inputs=inputs,
        made_from=ancestors(project, source),
        version=f"lamella {__version__}, {COMBINE} {_VERSION}",
        by_name=True,
    )
    done = do_task(project, task, ledger, run, progress)
    write_parts(project, target)
    return Combination(
        target=target, source=source, series=settings.name, messages=done.messages, quality=dict(done.quality)
    )


def _combine(pair: tuple[Tomogram, Tomogram], record: Tomogram, settings: PairSettings, context: Context) -> Tomogram:
    """Make the files of one combined tomogram, and its record."""
    from contextlib import ExitStack

    from lamella.tomograms.box import tomogram_shape
    from lamella.tomograms.combine import Volumes, combine

    first, second = pair
    for one in pair:
        if one.volume is None:
            raise ProjectError(f"{one.name} has no volume", mend="run reconstruct first")
    volumes: dict[str, Volumes] = {}
    files: dict[str, Any] = {}
    with ExitStack() as stack:
        for part, (entry, ending) in _PARTS.items():
            names = [getattr(one, entry) for one in pair]
            if None in names:
                if part == "even":
                    _say_no_halves(pair, context)
                continue
            sources = [open_volume(name, context.root) for name in names]
            shape, voxel = tomogram_shape(first), first.voxel_size_ang
            sink = stack.enter_context(context.new_mrc(f"{ending}.mrc", shape, voxel))
            volumes[part] = Volumes(first=sources[0], second=sources[1], sink=sink)
            files[entry] = f"{context.name(context.folder)}/{record.name}{ending}.mrc"
        result = combine(
            first,
            second,
            volumes,
            settings,
            record.name,
            beads=_beads(pair, context),
            progress=context.part("", (0.0, 0.9)),
        )
    _say(result, second, context)
    tomogram = replace(result.tomogram, **files)
    tell_position(first, context)  # its frame is kept, and combining carries noise beyond the specimen's faces
    measure_quality(tomogram, context, context.part("comparing the halves", (0.9, 1.0)))
    return replace(tomogram, quality=dict(context.quality))


def _say_no_halves(pair: tuple[Tomogram, Tomogram], context: Context) -> None:
    lacking = [one.name for one in pair if one.even_volume is None or one.odd_volume is None]
    context.say(f"no halves: {' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} none")


def _say(result: CombineResult, second: Tomogram, context: Context) -> None:
    found = result.registration
    context.say(f"{second.name} registered {found.in_words()}")
    if found.warp is not None:
        context.say(
            f"local movement of {found.warp.rms_ang:.1f} Å rms followed; it foretells {100 * found.warp_gain:.0f} % of "
            f"the variance of places left out"
        )
    context.say(f"its values were multiplied by {result.scale:.3f}")
    if result.added_dose is None:
        context.say("doses are unknown: views count alike")
    elif result.added_dose > 0:
        context.say(f"{second.name} is taken to have been exposed after {result.added_dose:.1f} e/Å² of the first")
    numbers = {
        "RegistrationResidualAngst": float(np.linalg.norm(found.fit.residual_ang)),
        "RegistrationAngleErrorDeg": float(np.linalg.norm(found.fit.angle_error_deg)),
        "RegistrationShiftErrorAngst": float(np.linalg.norm(found.fit.shift_error_ang)),
        "SecondAxisTurnDeg": found.motion.turn_deg,
        "SecondAxisScale": found.fit.scale,
        "WarpAngst": 0.0 if found.warp is None else found.warp.rms_ang,
    }
    context.measure(**numbers)


def _beads(pair: tuple[Tomogram, Tomogram], context: Context) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Places of the gold beads of both tomograms, where both name a table of them."""
    first, second = (read_gold(context.root / one.gold) if one.gold else None for one in pair)
    return None if first is None or second is None else (first, second)


def _pair(project: Project, source: RecordName, settings: PairSettings) -> tuple[Tomogram, Tomogram]:
    if settings.first == settings.second:
        raise InputError(f"{settings.first} is named twice", mend="name two series of one specimen")
    records = {record.name: record for record in read_record(project, source)}
    found = []
    for name in (settings.first, settings.second):
        record = records.get(name)
        if record is None:
            raise ProjectError(
                f"{source} holds no {name}", mend=f"it holds {', '.join(records)}; reconstruct the series first"
            )
        if isinstance(record, TiltSeries):
            raise ProjectError(f"{source} holds no tomograms", mend="name another --input, such as reconstruct")
        found.append(tomogram_of(record))
    return found[0], found[1]


def _fingerprint(settings: PairSettings, inputs: dict[str, str]) -> str:
    kept = settings.model_dump(mode="json", exclude={"enabled"})
    return digest({"combine": _VERSION, "settings": kept, "inputs": sorted(inputs.values())})


def _changed(project: Project, target: RecordName, done: Completion, files: FileDigests) -> bool:
    source = RecordName.parse(done.made_from[0])
    if not has_tables(project, source) or done.missing_outputs(project.root):
        return True
    try:
        pair = _pair(project, source, _kept(done))
    except LamellaError:
        return True
    return done.fingerprint != _fingerprint(_kept(done), inputs_of(project, source, pair, files))


def _kept(done: Completion) -> PairSettings:
    return PairSettings(**done.settings)
