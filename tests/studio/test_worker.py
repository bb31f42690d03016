"""What a visitor's process does, without the process: pictures, tiles, inversions that change, runs kept."""

from __future__ import annotations

import io
import shlex
import threading

import pytest
import torch
from PIL import Image

from netinvert.cli.app import parse
from netinvert.errors import ConfigError, ImageError
from netinvert.experiments.configs.images import Invert
from netinvert.io.images import image_from_bytes, read_image
from netinvert.studio import desk as desks
from netinvert.studio.desk import Desk, Sight, Task
from netinvert.studio.inverting import Inverting, prior_of
from netinvert.studio.looking import Looking, feature_maps, tiled
from netinvert.studio.worker import Lane

LAYER = {"network": "posenet", "layer": "relu5"}
SETTINGS = {**LAYER, "prior": "tv-isotropic", "weight": 0.1, "steps": 6}


class Told(list):
    """What was said, with the last text and picture of each place."""

    def texts(self, key: str) -> list[str]:
        return [one.text for one in self if isinstance(one, Sight) and one.key == key]

    def last(self, key: str) -> Sight:
        return [one for one in self if isinstance(one, Sight) and one.key == key][-1]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def desk(told, tmp_path) -> Desk:
    return Desk(told.append, tmp_path / "kept", 1)


def png(width: int = 20, height: int = 10) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


# -- pictures from outside ---------------------------------------------------------------------------------


def test_a_file_s_bytes_are_read_as_the_file_is(tmp_path):
    (tmp_path / "red.png").write_bytes(png())
    assert torch.equal(image_from_bytes(png()), read_image(tmp_path / "red.png"))


def test_pictures_are_bounded_before_they_are_decoded(desk, monkeypatch):
    monkeypatch.setattr(desks, "MOST_PIXELS", 199)
    decoded, data = [], png()
    monkeypatch.setattr(Image.Image, "load", decoded.append)
    with pytest.raises(ImageError, match="million pixels: make it smaller"):
        desk.take("look", {"picture": data})
    assert decoded == []


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", png()[:40], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_picture_is_refused(desk, data):
    with pytest.raises(ImageError):
        desk.take("look", {"picture": data})


def test_large_pictures_are_kept_smaller(desk):
    assert max(desk.take("look", {"picture": png(2000, 1000)}).shape[2:]) == desks.LARGEST
    assert desk.take("look", {"picture": png(4000, 2)}).shape[2:] == (1, desks.LARGEST)


@pytest.mark.parametrize("name", ["../chair", "/etc/passwd", "chair.png", "chair 5"])
def test_samples_are_names_and_no_paths(desk, name):
    with pytest.raises(ConfigError, match="there is no sample"):
        desk.take("look", {"sample": name})


def test_there_is_a_picture_from_the_start(desk):
    assert desk.take("look", {}).shape[1] == 3


# -- tiles -------------------------------------------------------------------------------------------------


def test_codes_of_all_kinds_become_maps():
    assert feature_maps(torch.zeros(8, 5, 6)).shape == (8, 5, 6)
    assert feature_maps(torch.zeros(7)).shape == (7, 1, 1)
    assert feature_maps(torch.zeros(1 + 16, 12)).shape == (12, 4, 4)  # a class token before the patches
    tokens = torch.arange(5.0)[:, None].expand(5, 2)
    assert feature_maps(tokens)[0].flatten().tolist() == [1, 2, 3, 4]


def test_tiles_stand_row_by_row():
    maps = torch.zeros(5, 2, 2)
    maps[4] = 1.0
    image, columns = tiled(maps)
    assert (columns, image.shape) == (3, (3, 4, 6))
    assert image[:, 2:, 2:4].min(0).values.sum() >= 0
    assert (image[0] > 0).nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_below_zero_is_blue():
    image, _ = tiled(torch.tensor([1.0, -1.0])[:, None, None])
    assert image[0, 0, 0] > image[2, 0, 0]
    assert image[2, 0, 1] > image[0, 0, 1]


def test_large_maps_become_smaller():
    image, columns = tiled(torch.rand(16, 400, 200))
    assert max(image.shape) <= 720
    assert columns == 4


# -- look --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["none", "gradient", "deconvolution"])
def test_a_unit_is_shown_with_its_way_back(desk, told, back):
    Looking(desk).look(Task({**LAYER, "unit": 3, "boost": 0.5, "back": back}))
    assert told.last("look-tiles").more == {"columns": 11, "count": 112}
    assert told.last("look-map").text.startswith("unit 3 · largest")
    assert bool(told.texts("look-back")) == (back != "none")


def test_a_unit_that_is_not_there_is_left_out(desk, told):
    for unit in (-1, 112):
        Looking(desk).look(Task({**LAYER, "unit": unit, "boost": 0.5, "back": "none"}))
        with pytest.raises(ConfigError, match="channels 0 to 111"):
            Looking(desk).unit(Task({**LAYER, "unit": unit}))
    assert told.texts("look-map") == []


def test_layers_are_listed_with_those_worth_a_look_first(desk, told):
    Looking(desk).layers(Task({"network": "posenet"}))
    about = told[-1]["layers posenet"]
    assert about["middle"] in about["suggested"]
    assert [*about["names"]][: len(about["suggested"])] == about["suggested"]


# -- invert ------------------------------------------------------------------------------------------------


def test_an_inversion_comes_step_by_step(desk, told):
    Inverting(desk, "left").invert(Task(SETTINGS))
    assert told.last("left-image").text.startswith("code error ")
    assert "step 6 of 6" in told.last("left-image").text
    assert told.last("left-image").picture
    assert told.last("left-state").text == "done"


def test_another_weight_goes_on_from_the_image_that_is_there(desk, told, monkeypatch):
    from netinvert.studio import inverting

    begun = []
    prepare = inverting.prepare

    def watched(encoder, code, how, start):
        begun.append((how.prior, how.steps, start))
        return prepare(encoder, code, how, start)

    monkeypatch.setattr(inverting, "prepare", watched)
    task = Task(SETTINGS)
    task.adjust({"weight": 5.0})
    Inverting(desk, "left").invert(task)
    (first, steps, start), (second, left, image) = begun
    assert (first, second) == ("tv-isotropic=0.1", "tv-isotropic=5.0")
    assert (start, left) == (None, steps - 1)
    assert image.shape == (1, 3, 128, 128)
    assert "step 6 of 6" in told.last("left-image").text


def test_what_was_paused_while_it_waited_begins_so(desk, told):
    task = Task({**SETTINGS, "paused": True})
    thread = threading.Thread(target=Inverting(desk, "left").invert, args=(task,))
    thread.start()
    while "paused" not in told.texts("left-state"):
        thread.join(0.01)
    assert "step 1 of 6" in told.last("left-image").text
    task.adjust({"paused": False})
    thread.join(30)
    assert told.last("left-state").text == "done"


def test_it_pauses_goes_on_and_is_cancelled(desk, told):
    task = Task({**SETTINGS, "steps": 10_000})
    task.adjust({"paused": True})
    thread = threading.Thread(target=Inverting(desk, "left").invert, args=(task,))
    thread.start()
    while "paused" not in told.texts("left-state"):
        thread.join(0.01)
    steps = told.texts("left-image")
    task.adjust({"paused": False})
    while len(told.texts("left-image")) == len(steps):
        thread.join(0.01)
    task.cancelled.set()
    thread.join(5)
    assert not thread.is_alive()
    assert told.last("left-state").text == "stopped"


@pytest.mark.slow
def test_what_is_kept_is_a_run_of_the_command(desk, told, tmp_path):
    """And does not overwrite the one before."""
    (desk.kept / "posenet-relu5-none-1").mkdir(parents=True)
    Inverting(desk, "left").keep(Task({**SETTINGS, "prior": "none", "steps": 2}))
    runs = sorted(path.name for path in desk.kept.iterdir() if path.is_dir())
    assert runs == ["posenet-relu5-none-1", "posenet-relu5-none-2"]
    assert (desk.kept / runs[1] / "report.html").is_file()
    line = told.last("left-kept").more["command"]
    config = parse(shlex.split(line)[1:])
    assert isinstance(config, Invert)
    assert (config.out, config.prior) == (desk.kept / runs[1], "none")


@pytest.mark.parametrize("layer", ["../../../tmp/x", "/etc/x", "<b>"])
def test_no_name_leaves_the_folder_of_what_is_kept(desk, told, layer, monkeypatch):
    from netinvert.studio import inverting

    made = []

    def refused(words, **how):
        made.append(words)
        raise ConfigError("not now")

    monkeypatch.setattr(inverting.subprocess, "Popen", refused)
    with pytest.raises(ConfigError, match="not now"):
        Inverting(desk, "left").keep(Task({**SETTINGS, "layer": layer}))
    out = desk.kept / made[0][made[0].index("--out") + 1]
    assert out.parent == desk.kept
    assert {path.parent for path in desk.kept.iterdir()} == {desk.kept}


def test_weights_are_written_as_the_command_reads_them():
    assert prior_of({"prior": "tv-huber", "weight": 0.012345}) == "tv-huber=0.0123"
    assert prior_of({"prior": "none", "weight": 3.0}) == "none"


# -- lanes -------------------------------------------------------------------------------------------------


def test_a_lane_tells_what_went_wrong_and_goes_on(desk, told, capfd):
    done = threading.Event()

    def do(task: Task) -> None:
        if task.data["what"] == "bad input":
            raise ConfigError("say it otherwise")
        if task.data["what"] == "a bug":
            raise ZeroDivisionError("oh")
        done.set()

    lane = Lane("left", do, desk)
    lane.start()
    for what in ("bad input", "a bug", "good"):
        lane.put({"what": what})
    assert done.wait(5)
    while told.count("left") < 3:
        lane.join(0.01)
    assert told.texts("left-note") == ["say it otherwise", "ZeroDivisionError: oh", ""]
    assert "ZeroDivisionError" in capfd.readouterr().err
