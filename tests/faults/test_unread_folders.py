"""Folders that cannot be listed are named, whatever is looked for in them."""

import errno
import os

import pytest

from netinvert.errors import NetinvertError
from netinvert.io.images import image_files
from netinvert.scenes.annotations import load_annotations
from netinvert.scenes.dataset_reader import shard_paths
from netinvert.scenes.mesh_files import list_objects
from netinvert.training.decoder.images import described

LISTERS = (image_files, load_annotations, shard_paths, list_objects, lambda folder: described(str(folder)))


@pytest.mark.parametrize("listed", LISTERS)
def test_a_bad_block_under_a_folder_is_told(tmp_path, monkeypatch, listed):
    folder = tmp_path / "things"
    folder.mkdir()

    def broken(path, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "scandir", broken)
    monkeypatch.setattr(os, "listdir", broken)
    with pytest.raises(NetinvertError, match=r"things.*Input/output error"):
        listed(folder)
