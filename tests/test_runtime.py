from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamella import runtime
from lamella.errors import SettingsError


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter prints; a variable set to "" is absent."""
    env = {**os.environ, **environment}
    env = {name: value for name, value in env.items() if value}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    ).stdout.strip()


def test_preparing_imports_nothing_heavy() -> None:
    code = (
        "import sys, lamella.runtime as r; r.prepare(); "
        "print([m for m in ('torch', 'numba', 'numpy') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_threads_are_handed_to_every_library() -> None:
    code = (
        "import lamella.runtime as r; r.prepare(); r.prepare(); import torch, numba; "
        "print(torch.get_num_threads(), numba.get_num_threads())"
    )
    assert run(code, LAMELLA_THREADS="1", OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="") == "1 1"


def test_threads_of_libraries_that_are_loaded_already() -> None:
    code = (
        "import torch, numba, lamella.runtime as r; torch.set_num_threads(2); r.prepare(); "
        "print(torch.get_num_threads(), numba.get_num_threads())"
    )
    assert run(code, LAMELLA_THREADS="1", OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2") == "1 1"


def test_threads_by_default_are_the_processors_allowed() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    code = (
        "import os, lamella.runtime as r; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(r.threads())"
    )
    assert run(code, OMP_NUM_THREADS="", LAMELLA_THREADS="") == "1"


@pytest.mark.parametrize("stated", ["0", "-2", "two", "1.5", "²"])
def test_bad_thread_count(monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", stated)
    with pytest.raises(SettingsError, match="LAMELLA_THREADS"):
        runtime.threads()


def test_kernels_are_cached_in_the_users_folder(tmp_path: Path) -> None:
    code = "import lamella.runtime as r; r.prepare(); import numba\nprint(numba.config.CACHE_DIR)"
    assert run(code, XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR="") == str(tmp_path / "lamella" / "numba")
    assert run(code, XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_cache_moves_to_a_private_folder_where_home_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "lamella").write_text("a file where the folder should be")
    code = (
        "import os, lamella.runtime as r; r.prepare(); print(oct(os.stat(os.environ['NUMBA_CACHE_DIR']).st_mode)[-3:])"
    )
    assert run(code, XDG_CACHE_HOME=str(tmp_path), NUMBA_CACHE_DIR="", TMPDIR=str(tmp_path)) == "700"


def test_glibc_keeps_freed_memory() -> None:
    if not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("this system's C library is not glibc")
    code = """
import ctypes, resource, sys
import lamella.runtime as r
if sys.argv[-1] == 'prepared': r.prepare()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    p = libc.malloc(1 << 25); libc.memset(p, 1, 1 << 25); libc.free(p)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for mode in ("plain", "prepared"):
        done = subprocess.run([sys.executable, "-c", code, mode], capture_output=True, text=True, check=True)
        faults[mode] = int(done.stdout)
    # Each page is asked of the system once, not once per allocation.
    assert faults["prepared"] < 0.2 * faults["plain"]


def test_devices() -> None:
    import torch

    assert runtime.choose_device("cpu") == "cpu"
    assert runtime.choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(SettingsError, match="device named"):
        runtime.choose_device("gpu")


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="no CUDA device"):
        runtime.choose_device("cuda")
    assert runtime.choose_device("auto") == "cpu"


def test_free_memory_is_within_the_machine() -> None:
    import psutil

    assert 0 < runtime.free_memory_bytes("cpu") <= psutil.virtual_memory().total


@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_respects_a_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    own = tmp_path / "own"
    if version == 2:
        own.write_text("0::/outer/inner\n")
        outer = tmp_path / "outer"
        files = {"memory.max": "5000000", "memory.current": "2000000", "memory.stat": "anon 1\ninactive_file 500000\n"}
    else:
        own.write_text("3:cpu:/elsewhere\n7:memory:/outer/inner\n")
        outer = tmp_path / "memory" / "outer"
        files = {
            "memory.limit_in_bytes": "5000000",
            "memory.usage_in_bytes": "2000000",
            "memory.stat": "cache 1\ntotal_inactive_file 500000\n",
        }
    (outer / "inner").mkdir(parents=True)
    (outer / "inner" / "memory.max").write_text("max\n")
    for name, text in files.items():
        (outer / name).write_text(text)
    monkeypatch.setattr(runtime, "_CGROUPS", tmp_path)
    monkeypatch.setattr(runtime, "_OWN_CGROUP", own)
    assert runtime.free_memory_bytes("cpu") == 3500000


def test_threads_respect_a_cgroups_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").write_text("0::/box\n")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(runtime, "_CGROUPS", tmp_path)
    monkeypatch.setattr(runtime, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.delenv("LAMELLA_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert runtime.threads() == 1


@pytest.mark.gpu
def test_cuda_memory() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    free = runtime.free_memory_bytes("cuda")
    assert 0 < free <= torch.cuda.get_device_properties(0).total_memory
