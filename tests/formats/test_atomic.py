"""Files are whole or not there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lamella.errors import OutputError
from lamella.formats.atomic import atomic_folder, atomic_path, atomic_text, remove_leftovers


def test_the_name_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.star"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".star"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    atomic_text(target, "old\n")

    def fails_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_half_way()
    assert target.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_in_the_way_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="folder"), atomic_path(tmp_path / "a"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), atomic_path(tmp_path / "file" / "a.mrc"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission"):
        atomic_text(tmp_path / "a.txt", "x")


def test_an_error_about_another_file_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "absent").read_text()


WRITERS = {
    "mrc": """
        from lamella.formats.mrc import write_mrc
        write_mrc(folder / "v.mrc", np.ones((8, 64, 64), np.float32), 1.0)
    """,
    "tiff": """
        from lamella.formats.tiff import write_tiff
        write_tiff(folder / "v.tif", (8, 64, 64), np.ones((8, 64, 64), np.float32), 1.0)
    """,
    "star": """
        from lamella.formats.star import StarTable, write_star
        write_star(folder / "v.star", [StarTable("x", {"rlnA": ("0.123456",) * 20000})])
    """,
    "late": """
        from lamella.formats.atomic import atomic_path
        with atomic_path(folder / "v.bin") as path, path.open("wb") as file:
            for _ in range(100):
                file.write(bytes(4096))
    """,
}


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, writer: str) -> None:
    """A limit on the size of files stands in for a disk that is full."""
    folder = tmp_path / "out"
    folder.mkdir()
    program = f"""
    import sys
    from pathlib import Path
    import numpy as np
    from lamella.errors import OutputError
    folder = Path(sys.argv[1])
    try:
    {textwrap.indent(textwrap.dedent(WRITERS[writer]), "        ")}
    except OutputError as error:
        print(error)
        sys.exit(7)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768)),
    )
    assert done.returncode == 7, done.stderr
    assert "too big" in done.stdout or "disk is full" in done.stdout
    assert list(folder.iterdir()) == []


def test_a_killed_writer_leaves_only_what_can_be_cleared(tmp_path: Path) -> None:
    program = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from lamella.formats.mrc import MrcWriter
    with MrcWriter(Path(sys.argv[1]) / "v.mrc", (2, 8, 8), 1.0) as write:
        write(0, 0, 0, np.ones((1, 8, 8), np.float32))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (tmp_path / ".hidden.mrc").write_text("the user's own")
    assert not (tmp_path / "v.mrc").exists()
    assert len(remove_leftovers(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".hidden.mrc"]


def test_a_folder_appears_when_it_is_whole_and_replaces_only_its_like(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    for text in ("first", "second"):
        with atomic_folder(target, lambda old: (old / "mark").exists()) as temporary:
            assert temporary.suffix == ".zarr"
            (temporary / "mark").write_text(text)
    assert (target / "mark").read_text() == "second"

    def fails_half_way() -> None:
        with atomic_folder(target, lambda old: True) as temporary:
            (temporary / "half").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_half_way()
    assert [path.name for path in target.iterdir()] == ["mark"]
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OutputError, match="something else"), atomic_folder(target, lambda old: False):
        pass
    killed = tmp_path / ".b.1234.lamella-part.zarr"
    (killed / "0").mkdir(parents=True)
    assert remove_leftovers(tmp_path) == (killed,)
    assert list(tmp_path.iterdir()) == [target]
