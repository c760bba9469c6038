"""What the process is given (threads, memory, devices), and the settings that make the libraries use it well.

Light to import: torch and numba are touched only where they are loaded already or asked for.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamella.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cache_folder", "choose_device", "free_memory_bytes", "give_memory_back", "prepare", "threads"]

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def prepare(*, torch: bool = False) -> None:
    """Set the process up; call it first, and again wherever it might not have been called: it does no harm twice.

    - glibc keeps freed buffers instead of returning them to the system at each free, which makes FFTs faster;
    - OpenMP, torch and numba use `threads()` threads, which sleep while they wait; numpy's small solves use one;
    - numba keeps compiled kernels in the user's cache folder, so that no worker compiles what another has.

    Parameters
    ----------
    torch
        import torch and set its threads now. Otherwise only where it is loaded already; loaded later, it finds its
        number of threads in the environment.

    Raises
    ------
    SettingsError
        if ``LAMELLA_THREADS`` is not a positive number.
    """
    _keep_freed_memory()
    count = threads()
    if "LAMELLA_THREADS" in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(count)
    os.environ.setdefault("OMP_NUM_THREADS", str(count))
    # Threads that spin while they wait make small tensors several times slower as soon as the processors are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "numba" not in sys.modules:  # loaded, it refuses another number once its threads run
        os.environ.setdefault("NUMBA_NUM_THREADS", str(count))
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(_writable_folder(cache_folder() / "numba"))
    if torch or "torch" in sys.modules:
        import torch as torch_library

        torch_library.set_num_threads(count)
    if "numba" in sys.modules:
        import numba

        config: Any = numba.config
        numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))
        config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


def threads() -> int:
    """Threads to use: ``LAMELLA_THREADS``, else ``OMP_NUM_THREADS``, else the processors this process may run on."""
    stated = os.environ.get("LAMELLA_THREADS", "").strip()
    if stated:
        if not stated.isascii() or not stated.isdigit() or int(stated) < 1:
            raise SettingsError(f"LAMELLA_THREADS is {stated!r}", mend="set it to a whole number of threads, such as 2")
        return int(stated)
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isascii() and openmp.isdigit() and int(openmp) > 0:
        return int(openmp)
    return _processors()


def choose_device(name: str = "auto") -> str:
    """The torch device that ``auto``, ``cpu`` or ``cuda`` means on this machine: ``cpu`` or ``cuda``.

    Raises
    ------
    SettingsError
        if `name` is another word, or ``cuda`` where torch sees no CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"a device named {name!r}", mend="choose auto, cpu or cuda")
    if name == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise SettingsError(
            "torch sees no CUDA device on this machine",
            mend="use --device cpu, or install a torch with CUDA and check the driver with nvidia-smi",
        )
    return "cpu"


def free_memory_bytes(device: str = "cpu") -> int:
    """Memory in bytes that can be allocated on a device now; on a CPU within the limits of the process's cgroups."""
    if device.startswith("cuda"):
        import torch

        free, _total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    import psutil

    return min(int(psutil.virtual_memory().available), *_cgroup_free_bytes())


def give_memory_back() -> None:
    """Return freed buffers to the system, which `prepare` had kept: call it between two pieces of work.

    What the first one freed is in pieces of its own sizes, and would stand beside what the second one allocates.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)


def cache_folder() -> Path:
    """The user's cache folder of lamella, which need not exist."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "lamella"


def _writable_folder(folder: Path) -> Path:
    """The folder, made; a private temporary one where that is not allowed (compiled kernels are code: never shared)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lamella-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="lamella-"))


def _keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory; True if it was told, False where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # one arena: what each thread had of its own would be kept for each thread
    done = [library.mallopt(*what) for what in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1))]
    return all(done)


def _processors() -> int:
    """Processors of this process: its affinity, and the CPU quota of its cgroups."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for folder in _cgroup_folders():
        quota = _words(folder / "cpu.max")
        if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
            count = min(count, max(1, math.ceil(int(quota[0]) / int(quota[1]))))
    return count


def _cgroup_folders() -> Iterator[Path]:
    """Folders of the cgroups that hold this process, from its own up to the root."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        own = Path(path.lstrip("/"))
        for part in (own, *own.parents):
            yield root / part


def _cgroup_free_bytes() -> list[int]:
    """What each cgroup with a memory limit leaves, bytes; cache that the kernel would drop counts as free."""
    out = []
    for folder in _cgroup_folders():
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _words(folder / limit_name), _words(folder / used_name)
            if not (limit and used and limit[0].isdigit() and used[0].isdigit()):
                continue
            stat = _words(folder / "memory.stat")
            cache = int(stat[stat.index(cache_name) + 1]) if cache_name in stat else 0
            out.append(max(0, int(limit[0]) - int(used[0]) + cache))
    return out


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
