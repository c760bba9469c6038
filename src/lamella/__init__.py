"""lamella: cryo-electron tomography from the microscope to the map.

`import lamella` is light: rooms load when they are asked for.
"""

from __future__ import annotations

__version__ = "0.1.0"
