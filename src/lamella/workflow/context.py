"""What a step is given besides its record and settings: where to write, what to say, how to tell how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lamella.errors import InputError, PostconditionError
from lamella.formats.mrc_writer import MrcWriter
from lamella.progress import Progress, no_progress
from lamella.runtime import choose_device

__all__ = ["Context"]


@dataclass
class Context:
    """The surroundings of one step's work on one series.

    Attributes
    ----------
    root
        the project's folder, which names in records start from.
    folder
        the only folder that the step may write to.
    series
        name of the tilt series.
    device_name
        ``auto``, ``cpu`` or ``cuda``.
    progress
        told how far the work is.
    by_name
        whether the user called this very step: what it lacks is then an error.
    source
        name of the record that the work starts from, of which it is given one series.
    fingerprint
        of the work: what is kept of it while it goes on is of use only to work of the same fingerprint.
    whole
        whether the step works on all series at once: its files are then named by what they are, ``map.mrc``, and not
        by the series.
    messages, quality, outputs, passed_on
        what came of it: sentences, numbers by name, files written, and why the record was passed on unchanged.
    """

    root: Path
    folder: Path
    series: str
    device_name: str = "auto"
    progress: Progress = no_progress
    by_name: bool = False
    source: str = ""
    fingerprint: str = ""
    whole: bool = False
    messages: list[str] = field(default_factory=list)
    quality: dict[str, float] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    passed_on: str = ""

    @property
    def device(self) -> str:
        """The torch device to compute on (asking imports torch, unless it was named)."""
        return choose_device(self.device_name)

    def say(self, text: str) -> None:
        """Keep a sentence for the log, the database and the report."""
        self.messages.append(text)

    def measure(self, **numbers: float) -> None:
        """Keep quality numbers; a unit stands in the name."""
        self.quality.update({name: float(value) for name, value in numbers.items()})

    def pass_on(self, why: str) -> None:
        """Say that the step has nothing to do, and why."""
        self.passed_on = why

    def lacks(self, problem: str, *, mend: str) -> None:
        """Say that the step wants something that nobody gave: it passes its record on.

        Raises
        ------
        InputError
            if the step was called by its name.
        """
        if self.by_name:
            raise InputError(problem, mend=mend)
        self.pass_on(f"{problem} ({mend})")

    def name(self, path: Path) -> str:
        """A file of this project as tables name it: relative to the project's folder."""
        return path.relative_to(self.root).as_posix()

    def part(self, part: str, of: tuple[float, float] = (0.0, 1.0)) -> Progress:
        """Progress of one part of the work, from the first to the second fraction of the whole."""
        begin, end = of

        def tell(fraction: float, text: str = "") -> None:
            self.progress(begin + (end - begin) * fraction, text or part)

        return tell

    @contextmanager
    def new_file(self, ending: str) -> Iterator[Path]:
        """The path ``FOLDER/SERIES + ending`` for a file that the block writes itself, atomically.

        Of a step that works on all series at once it is ``FOLDER/ending``.
        """
        path = self.folder / (ending if self.whole else f"{self.series}{ending}")
        yield path
        self.outputs.append(path)

    @contextmanager
    def new_mrc(
        self,
        ending: str,
        shape: tuple[int, int, int],
        pixel_size_ang: float,
        dtype: str = "float32",
        *,
        label: str = "",
        origin_ang: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Iterator[MrcWriter]:
        """A new MRC file, named as by `new_file`; it appears when the block ends and its content is sound.

        A label is a line of text in its header; the origin (x, y, z) is where viewers put its first voxel.

        Raises
        ------
        PostconditionError
            if it holds NaN or infinity, is constant, or was not written as a whole.
        OutputError
            if the disk is full.
        """
        with (
            self.new_file(ending) as path,
            MrcWriter(path, shape, pixel_size_ang, dtype, label=label, origin_ang=origin_ang) as writer,
        ):
            yield writer
            if not writer.statistics.rms > 0:
                raise PostconditionError(
                    f"{self.name(path)}: every pixel would be {writer.statistics.minimum:g}",
                    mend="look at the input images in the report; a step before this one may have lost them",
                )
