"""How the work of a run is done, as against what is computed: the table ``[run]`` of ``lamella.toml``.

Nothing here changes a result, so nothing here makes a step run again.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lamella.settings import setting

__all__ = ["RunSettings"]


class RunSettings(BaseModel):
    """Where the work runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    executor: Literal["local", "dask"] = setting(
        "local", "where the work runs: in this process, or on dask workers (a local cluster, or `scheduler`)"
    )
    workers: int = setting(
        1, "tilt series worked on side by side; each needs its own memory and shares the cores", ge=1, le=4096
    )
    scheduler: str = setting("", "address of a running dask scheduler, such as tcp://host:8786; empty: a local cluster")
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "where arrays are computed on: auto takes CUDA if it is there"
    )
    report: bool = setting(True, "make the report anew at the end of `lamella run`")
