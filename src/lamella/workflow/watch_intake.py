"""Take series into a project as a microscope completes them."""

from __future__ import annotations

import glob
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lamella.acquire.session.files import LEFT_OUT_NAME
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.run import read_session
from lamella.errors import InputError, LamellaError
from lamella.formats.image_shift_groups import optics_groups
from lamella.formats.images import split_name
from lamella.formats.mdoc import Mdoc
from lamella.formats.mdoc_interpret import NotATiltSeries
from lamella.formats.mdoc_series import grouped_mdocs, interpret, series_from_mdoc
from lamella.formats.overrides import Imported
from lamella.formats.session_prior import session_geometries, session_geometry, with_session_prior
from lamella.records import TiltSeries
from lamella.workflow.digests import digest
from lamella.workflow.ledger import Ledger
from lamella.workflow.new import anchored, check_series
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.references import settle_references
from lamella.workflow.tables import read_part, read_record, write_part, write_record
from lamella.workflow.watch_source import RawSource

__all__ = ["Intake"]

_FEWEST_VIEWS = 3  # of a series that can be aligned
_GROUP = re.compile(r"optics(\d+)$")

Signature = tuple[tuple[str, int, int], ...]


@dataclass(kw_only=True, eq=False)
class Intake:
    """Looks for series that are complete and puts them into a project's raw record.

    A series is complete when its files have not changed for a while. In the folder of a session of lamella, it is when
    the session's own files are whole, or as soon as the session has ended this target early. A series that was taken in
    and then goes on is taken in anew, and what was made of it is made again.

    Attributes
    ----------
    project, source
        what is made, and of what.
    quiet_s
        how long files must have been unchanged.
    now
        the time by which files are dated, s.
    say
        takes a sentence.
    growing
        names of the series that were not complete at the last look.
    """

    project: Project
    source: RawSource
    quiet_s: float
    now: Callable[[], float]
    say: Callable[[str], None]
    growing: tuple[str, ...] = ()
    _seen: dict[str, Signature] = field(default_factory=dict, init=False)
    _told: set[tuple[str, str]] = field(default_factory=set, init=False)

    def look(self) -> tuple[str, ...]:
        """Take in what is complete and new or changed, in a project that is locked; the names of those series."""
        taken: list[str] = []
        growing: list[str] = []
        groups = self._groups()
        sessions = _Sessions()
        for name, files in groups:
            signature = _signature([mdoc.path for mdoc in files])
            if self._seen.get(name) == signature:
                continue
            try:
                imported = self._complete(name, files, sessions)
                if imported is None:
                    growing.append(name)
                    continue
                if self._put(imported, groups):
                    taken.append(name)
            except NotATiltSeries:
                pass  # a map, or a single picture
            except LamellaError as error:
                self._complain(name, error)
            self._seen[name] = signature
        self.growing = tuple(growing)
        return tuple(taken)

    def _complete(self, name: str, files: Sequence[Mdoc], sessions: _Sessions) -> Imported | None:
        """A series as its files describe it; None while it grows."""
        mdocs = [mdoc.path for mdoc in files]
        whole = sessions.whole(mdocs[0], name)
        if whole is False or (whole is None and not self._quiet(mdocs)):
            return None
        imported = self._imported(mdocs)
        series = imported.series[0]
        if whole is None and not self._quiet(_files_of(series)):
            return None
        return imported if len(series) >= _FEWEST_VIEWS else None

    def _groups(self) -> list[tuple[str, tuple[Mdoc, ...]]]:
        """The mdoc files that there are, by series; a file that cannot be read keeps no other back."""
        paths = sorted({Path(found) for pattern in self.source.patterns for found in glob.glob(pattern)})
        try:
            return grouped_mdocs(paths)
        except LamellaError:
            sound = [path for path in paths if self._readable(path)]
            return grouped_mdocs(sound) if sound else []

    def _readable(self, path: Path) -> bool:
        try:
            grouped_mdocs([path])
        except LamellaError as error:
            self._complain(path.name, error)
            return False
        return True

    def _complain(self, name: str, error: LamellaError) -> None:
        """Tell once what is wrong with a series."""
        if (name, str(error)) not in self._told:
            self._told.add((name, str(error)))
            text = str(error)
            self.say(f"{text if text.startswith(name) else f'{name}: {text}'}; the others go on")

    def _quiet(self, paths: Iterable[Path]) -> bool:
        """Whether none of the files was written to of late."""
        newest = max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)
        return self.now() - newest >= self.quiet_s

    def _imported(self, paths: Sequence[Path]) -> Imported:
        source = self.source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imported = series_from_mdoc(
                paths, frames=None if source.frames is None else Path(source.frames), overrides=source.overrides
            )
        geometries = session_geometries(paths)
        if source.session is not None:
            geometries = (session_geometry(Path(source.session)),)
        return with_session_prior(imported, [path for path in geometries if path.is_file()])

    def _put(self, imported: Imported, groups: Sequence[tuple[str, tuple[Mdoc, ...]]]) -> bool:
        """Write the raw record with a series; False where it stands there already as it is."""
        project = self.project
        before = {one.name: one for one in read_record(project, RAW) if isinstance(one, TiltSeries)}
        new = anchored(imported.series[0])
        group = before[new.name].optics_group if new.name in before else self._group_of(new.name, before, groups)
        new = replace(new, optics_group=group)
        check_series([new])
        if new.name in before and digest(before[new.name]) == digest(_as_written(project, new)):
            return False
        self._settle_references(imported, not before)
        write_record(project, RAW, list({**before, new.name: new}.values()))
        with Ledger(project.ledger_path) as ledger:
            ledger.add_notes("raw", imported.notes)
        return True

    def _settle_references(self, imported: Imported, first: bool) -> None:
        """The camera's references that were given must fit each series; the first one's become settings of `motion`."""
        if imported.series[0].images is not None and not self.source.references:
            return
        motion, _ = settle_references(imported, self.source.references)
        if first and motion:
            settings = self.project.read_settings()
            settings.change(RecordName("motion"), motion)
            settings.save()

    def _group_of(
        self, name: str, before: dict[str, TiltSeries], groups: Sequence[tuple[str, tuple[Mdoc, ...]]]
    ) -> str:
        """The optics group of a series: that of a series here which was recorded at its image shift, or a new one."""
        described = []
        for one, files in groups:
            try:
                described.append(interpret(files, self.source.overrides, name=one))
            except InputError:
                continue
        names, _ = optics_groups(described)
        by_series = {one.name: group for one, group in zip(described, names, strict=True)}
        for other, group in by_series.items():
            if other in before and group == by_series.get(name):
                return before[other].optics_group
        numbers = [int(found[1]) for one in before.values() if (found := _GROUP.match(one.optics_group))]
        return f"optics{max(numbers, default=0) + 1}"


class _Sessions:
    """What the sessions say of their targets in whose folders mdoc files lie; each log is read once."""

    def __init__(self) -> None:
        self._ended: dict[Path, set[str]] = {}

    def whole(self, mdoc: Path, name: str) -> bool | None:
        """Whether a series is complete; None where no session of lamella knows."""
        folder = mdoc.parent
        if not (folder / LOG_NAME).is_file():
            return None
        if (folder / LEFT_OUT_NAME).is_file():
            return True
        if folder not in self._ended:
            result = read_session(folder)
            thick = [one.target for one in result.endings.values() if one.kind == "thick"]
            self._ended[folder] = {result.plan.targets[target].name for target in thick}
        return name in self._ended[folder]


def _signature(paths: Sequence[Path]) -> Signature:
    stats = [(str(path), path.stat()) for path in paths if path.exists()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _files_of(series: TiltSeries) -> list[Path]:
    names = [split_name(name)[1] for name in series.images or ()] + list(series.movies or ())
    return [Path(name) for name in dict.fromkeys(names)]


def _as_written(project: Project, new: TiltSeries) -> TiltSeries:
    """A record as it would be read again: tables hold fewer digits than the import."""
    with TemporaryDirectory(dir=project.root) as folder:
        write_part(Path(folder), new, project.root)
        found = read_part(Path(folder), project.root)
    assert isinstance(found, TiltSeries)
    return found
