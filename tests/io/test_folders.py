"""The output folder: nothing is lost, nothing is half there, and a stopped run can go on."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netinvert.errors import ConfigError, OutputError
from netinvert.io import locks
from netinvert.io.folders import OutputFolder
from netinvert.io.locks import Lock


def tree(folder: Path) -> list[str]:
    return sorted(str(entry.relative_to(folder)) for entry in folder.rglob("*"))


def finish(path: Path, text: str = "done", overwrite: bool = False) -> None:
    with OutputFolder(path, "run", overwrite) as folder:
        (folder.staging / "manifest.json").write_text(f'{{"text": "{text}"}}')
        (folder.staging / "frames").mkdir()
        (folder.staging / "frames" / "0.png").write_text(text)
        folder.commit()


def stop(path: Path, run_id: str = "run") -> None:
    with pytest.raises(KeyboardInterrupt), OutputFolder(path, run_id) as folder:  # noqa: PT012
        (folder.staging / "half.png").write_text("half")
        (folder.staging / "frames").mkdir()
        folder.checkpoint.write_text("checkpoint")
        raise KeyboardInterrupt


DONE = ["out", "out/frames", "out/frames/0.png", "out/manifest.json"]


def test_commit_moves_everything_into_place(tmp_path):
    finish(tmp_path / "out")
    assert tree(tmp_path) == DONE


@pytest.mark.parametrize("name", ["out", "out/", "a/b/../out", "nested/deep/out"])
def test_any_way_of_naming_the_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    finish(name)
    assert (Path(name) / "manifest.json").is_file()


def test_nothing_is_seen_before_commit(tmp_path):
    with OutputFolder(tmp_path / "out", "run") as folder:
        (folder.staging / "a.png").write_text("a")
        assert not (tmp_path / "out").exists()
        assert folder.staging.parent == tmp_path


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    finish(tmp_path / "out")
    assert tree(tmp_path) == DONE


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    finish(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_leaving_without_commit_leaves_nothing(tmp_path, error):
    def run():
        with OutputFolder(tmp_path / "new" / "parents" / "out", "run") as folder:
            (folder.staging / "a.png").write_text("a")
            (folder.staging / "frames").mkdir()
            if error:
                raise error

    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert tree(tmp_path) == []


# --- stopped and taken up again ----------------------------------------------------------------


def test_a_stopped_run_keeps_its_checkpoint_and_goes_on(tmp_path):
    stop(tmp_path / "new" / "out")
    staged = "new/.out.partial"
    assert tree(tmp_path) == ["new", staged, f"{staged}/checkpoint.safetensors", f"{staged}/run.id"]
    with OutputFolder(tmp_path / "new" / "out", "run") as folder:
        assert folder.resumes
        assert folder.checkpoint.read_text() == "checkpoint"
        (folder.staging / "manifest.json").write_text("{}")
        folder.commit()
    assert tree(tmp_path) == ["new", "new/out", "new/out/manifest.json"]


def test_a_killed_run_leaves_only_its_checkpoint_to_the_next(tmp_path):
    stop(tmp_path / "out")
    (tmp_path / ".out.partial" / "half.png").write_text("a kill -9 cleans nothing up")
    with OutputFolder(tmp_path / "out", "run") as folder:
        assert folder.resumes
        assert sorted(entry.name for entry in folder.staging.iterdir()) == [
            "checkpoint.safetensors",
            "run.id",
        ]


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "run.id").write_text("run\n")
    with OutputFolder(tmp_path / "out", "run") as folder:
        assert not folder.resumes


def test_an_unfinished_run_with_other_settings(tmp_path):
    stop(tmp_path / "out", "other")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="other settings"), OutputFolder(tmp_path / "out", "run"):
        pass
    assert tree(tmp_path) == before
    with OutputFolder(tmp_path / "out", "run", overwrite=True) as folder:
        assert not folder.resumes
        assert not folder.checkpoint.exists()
    assert tree(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_staging_folder_that_is_not_ours(tmp_path, overwrite):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="in the way"), OutputFolder(tmp_path / "out", "run", overwrite):
        pass
    assert tree(tmp_path) == [".out.partial", ".out.partial/mine.txt"]


@pytest.mark.parametrize("run_id", ["", " ", "a\n"])
def test_run_ids(tmp_path, run_id):
    with pytest.raises(ConfigError, match="run id"):
        OutputFolder(tmp_path / "out", run_id)


# --- what is there is never lost ---------------------------------------------------------------


def test_another_run_needs_overwrite(tmp_path):
    finish(tmp_path / "out", "old")
    with pytest.raises(OutputError, match="holds another run"), OutputFolder(tmp_path / "out", "run"):
        pass
    assert tree(tmp_path) == DONE
    finish(tmp_path / "out", "new", overwrite=True)
    assert tree(tmp_path) == DONE
    assert (tmp_path / "out" / "frames" / "0.png").read_text() == "new"


def test_a_failed_overwriting_run_keeps_the_old_one(tmp_path):
    finish(tmp_path / "out", "old")
    with pytest.raises(ValueError, match="x"), OutputFolder(tmp_path / "out", "run", overwrite=True):
        raise ValueError("x")
    assert tree(tmp_path) == DONE


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"photo.jpg": "mine"},
        {"manifest.json": "not json"},
        {"manifest.json": "[]"},
        {"manifest.json": "{}", ".gitignore": "mine"},
        {".hidden": "mine"},
        {"manifest.json/photo.jpg": "mine"},
    ],
)
def test_the_users_own_files_are_never_replaced(tmp_path, overwrite, files):
    for name, text in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="not of a run"), OutputFolder(tmp_path / "out", "run", overwrite):
        pass
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_be_a_folder(tmp_path, monkeypatch, overwrite):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "mount").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    is_mount = os.path.ismount
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "mount" or is_mount(path))
    for path, says in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "out", "is a file, not a folder"),
        (tmp_path / "file" / "deep" / "out", "is a file, not a folder"),
        (tmp_path / "cwd", "inside it"),
        (tmp_path / "mount", "inside it"),
        (tmp_path / ("x" * 250), "too long"),
        (Path("/"), "inside it"),
    ):
        with pytest.raises(OutputError, match=says), OutputFolder(path, "run", overwrite):
            pass
    assert tree(tmp_path) == ["cwd", "file", "mount"]


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission")],
)
@pytest.mark.parametrize("where", ["os.open", "os.fsync", "pathlib.Path.mkdir"])
def test_a_folder_that_cannot_be_written_is_refused_on_entering(tmp_path, monkeypatch, number, says, where):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(OutputError, match=says), OutputFolder(tmp_path / "out", "run"):
            pytest.fail("entered")
    assert tree(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_parent(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"), OutputFolder(tmp_path / "out", "run"):
        pass


# --- commit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_move_restores_the_old_run_and_keeps_the_new_files(tmp_path, monkeypatch, fails_at, error):
    finish(tmp_path / "out", "old")
    moves = 0
    replace = Path.replace

    def failing(self, target):
        nonlocal moves
        moves += 1
        if moves == fails_at:
            raise error
        return replace(self, target)

    folder = OutputFolder(tmp_path / "out", "run", overwrite=True)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught, folder:  # noqa: PT012
        (folder.staging / "manifest.json").write_text("{}")
        folder.checkpoint.write_text("checkpoint")
        monkeypatch.setattr(Path, "replace", failing)
        folder.commit()
    if expected is OutputError:
        assert "kept in" in str(caught.value)
    assert (tmp_path / "out" / "frames" / "0.png").read_text() == "old"
    kept = [f".out.partial{name}" for name in ("", "/checkpoint.safetensors", "/manifest.json", "/run.id")]
    assert tree(tmp_path) == kept + DONE


def test_a_folder_filled_in_the_meantime_is_not_replaced(tmp_path):
    with pytest.raises(OutputError, match="not of a run"), OutputFolder(tmp_path / "out", "run") as folder:  # noqa: PT012
        (folder.staging / "manifest.json").write_text("{}")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "photo.jpg").write_text("mine")
        folder.commit()
    assert (tmp_path / "out" / "photo.jpg").read_text() == "mine"
    assert (tmp_path / ".out.partial" / "manifest.json").exists()


def test_commit_only_once_and_only_inside(tmp_path):
    folder = OutputFolder(tmp_path / "out", "run")
    with pytest.raises(OutputError, match="inside the with block"):
        folder.commit()
    with folder:
        folder.commit()
        with pytest.raises(OutputError, match="commit once"):
            folder.commit()
    assert tree(tmp_path) == ["out"]


def test_a_crash_in_the_middle_of_commit_is_mended(tmp_path):
    finish(tmp_path / "out", "old")
    (tmp_path / "out").rename(tmp_path / ".out.netinvert-replaced")
    with pytest.raises(OutputError, match="holds another run"), OutputFolder(tmp_path / "out", "run"):
        pass
    assert tree(tmp_path) == DONE
    (tmp_path / ".out.netinvert-replaced").mkdir()
    finish(tmp_path / "out", "new", overwrite=True)
    assert tree(tmp_path) == DONE


# --- two at once -------------------------------------------------------------------------------


def test_two_at_once(tmp_path):
    with OutputFolder(tmp_path / "out", "run") as first:
        (first.staging / "a.png").write_text("a")
        with pytest.raises(OutputError, match="another process"), OutputFolder(tmp_path / "out", "run"):
            pass
        with pytest.raises(OutputError, match="already"):
            first.__enter__()
        assert (first.staging / "a.png").exists()
        first.commit()
    assert tree(tmp_path) == ["out", "out/a.png"]


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def test_a_lock_lives_as_long_as_its_process(tmp_path, sleeper):
    lock = Lock(tmp_path / "lock")
    (tmp_path / "lock").write_text(locks._owner(sleeper.pid))
    with pytest.raises(OutputError, match=f"process {sleeper.pid}"):
        lock.acquire()
    sleeper.stdin.write(b"\n")
    sleeper.stdin.flush()
    sleeper.wait()
    lock.acquire()
    assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()
    lock.release()
    assert tree(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no start times of processes here")
def test_a_process_number_that_was_used_again(tmp_path):
    dead = locks._owner(os.getpid()).replace(f"started {locks._start_time(os.getpid())}", "started 1")
    (tmp_path / "lock").write_text(dead)
    Lock(tmp_path / "lock").acquire()


def test_locks_of_other_hosts_and_fresh_ones_are_respected(tmp_path):
    for text in ("process 1 started 1 on elsewhere.invalid\n", ""):
        (tmp_path / "lock").write_text(text)
        with pytest.raises(OutputError, match="delete"):
            Lock(tmp_path / "lock").acquire()
        assert (tmp_path / "lock").read_text() == text


def test_an_empty_lock_of_a_crash_is_taken_over(tmp_path):
    (tmp_path / "lock").touch()
    os.utime(tmp_path / "lock", (0, 0))
    Lock(tmp_path / "lock").acquire()


def test_a_lock_is_only_released_by_its_holder(tmp_path):
    Lock(tmp_path / "lock").acquire()
    Lock(tmp_path / "lock").release()
    assert (tmp_path / "lock").exists()
