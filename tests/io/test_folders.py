"""One process at a time, and what a killed one leaves."""

import contextlib
import os

import pytest

from netinvert.errors import OutputError
from netinvert.io.files import FileError, write_atomic
from netinvert.io.folders import InUseError, alone, set_damaged_aside
from netinvert.io.rundir import RunDir


def half_written(path, monkeypatch):
    """What a process leaves that is killed while it writes the file; gives its path."""
    before = set(path.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "replace", lambda *_: None)
        write_atomic(path, b"half")
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    lock = tmp_path / ".lock"
    with alone(lock, tmp_path):
        with pytest.raises(InUseError, match=f"another process writes {tmp_path}"), alone(lock, tmp_path):
            pytest.fail("entered")
        (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="x"), alone(lock, tmp_path):
        raise ValueError("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    mine, others = (half_written(tmp_path / name, monkeypatch) for name in ("mine", "others"))
    (tmp_path / "photo.tmp").touch()
    with alone(tmp_path / ".lock", tmp_path / "mine", ["mine"]):
        assert not mine.exists()
        assert others.exists()
    with alone(tmp_path / ".lock", tmp_path):
        assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["photo.tmp"]


def test_places_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / ".lock").symlink_to("/tmp/elsewhere")
    for lock in (tmp_path / ".lock", tmp_path / "file" / ".lock"):
        with pytest.raises(OutputError), alone(lock, lock.parent):
            pytest.fail("entered")


@pytest.mark.parametrize("entered", ["alone", "RunDir"])
def test_a_lock_that_is_removed_while_another_opens_it_is_not_held(tmp_path, monkeypatch, entered):
    """Who leaves removes the lock's file: who has opened it by then, and locks it, would be alone with a file
    that nobody sees, while a third enters by a new one."""
    out, opened, left = tmp_path / "out", os.open, []

    def open_and_leave(path, *args, **options):
        descriptor = opened(path, *args, **options)
        if str(path).endswith("lock") and not left:
            left.append(path)
            os.unlink(path, dir_fd=options.get("dir_fd"))
        return descriptor

    def enter():
        return alone(tmp_path / ".lock", out) if entered == "alone" else RunDir(out, "run")

    with monkeypatch.context() as patch, contextlib.suppress(InUseError), contextlib.ExitStack() as inside:
        patch.setattr(os, "open", open_and_leave)
        inside.enter_context(enter())
        with pytest.raises(InUseError):
            inside.enter_context(enter())
    assert left
    with enter():
        pass


def test_what_cannot_be_set_aside_is_left_with_its_own_error(tmp_path):
    path, damage = tmp_path / "state", FileError("state is damaged")
    path.write_bytes(b"half")
    (tmp_path / "state.damaged").mkdir()
    with pytest.raises(FileError, match="state is damaged"):
        set_damaged_aside(path, damage)
    assert path.read_bytes() == b"half"
    assert set_damaged_aside(tmp_path / "gone", damage) == "state is damaged (kept as gone.damaged)"
