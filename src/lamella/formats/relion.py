"""RELION-5's tables of tilt series and tomograms, read and written: the records' own form on disk.

See `relion_views` for the columns of one series, `relion_tilt_series` for the global table, `relion_tomograms` for
tomograms, `relion_field` for local deformation, and `relion_exchange` for `lamella import` and `export`.
"""

from lamella.formats.relion_tilt_series import read_tilt_series, read_tilt_table, write_tilt_series, write_tilt_table
from lamella.formats.relion_tomograms import read_tomograms, write_tomograms

__all__ = [
    "read_tilt_series",
    "read_tilt_table",
    "read_tomograms",
    "write_tilt_series",
    "write_tilt_table",
    "write_tomograms",
]
