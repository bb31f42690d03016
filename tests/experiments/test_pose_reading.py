"""``netinvert pose read``: poses of images, and how sure they are."""

import pytest
import torch
from PIL import Image

import netinvert as ni
from netinvert.cli.app import main
from netinvert.experiments.pose_reading import (
    SteadyReading,
    _lines,
    _row,
    changed,
    drawn_pose,
    steady_reading,
)
from netinvert.io.assets import chair
from netinvert.io.files import read_json
from netinvert.io.images import fit
from netinvert.scenes.cameras import angles_from_rotation, rotation_from_angles


def call(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def encoder():
    network = ni.load_network("posenet-judge")
    return ni.Encoder(network, network.layers[-1])


def image_of(name, encoder):
    return fit(ni.read_image(ni.sample(name)), encoder.size)


def test_copies_are_small_changes_and_their_mirror_images():
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    copies = changed(image)
    assert torch.allclose(copies[0], image[0], atol=1e-5)
    assert torch.equal(copies[7:], copies[:7].flip(-1))
    assert torch.allclose(copies[1, :, :, :-2], image[0, :, :, 2:], atol=1e-5)  # 0.05 of 40 to the side


def test_a_mirror_image_is_read_as_the_mirrored_pose(encoder):
    image = image_of("chair", encoder)
    one, other = steady_reading(encoder, image), steady_reading(encoder, image.flip(-1))
    azimuth, elevation, _ = angles_from_rotation(one.rotation)
    mirrored = angles_from_rotation(other.rotation)
    # exactly, up to the rounding of bilinear weights
    assert abs((azimuth + mirrored[0] + 180) % 360 - 180) < 0.5
    assert abs(elevation - mirrored[1]) < 0.5
    assert abs(one.spread - other.spread) < 0.5


def test_a_chair_is_read_right_and_surely_and_noise_unsurely(encoder):
    found, truth = steady_reading(encoder, image_of("chair", encoder)), chair()
    azimuth, elevation, _ = angles_from_rotation(found.rotation)
    assert abs((azimuth - truth.azimuth + 180) % 360 - 180) < 15
    assert abs(elevation - truth.elevation) < 15
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert steady_reading(encoder, noise).spread > 2 * found.spread
    assert found.words != "unsure"


def test_an_object_without_a_front_is_called_so():
    told = [
        _lines(_row(SteadyReading(torch.eye(3), 3.0, None, 0.9, share)))[2] for share in (0.19, 0.2, None)
    ]
    assert told == ["sure: spread 3°", "sure: spread 3°, no front", "sure: spread 3°"]


@pytest.mark.parametrize(
    ("azimuth", "to"), [(0.0, (0, 1)), (90.0, (-1, 0)), (180.0, (0, -1)), (270.0, (1, 0))]
)
def test_the_dial_shows_the_front_from_above(azimuth, to):
    """Seen from the object's left its front is to the left, seen from the front it points to the camera."""
    rotation = torch.from_numpy(rotation_from_angles(azimuth, 20.0)).float()
    drawn = drawn_pose(Image.new("RGB", (200, 200), "black"), rotation)
    at = 24 + 9 * to[0], 176 + 9 * to[1]
    red, _, blue = drawn.getpixel(at)
    assert red > 150 > blue
    assert min(drawn.getpixel((24 - 9 * to[0], 176 - 9 * to[1]))) > 200


@pytest.mark.slow
def test_poses_of_photographs_as_a_run(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("chair", "chelsea"):
        ni.write_png(ni.read_image(ni.sample(name)), folder / f"{name}.png")
    assert call("pose", "read", folder, "--network", "objectron-chair", "--out", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "trained to read a chair" in told.err
    rows = read_json(tmp_path / "out" / "manifest.json")["poses"]
    assert [row["image"] for row in rows] == ["chair", "chelsea"]
    assert rows[0]["presence"] > 0.5 > rows[1]["presence"]
    assert [row["reading"] for row in rows][1] == "unsure"
    names = {one.name for one in (tmp_path / "out").iterdir()}
    assert {"report.html", "report.json", "poses.csv", "contact-sheet.png", "chair.png"} <= names
    assert call("rerun", tmp_path / "out", "--out", tmp_path / "again") == 0
    assert "\nbit-identical" in capsys.readouterr().out


def test_a_network_that_reads_no_poses(tmp_path, capsys):
    command = ("pose", "read", ni.sample("chair"), "--network", "hog", "--out", tmp_path / "out")
    assert call(*command) == 2
    assert "hog reads no poses: choose a pose network, such as posenet" in capsys.readouterr().err
    assert call("pose", "read", "nothing.jpg", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == "netinvert: nothing.jpg does not exist: check the path\n"
