"""The complexes that travel with the package."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from lamella.errors import FormatError, SettingsError
from lamella.simulate.globs import Globs

__all__ = ["PackagedModel", "models", "read_packaged"]


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """What is known of a packaged model.

    Attributes
    ----------
    title
        what it is.
    entries
        wwPDB entries that its coordinates are from.
    source
        how that is known, and what was done.
    mass_kda
        of what is in it.
    licence
        of the coordinates.
    """

    title: str
    entries: tuple[str, ...]
    source: str
    mass_kda: float
    licence: str


def models() -> Mapping[str, PackagedModel]:
    """Name -> description of every packaged model."""
    text = files("lamella.simulate").joinpath("models", "models.json").read_text(encoding="utf-8")
    return {
        name: PackagedModel(
            title=facts["title"],
            entries=tuple(facts["entries"]),
            source=facts["source"],
            mass_kda=float(facts["mass_kda"]),
            licence=facts["licence"],
        )
        for name, facts in json.loads(text).items()
    }


def read_packaged(name: str) -> Globs:
    """The globs of a packaged model, about the origin of its poses; the membrane's normal is z where it has one.

    Raises
    ------
    SettingsError
        if there is no such model.
    FormatError
        if the installed file is damaged.
    """
    known = models()
    if name not in known:
        raise SettingsError(f"there is no packaged model {name!r}", mend=f"choose from {', '.join(sorted(known))}")
    place = files("lamella.simulate").joinpath("models", f"{name}.npz")
    try:
        with place.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            globs = Globs(
                # Differences along the chain compress well.
                np.cumsum(stored["steps"], axis=0, dtype=np.int64).astype(np.int16),
                stored["kind"],
                stored["table"],
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as problem:
        raise FormatError(f"{place}: {problem}", mend="install lamella again") from problem
    if globs.steps.shape != (len(globs), 3) or (len(globs) and globs.kind.max() >= len(globs.table)):
        raise FormatError(f"{place}: arrays that do not fit together", mend="install lamella again")
    return globs
