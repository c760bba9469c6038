"""`lamella import` and `lamella export`: alignments, defoci and particles of other programs."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lamella.cli.options import Json, Option, ProjectPath
from lamella.cli.run import Series

if TYPE_CHECKING:
    from lamella.records import Note
    from lamella.workflow.record_name import RecordName

__all__ = ["export", "import_"]

Format = Annotated[
    str,
    Option(
        name="--format",
        help="imod, aretomo, relion5 or warp; ctffind or gctf for defoci alone; relion5, dynamo, stopgap, peet, imod "
        "(.mod), copick or csv for particles",
    ),
]
Input = Annotated[
    str | None,
    Option(
        name="--input",
        help="record whose views (clean, align.patches) or, for particles, tomograms (reconstruct) are meant",
    ),
]


def import_(
    project: ProjectPath,
    path: Annotated[
        Path, Option(help="the program's file or folder; with several series, a folder of folders by name")
    ],
    /,
    *,
    format: Format,
    as_: Annotated[
        str | None, Option(name="--as", help="label: makes align.LABEL (ctf.LABEL, pick.LABEL) instead of align")
    ] = None,
    input_: Input = None,
    only: Series = None,
    pixel_size: Annotated[
        float | None,
        Option(help="particles: voxel, in Å, of the tomograms they were picked in, where these were others"),
    ] = None,
    pictures: Annotated[
        bool,
        Option(
            help="relion5, particles: take their pictures, views and tomograms as they are, as an extract record; a "
            "project without tilt series is made where there is none",
            negative="",
        ),
    ] = False,
    json: Json = False,
) -> int:
    """Make an align record from another program's alignment, a ctf record from its defoci (ctffind, gctf), or a pick
    record from its particles. `lamella run` then goes on from it, and the step's own command would replace it: where
    tracks were imported too (IMOD's .fid), `align` with a geometry solved from them.
    """
    from lamella.errors import InputError
    from lamella.workflow.exchange import import_alignment
    from lamella.workflow.exchange_particles import holds_particles, import_particles
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    if pictures:
        if format != "relion5" or input_ or pixel_size is not None:
            raise InputError("--pictures is about RELION's particles as they are", mend="give --format relion5 alone")
        from lamella.workflow.import_pictures import import_pictures

        return _told(*import_pictures(project, path, label=as_, only=only or ()), format, json)
    opened, source = Project.open(project), RecordName.parse(input_) if input_ else None
    if holds_particles(format, path):
        target, names, notes = import_particles(
            opened, format, path, label=as_, source=source, only=only or (), voxel_size_ang=pixel_size
        )
    elif pixel_size is not None:
        raise InputError("--pixel-size is about particles, and these are none", mend="leave it out")
    else:
        target, names, notes = import_alignment(opened, format, path, label=as_, source=source, only=only or ())
    return _told(target, names, notes, format, json)


def _told(target: RecordName, names: tuple[str, ...], notes: tuple[Note, ...], format: str, json: bool) -> int:
    _tell(notes)
    print(f"{target}: {', '.join(names)} imported from {format}")
    if json:
        print(json_text.dumps({"record": str(target), "series": list(names), "notes": [str(note) for note in notes]}))
    return 0


def export(
    project: ProjectPath,
    path: Annotated[Path, Option(help="folder to write into")],
    /,
    *,
    format: Annotated[
        str,
        Option(
            name="--format",
            help="imod, aretomo, relion5 or warp; ctffind or gctf for defoci alone; zarr for tomograms; relion3, "
            "dynamo, stopgap, peet, copick or csv (relion5, imod with --input) for particles",
        ),
    ],
    input_: Annotated[
        str | None,
        Option(
            name="--input",
            help="record to export (default: align; ctf for ctffind and gctf; denoise or reconstruct for zarr; the "
            "last of refine, extract and pick for particles)",
        ),
    ] = None,
    only: Series = None,
    json: Json = False,
) -> int:
    """Write the alignment, the defoci or the particles for another program, and say what its files cannot; or (zarr)
    the tomograms as MRC and multiscale OME-Zarr in the CryoET data portal's layout.
    """
    from lamella.workflow.exchange import export_alignment
    from lamella.workflow.exchange_particles import export_particles, is_particle_record
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    opened, named = Project.open(project), RecordName.parse(input_) if input_ else None
    write = export_particles if is_particle_record(opened, format, named) else export_alignment
    source, files, notes = write(opened, format, path, source=named, only=only or ())
    _tell(notes)
    for file in files:
        print(file)
    print(f"{source}: {len(files)} files written for {format}")
    if json:
        print(
            json_text.dumps(
                {"record": str(source), "files": [str(file) for file in files], "notes": [str(note) for note in notes]}
            )
        )
    return 0


def _tell(notes: tuple[Note, ...]) -> None:
    for note in dict.fromkeys(map(str, notes)):
        print("  " + note)
