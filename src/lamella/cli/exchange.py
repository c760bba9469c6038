"""`lamella import` and `lamella export`: alignments and defoci of other programs."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lamella.cli.options import Json, Option, ProjectPath
from lamella.cli.run import Series

if TYPE_CHECKING:
    from lamella.records import Note

__all__ = ["export", "import_"]

Format = Annotated[
    str, Option(name="--format", help="imod, aretomo, relion5 or warp; ctffind or gctf for defoci alone")
]
Input = Annotated[
    str | None, Option(name="--input", help="record whose views are meant, such as clean or align.patches")
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
        str | None, Option(name="--as", help="label: makes align.LABEL instead of align, or ctf.LABEL instead of ctf")
    ] = None,
    input_: Input = None,
    only: Series = None,
    json: Json = False,
) -> int:
    """Make an align record from another program's alignment, or a ctf record from its defoci (ctffind, gctf).
    `lamella run` then goes on from it, and `lamella align` (or `ctf`) would replace it: where tracks were imported too
    (IMOD's .fid), with a geometry solved from them.
    """
    from lamella.workflow.exchange import import_alignment
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    target, names, notes = import_alignment(
        Project.open(project),
        format,
        path,
        label=as_,
        source=RecordName.parse(input_) if input_ else None,
        only=only or (),
    )
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
            help="imod, aretomo, relion5 or warp; ctffind or gctf for defoci alone; zarr for tomograms",
        ),
    ],
    input_: Annotated[
        str | None,
        Option(
            name="--input",
            help="record to export (default: align; ctf for ctffind and gctf; denoise or reconstruct for zarr)",
        ),
    ] = None,
    only: Series = None,
    json: Json = False,
) -> int:
    """Write the alignment, or the defoci, for another program, and say what its files cannot; or (zarr) the tomograms
    as MRC and multiscale OME-Zarr in the CryoET data portal's layout.
    """
    from lamella.workflow.exchange import export_alignment
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    source, files, notes = export_alignment(
        Project.open(project), format, path, source=RecordName.parse(input_) if input_ else None, only=only or ()
    )
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
