"""One process at a time, and what a killed one leaves."""

import pytest

from netinvert.errors import OutputError
from netinvert.io.files import write_atomic
from netinvert.io.folders import InUseError, alone


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
