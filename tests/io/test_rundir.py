"""The run directory: nothing is lost, nothing is half there, and a stopped run can be resumed."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netinvert.errors import ConfigError, OutputError
from netinvert.io.files import write_atomic
from netinvert.io.folders import bring_to_disk
from netinvert.io.rundir import FinishedError, RunDir

FACTS = {"command": "run", "seed": 0}
OTHER = {"command": "run", "seed": 1}
DONE = ["out", "out/images", "out/images/0.png", "out/manifest.json"]


def tree(folder):
    return sorted(str(entry.relative_to(folder)) for entry in folder.rglob("*"))


def finish(path, text="done", facts=FACTS, **how):
    with RunDir(path, facts, **how) as run:
        run.path("images/0.png").write_text(text)
        assert run.commit({"text": text}) == Path(os.path.realpath(path))


def stop(path, facts=FACTS, **how):
    with pytest.raises(KeyboardInterrupt), RunDir(path, facts, **how) as run:  # noqa: PT012
        run.path("half.png").write_text("half")
        run.checkpoint("piece").write_text("checkpoint")
        raise KeyboardInterrupt


def refused(path, says, facts=FACTS, **how):
    before = tree(path.parent) if path.parent.is_dir() else None
    with pytest.raises(OutputError, match=says) as caught, RunDir(path, facts, **how):
        pytest.fail("entered")
    assert before is None or tree(path.parent) == before
    return caught.value


def test_commit_moves_everything_into_place(tmp_path):
    finish(tmp_path / "out")
    assert tree(tmp_path) == DONE
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["text"] == "done"
    assert manifest["run"]["facts"] == FACTS
    assert list(manifest["files"]) == ["images/0.png"]


@pytest.mark.parametrize("name", ["out", "out/", "a/b/../out", "nested/deep/out", "ü ñ\n/out"])
def test_any_way_of_naming_the_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    finish(name)
    assert (Path(name) / "manifest.json").is_file()


def test_nothing_is_seen_before_commit_and_empty_or_linked_directories_are_used(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    with RunDir(tmp_path / "out", FACTS) as run:
        run.path("images/0.png").write_text("done")
        assert not list((tmp_path / "real").iterdir())
        run.commit()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "images" / "0.png").read_text() == "done"


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_leaving_without_commit_leaves_nothing(tmp_path, error):
    def go():
        with RunDir(tmp_path / "new" / "parents" / "out", FACTS) as run:
            run.path("a.png").write_text("a")
            if error:
                raise error

    if error:
        with pytest.raises(error):
            go()
    else:
        go()
    assert tree(tmp_path) == []


# --- names ------------------------------------------------------------------------------------------------

HOSTILE = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    ".git/x",
    "a/.x",
    "x\0",
    "manifest.json",
]
HOSTILE += ["a/", "\udfff"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_leave_the_directory_or_cannot_be(tmp_path, name):
    with RunDir(tmp_path / "out", FACTS) as run:
        before = tree(tmp_path)
        with pytest.raises(OutputError, match=r"no name|cannot write"):
            run.path(name)
        assert tree(tmp_path) == before


@pytest.mark.slow
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4).map("/".join))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_the_file_is_inside(tmp_path, name):
    with RunDir(tmp_path / "out", FACTS) as run:
        try:
            path = run.path(name)
            path.write_text("x")
        except (OutputError, IsADirectoryError):
            return
        inside = tmp_path / ".out.partial" / "files"
        assert Path(os.path.realpath(path)).is_relative_to(inside)
        assert str(path.relative_to(inside)) in run.files()


def test_links_out_of_a_growing_directory_are_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        (tmp_path / "out" / "link").symlink_to(tmp_path / "mine")
        with pytest.raises(OutputError, match="leads out"):
            run.path("link/x")
    assert not list((tmp_path / "mine").iterdir())


def test_checkpoints_have_a_name_for_any_key(tmp_path):
    with RunDir(tmp_path / "out", FACTS) as run:
        keys = ["../x", "", 1, 1.0, ("a", 2), "x" * 5000]
        paths = {run.checkpoint(key) for key in keys} | {run.checkpoint("", ".ckpt")}
        assert len(paths) == len(keys) + 1
        for path in paths:
            path.touch()
        assert tree(tmp_path / ".out.partial" / "checkpoints") == sorted(path.name for path in paths)
        with pytest.raises(ConfigError, match="no fact"):
            run.checkpoint(print)


# --- stopped and resumed ----------------------------------------------------------------------------------


def test_a_stopped_run_keeps_its_checkpoint_and_is_resumed(tmp_path):
    out = tmp_path / "new" / "out"
    stop(out)
    assert {path.split("/")[1] for path in tree(tmp_path) if "/" in path} == {".out.partial"}
    assert not any("half" in name for name in tree(tmp_path))
    (tmp_path / "new" / ".out.partial" / "files").mkdir()
    (tmp_path / "new" / ".out.partial" / "files" / "half.png").write_text("a kill -9 cleans nothing up")
    with RunDir(out, FACTS) as run:
        assert run.resumes
        assert run.checkpoint("piece").read_text() == "checkpoint"
        assert run.files() == {}
        run.commit()
    assert tree(tmp_path) == ["new", "new/out", "new/out/manifest.json"]


@pytest.mark.parametrize("left", ["nothing", ".netinvert-12.tmp"])
@pytest.mark.parametrize("staged", [True, False])
def test_a_run_that_was_killed_in_its_first_moment_is_in_nobodys_way(tmp_path, left, staged):
    work = tmp_path / (".out.partial" if staged else "out/.netinvert")
    work.mkdir(parents=True)
    if left != "nothing":
        (work / left).touch()
    finish(tmp_path / "out", staged=staged)
    assert tree(tmp_path) == DONE


def test_an_unfinished_run_with_other_settings(tmp_path):
    stop(tmp_path / "out", OTHER)
    refused(tmp_path / "out", r"other settings .*different seed")
    with RunDir(tmp_path / "out", FACTS, overwrite=True) as run:
        assert not run.resumes
        assert not run.checkpoint("piece").exists()
    assert tree(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_work_directory_that_is_not_ours(tmp_path, overwrite):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "mine.txt").write_text("mine")
    refused(tmp_path / "out", "in the way", overwrite=overwrite)


# --- what is there is never lost --------------------------------------------------------------------------


def test_a_finished_run_says_so(tmp_path):
    finish(tmp_path / "out")
    assert isinstance(refused(tmp_path / "out", "nothing to do"), FinishedError)
    (tmp_path / "out" / "images" / "0.png").write_text("changed")
    assert not isinstance(refused(tmp_path / "out", r"0\.png is missing or was changed"), FinishedError)
    finish(tmp_path / "out", overwrite=True)
    assert tree(tmp_path) == DONE


def test_another_run_needs_overwrite(tmp_path):
    finish(tmp_path / "out", "old")
    refused(tmp_path / "out", "holds another run", OTHER)
    with pytest.raises(ValueError, match="x"), RunDir(tmp_path / "out", OTHER, overwrite=True):
        raise ValueError("x")
    assert (tmp_path / "out" / "images" / "0.png").read_text() == "old"
    finish(tmp_path / "out", "new", OTHER, overwrite=True)
    assert tree(tmp_path) == DONE
    assert (tmp_path / "out" / "images" / "0.png").read_text() == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize(
    "files",
    [
        {"photo.jpg": "mine"},
        {"manifest.json": "not json"},
        {"manifest.json": "[]"},
        {"manifest.json": "{}", "thesis.txt": "mine"},
        {"manifest.json": '{"run": {"identity": "x"}}', "thesis.txt": "mine"},
        {"manifest.json": '{"run": {"identity": "x", "staged": true}, "files": {"a": "b"}}', "a": "mine"},
        {".hidden": "mine"},
        {"manifest.json/photo.jpg": "mine"},
    ],
)
def test_the_users_own_files_are_never_replaced(tmp_path, overwrite, staged, files):
    for name, text in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    said = str(refused(tmp_path / "out", "holds (other )?files", overwrite=overwrite, staged=staged))
    assert not staged or all(name in said for name in files)
    assert all((tmp_path / "out" / name).read_text() == text for name, text in files.items())


@pytest.mark.parametrize("name", ["thesis.txt", "images/mine.png", ".gitignore", "link"])
def test_a_run_with_files_of_the_user_is_not_replaced(tmp_path, name):
    finish(tmp_path / "out")
    if name == "link":
        (tmp_path / "out" / name).symlink_to(tmp_path)
    else:
        (tmp_path / "out" / name).write_text("mine")
    assert name in str(refused(tmp_path / "out", "not of the run", OTHER, overwrite=True))
    assert isinstance(refused(tmp_path / "out", "nothing to do"), FinishedError)


def test_what_a_killed_process_left_half_written_in_a_run_is_nobodys(tmp_path):
    finish(tmp_path / "out")
    (tmp_path / "out" / ".netinvert-0123-4567.tmp").write_text("half")
    finish(tmp_path / "out", "new", OTHER, overwrite=True)
    assert tree(tmp_path) == DONE


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_dataset_is_not_replaced_by_a_run(tmp_path, overwrite):
    finish(tmp_path / "out", staged=False)
    refused(tmp_path / "out", "holds a dataset", OTHER, overwrite=overwrite)
    refused(tmp_path / "out", "different seed", OTHER, overwrite=overwrite, staged=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_be_a_directory(tmp_path, monkeypatch, overwrite):
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
        (tmp_path / "a\0b", "null"),
        (Path("/"), "inside it"),
    ):
        with pytest.raises(OutputError, match=says), RunDir(path, FACTS, overwrite):
            pytest.fail("entered")
    assert tree(tmp_path) == ["cwd", "file", "mount"]


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission")],
)
@pytest.mark.parametrize("where", ["os.open", "os.fsync", "pathlib.Path.mkdir"])
@pytest.mark.parametrize("staged", [True, False])
def test_a_place_that_cannot_be_written_is_refused_on_entering(
    tmp_path, monkeypatch, number, says, where, staged
):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(OutputError, match=says), RunDir(tmp_path / "out", FACTS, staged=staged):
            pytest.fail("entered")
    assert tree(tmp_path) == []


def test_too_little_space_is_told_beforehand(tmp_path):
    with RunDir(tmp_path / "out", FACTS) as run:
        run.require_space(1)
        with pytest.raises(OutputError, match="GB free"):
            run.require_space(1e18)


# --- commit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_move_restores_the_old_run_and_keeps_the_new_files(tmp_path, monkeypatch, fails_at, error):
    finish(tmp_path / "out", "old")
    moves = 0
    replace = Path.replace

    def failing(self, target):
        nonlocal moves
        moves += not self.name.endswith(".tmp")
        if moves == fails_at and not self.name.endswith(".tmp"):
            raise error
        return replace(self, target)

    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    run = RunDir(tmp_path / "out", OTHER, overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(expected) as caught, run:  # noqa: PT012
        run.path("new.png").write_text("new")
        run.checkpoint("piece").write_text("checkpoint")
        patch.setattr(Path, "replace", failing)
        run.commit()
    if expected is OutputError:
        assert "kept in" in str(caught.value)
    assert (tmp_path / "out" / "images" / "0.png").read_text() == "old"
    assert (tmp_path / ".out.partial" / "files" / "new.png").read_text() == "new"
    with RunDir(tmp_path / "out", OTHER, overwrite=True) as run:
        assert run.resumes


def test_a_directory_filled_in_the_meantime_is_not_replaced(tmp_path):
    with pytest.raises(OutputError, match="not of a run"), RunDir(tmp_path / "out", FACTS) as run:  # noqa: PT012
        run.path("new.png").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "photo.jpg").write_text("mine")
        run.commit()
    assert (tmp_path / "out" / "photo.jpg").read_text() == "mine"
    assert (tmp_path / ".out.partial" / "files" / "new.png").exists()


@pytest.mark.parametrize("staged", [True, False])
def test_commit_only_once_and_only_inside(tmp_path, staged):
    run = RunDir(tmp_path / "out", FACTS, staged=staged)
    with pytest.raises(OutputError, match="inside the with block"):
        run.commit()
    with run:
        run.commit()
        with pytest.raises(OutputError, match="commit once"):
            run.commit()
    assert tree(tmp_path) == ["out", "out/manifest.json"]


KILLED = """
import os, signal, sys, traceback
from pathlib import Path
from netinvert.io import rundir

def counted(real, count, at):
    def call(*args, **kwargs):
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

def one(out, facts, how, at=None):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = [0]
    for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name), count, at))
    code = 1
    try:
        with rundir.RunDir(out, facts, **how) as run:
            run.checkpoint("x").write_text("x")
            run.path("images/0.png").write_text(str(facts))
            run.commit()
        code = 0
    except rundir.FinishedError:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

how = {"over": {"overwrite": True}, "grows": {"staged": False}}.get(sys.argv[2], {})
for at in range(1, 200):
    out = Path(sys.argv[1]) / str(at) / "out"
    if sys.argv[2] == "over":
        assert one(out, "old", {}) == 0
    code = one(out, "new", how, at)
    image = out / "images/0.png"
    assert not image.exists() or image.read_text() in ("old", "new"), at
    assert one(out, "new", how) == 0, at
    left = sorted(str(path.relative_to(out.parent)) for path in out.parent.rglob("*"))
    assert left == ["out", "out/images", "out/images/0.png", "out/manifest.json"], (at, left)
    assert image.read_text() == "new", at
    if code == 0:
        print(at)
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["new", "over", "grows"])
def test_killed_before_any_file_operation_the_same_command_ends_well(tmp_path, how):
    command = [sys.executable, "-c", KILLED, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert int(done.stdout) > 12  # so many points


# --- two at once ------------------------------------------------------------------------------------------

HOLDS = """
import sys
from netinvert.io.rundir import RunDir
with RunDir(sys.argv[1], {"command": "run", "seed": 0}, staged=sys.argv[2] == "True"):
    print("inside", flush=True)
    input()
"""


@pytest.mark.parametrize("staged", [True, False])
def test_two_processes_at_once(tmp_path, staged):
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "out"), str(staged)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "inside\n"
    error = refused(tmp_path / "out", "another process", staged=staged)
    assert f"{process.pid} on" in str(error)
    refused(tmp_path / "out", r"another process|something else", OTHER, staged=staged)
    process.kill()  # a lock dies with its process
    process.communicate()
    finish(tmp_path / "out", staged=staged)
    assert tree(tmp_path) == DONE


def test_two_at_once_in_one_process(tmp_path):
    with RunDir(tmp_path / "out", FACTS) as first:
        first.path("images/0.png").write_text("a")
        refused(tmp_path / "out", "another process")
        with pytest.raises(OutputError, match="already"):
            first.__enter__()
        first.commit()
    assert tree(tmp_path) == DONE


# --- growing ----------------------------------------------------------------------------------------------


def test_what_a_kill_after_the_manifest_left_in_a_growing_directory_is_removed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("netinvert.io.rundir.remove_directory", lambda *_: None)
        with RunDir(tmp_path / "out", FACTS, staged=False) as run:
            run.path("images/0.png").write_text("done")
            (run.cells / "a.json").write_text("{}")
            run.commit()
    assert (tmp_path / "out" / ".netinvert").exists()
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        assert set(run.published) == {"images/0.png"}
    assert tree(tmp_path) == DONE


def test_a_growing_directory_is_seen_from_the_start_and_resumed(tmp_path):
    stop(tmp_path / "out", staged=False)
    assert (tmp_path / "out" / "half.png").read_text() == "half"
    assert not (tmp_path / "out" / "manifest.json").exists()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    refused(tmp_path / "out", "different seed", OTHER, staged=False)
    refused(tmp_path / "out", "not of a run")
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        assert run.resumes
        run.commit()
    assert tree(tmp_path) == ["out", "out/half.png", "out/manifest.json", "out/notes.txt"]
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        assert set(run.published) == {"half.png", "notes.txt"}
    assert tree(tmp_path) == ["out", "out/half.png", "out/manifest.json", "out/notes.txt"]


def test_files_without_cells_are_resumed_in_a_growing_directory(tmp_path):
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        run.path("events.log").write_text("x")
    with RunDir(tmp_path / "out", FACTS, staged=False) as run:
        run.commit()
    assert tree(tmp_path) == ["out", "out/events.log", "out/manifest.json"]


def test_files_are_brought_to_the_disk_together_before_they_are_published(tmp_path, monkeypatch):
    synced, out = [], tmp_path / "out"
    monkeypatch.setattr("os.fsync", synced.append)

    def fail(folder):
        assert not out.exists()
        assert tree(folder) == ["a", "b", "b/c", "manifest.json"]
        raise OSError(errno.EIO, "a bad block")

    with RunDir(out, FACTS) as run:
        before = len(synced)
        write_atomic(run.path("a"), b"a")
        write_atomic(run.path("b/c"), b"c")
        assert len(synced) == before
        write_atomic(run.checkpoint("a"), b"a")  # which is to survive by itself
        assert len(synced) == before + 1
        monkeypatch.setattr("netinvert.io.rundir.bring_to_disk", fail)
        with pytest.raises(OutputError, match=r"a bad block.*the finished files are kept"):
            run.commit()
    assert not out.exists()


@pytest.mark.parametrize("has_call", [True, False])
def test_a_folder_is_brought_to_the_disk_in_one_call_or_file_by_file(tmp_path, monkeypatch, has_call):
    synced, called = [], []
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b"):
        (tmp_path / name).write_text(name)
    library = SimpleNamespace(syncfs=lambda descriptor: called.append(descriptor) or -len(called) + 1)
    monkeypatch.setattr("ctypes.CDLL", lambda *args, **options: library if has_call else SimpleNamespace())
    monkeypatch.setattr("os.fsync", synced.append)
    bring_to_disk(tmp_path)
    assert (len(called), len(synced)) == ((1, 0) if has_call else (0, 2))
    if has_call:
        with pytest.raises(OSError):  # noqa: PT011  (whatever errno says)
            bring_to_disk(tmp_path)
