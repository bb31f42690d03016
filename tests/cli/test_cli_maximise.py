"""``netinvert maximise`` and ``netinvert caricature``."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from netinvert import Encoder, load_network, read_image
from netinvert.inversion.result import Checkpoint
from netinvert.io import assets as samples
from netinvert.io.files import load_tensors
from netinvert.models.zoo import mobile as imagenet

FEW = ("--steps", 6)
REST = {"report.html", "losses.csv", "loss.png", "contact-sheet.png", "tensors.safetensors", "manifest.json"}


def manifest_in(folder):
    return json.loads((folder / "manifest.json").read_text())


def names_in(folder):
    return {path.name for path in folder.iterdir()} - REST


@pytest.fixture
def head(nets):
    """The plain vector at the end."""
    return ["--network", nets("good"), "--layer", "6"]


# --- maximise -----------------------------------------------------------------------------------------


def test_channels(cli, net, tmp_path):
    out = tmp_path / "out"
    said = cli(
        "maximise", *net, "--channel", 0, "--channel", 5, "--restarts", 2, "--seed", 3, *FEW, "-o", out
    )
    assert said.exit_code == 0, said.output
    assert {path.name for path in out.iterdir()} == REST | names_in(out)
    assert names_in(out) == {"channel-0.png", "channel-0-2.png", "channel-5.png", "channel-5-2.png"}
    manifest = manifest_in(out)
    assert [sample["seed"] for sample in manifest["samples"]] == [3, 4, 3, 4]
    assert [sample["name"] for sample in manifest["samples"]] == list(manifest["attained"]["values"])
    assert manifest["command"]["command"] == "maximise"
    assert manifest["command"]["channel"] == [0, 5]
    assert manifest["steps"] == 6
    assert manifest["recipe"]["canvas"] == "Fourier"
    assert manifest["inputs"] == []
    assert manifest["psnr"] is None  # there is no original
    tensors, _ = load_tensors(out / "tensors.safetensors")
    assert tensors["image"].shape == (4, 3, 20, 24)
    assert not torch.equal(tensors["image"][0], tensors["image"][1])
    assert read_image(out / "channel-5.png").shape == (1, 3, 20, 24)
    assert (out / "losses.csv").read_text().count("\n") == 1 + 4 * 6


def test_more_of_the_channel_that_was_asked_for(cli, net, nets, tmp_path):
    cli("maximise", *net, "--channel", 0, "--channel", 5, "--steps", 60, "-o", tmp_path / "out")
    cut = Encoder(load_network(nets("good")), "2")
    means = {k: cut(read_image(tmp_path / "out" / f"channel-{k}.png"))[0].mean((1, 2)) for k in (0, 5)}
    assert means[0][0] > means[5][0]
    assert means[5][5] > means[0][5]


def test_objectives_are_those_of_the_images_kept(cli, net, nets, tmp_path):
    out = tmp_path / "out"
    cli("maximise", *net, "--channel", 2, "--restarts", 3, "--steps", 25, "-o", out)
    cut = Encoder(load_network(nets("good")), "2")
    tensors, _ = load_tensors(out / "tensors.safetensors")
    values = cut(tensors["image"])[:, 2].mean((1, 2))
    attained = manifest_in(out)["attained"]
    assert attained["name"] == "activation"
    assert list(attained["values"].values()) == pytest.approx(values.tolist(), rel=1e-5)
    photographs = samples.photographs((20, 24))[1]
    best = cut(photographs)[:, 2].mean((1, 2)).max().item()
    assert attained["floors"]["best photograph"]["channel-2"] == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("maximise", marks=pytest.mark.drawn), "caricature"])
def test_a_rerun_is_the_same_to_the_bit(cli, net, pictures, tmp_path, kind):
    a = pictures / "a.png"
    what = [kind, "--channel", 2, "--start", a] if kind == "maximise" else [kind, a, "--from-noise"]
    assert cli(*what, *net, "--seed", 4, *FEW, "-o", tmp_path / "out").exit_code == 0
    said = cli("rerun", tmp_path / "out", "--trust", "-o", tmp_path / "again")
    assert said.exit_code == 0, said.output
    assert "bit-identical" in said.stdout
    both = [load_tensors(tmp_path / name / "tensors.safetensors")[0] for name in ("out", "again")]
    assert torch.equal(both[0]["image"], both[1]["image"])
    a.write_bytes((pictures / "b.png").read_bytes())
    said = cli("rerun", tmp_path / "out", "--trust", "-o", tmp_path / "third")
    if kind == "maximise":  # which keeps the image that it began at
        assert "bit-identical" in said.stdout
    else:
        assert said.exit_code == 2
        assert "bring it back" in said.stderr


@pytest.mark.parametrize("place", ["centre", "0,11"])
def test_neurons(cli, net, tmp_path, place):
    out = tmp_path / "out"
    assert cli("maximise", *net, "--channel", 1, "--at", place, *FEW, "-o", out).exit_code == 0
    assert names_in(out) == {"neuron-1.png"}


@pytest.mark.slow
def test_classes_by_number_and_name(cli, head, nets, tmp_path):
    out = tmp_path / "out"
    assert cli("maximise", *head, "--class", 2, "--class", 0, *FEW, "-o", out).exit_code == 0
    assert names_in(out) == {"class-2.png", "class-0.png"}
    with (tmp_path / "nets.py").open("a") as file:
        file.write("def wide(): return named(nn.Sequential(*body()[:6], nn.Linear(8, 1000)).eval())")
    wide = ["--network", nets("wide"), "--layer", "6"]
    assert cli("maximise", *wide, "--class", "Hen", *FEW, "-o", tmp_path / "hen").exit_code == 0
    assert names_in(tmp_path / "hen") == {f"{imagenet.class_names()[8]}.png"}
    for name, says in (("crane", "name one, or give its number"), ("unicorn", "no class")):
        said = cli("maximise", *wide, "--class", name, *FEW, "-o", tmp_path / "no")
        assert said.exit_code == 2
        assert says in said.stderr


def test_directions(cli, net, tmp_path):
    file, out = tmp_path / "way.npy", tmp_path / "out"
    ways = np.random.default_rng(0).normal(size=(2, 8, 10, 12))
    np.save(file, ways)
    assert cli("maximise", *net, "--direction", file, *FEW, "-o", out).exit_code == 0
    assert names_in(out) == {"way-1.png", "way-2.png"}
    (source,) = manifest_in(out)["inputs"]
    assert source["name"] == str(file)
    np.save(tmp_path / "loss.npy", ways[0])  # a run writes a loss.png of its own
    given = ["maximise", *net, "--direction", tmp_path / "loss.npy", *FEW]
    assert cli(*given, "-o", out, "--overwrite").exit_code == 0
    assert len(names_in(out)) == 1


def test_a_direction_that_has_changed_is_another_run(cli, net, tmp_path, monkeypatch):
    file, out = tmp_path / "way.npy", tmp_path / "out"
    np.save(file, np.ones((8, 10, 12)))
    given = ("maximise", *net, "--direction", file, "--steps", 20, "-o", out)
    stop_at(monkeypatch, 5)
    assert cli(*given).exit_code == 130
    np.save(file, np.ones((8, 10, 12)) * np.arange(12))
    said = cli(*given)
    assert said.exit_code == 2
    assert "unfinished run" in said.stderr


@pytest.mark.parametrize("preset", ["maco", "simonyan13", "ijcv16", "deepvis-1"])
def test_presets(cli, net, tmp_path, preset):
    out = tmp_path / "out"
    said = cli("maximise", *net, "--channel", 1, "--preset", preset, *FEW, "-o", out)
    assert said.exit_code == 0, said.output
    stretched = {"channel-1-stretched.png"} if preset == "deepvis-1" else set()
    assert names_in(out) == {"channel-1.png"} | stretched
    assert manifest_in(out)["recipe"]["name"] == preset


def test_priors_start_and_json(cli, net, pictures, tmp_path):
    out, a = tmp_path / "out", pictures / "a.png"
    said = cli(
        "maximise", *net, "--channel", 1, "--prior", "tv-huber=0.5+second-order", "--start", a, "--steps", 2,
        "--json", "-o", out,
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["folder"] == str(out)
    priors = told["recipe"]["priors"]
    assert [prior["type"] for prior in priors][:2] == ["HuberVariation", "SecondOrderVariation"]
    assert priors[0]["weight"] == 0.5
    assert [source["name"] for source in told["inputs"]] == [str(a)]
    start = torch.nn.functional.interpolate(read_image(a), (20, 24), mode="bilinear", antialias=True)
    assert (read_image(out / "channel-1.png") - start).abs().mean() < 0.15


@pytest.mark.slow
def test_the_recipe_in_the_manifest_is_whole(cli, net, tmp_path):
    cli("maximise", *net, "--channel", 1, *FEW, "-o", tmp_path / "out")
    first, last = manifest_in(tmp_path / "out")["recipe"]["stages"]
    assert [change["type"] for change in first["transforms"]] == ["RandomAffine"]
    assert last["transforms"] == []
    assert first["resolution"] == last["resolution"] == 1.0


@pytest.mark.slow
def test_objectives_as_text_are_the_options(cli, net, tmp_path):
    texts = ["channel:1", "neuron:1@0,11", "neuron:1"]
    assert cli("maximise", *net, "--objective", *texts, *FEW, "-o", tmp_path / "texts").exit_code == 0
    assert names_in(tmp_path / "texts") == {"channel-1.png", "neuron-1-0-11.png", "neuron-1.png"}
    cli("maximise", *net, "--channel", 1, *FEW, "-o", tmp_path / "options")
    images = [read_image(tmp_path / folder / "channel-1.png") for folder in ("texts", "options")]
    assert torch.equal(*images)
    said = cli("maximise", *net, "--objective", "chanel:1", *FEW, "-o", tmp_path / "no")
    assert said.exit_code == 2
    assert "write one of channel:K" in said.stderr


def test_a_pose(cli, tmp_path):
    out = tmp_path / "out"
    given = ["maximise", "--network", "posenet", "--layer", "output", "--azimuth", 60, "--azimuth", 200.5]
    said = cli(*given, "--steps", 2, "--threads", 1, "-o", out)
    assert said.exit_code == 0, said.output
    assert names_in(out) == {"azimuth-60.png", "azimuth-200.5.png"}


# --- caricature ---------------------------------------------------------------------------------------


def test_caricatures(cli, net, pictures, tmp_path):
    out = tmp_path / "out"
    said = cli("caricature", pictures, *net, "--power", 2, *FEW, "-o", out)
    assert said.exit_code == 0, said.output
    assert names_in(out) == {"a.png", "b.png", "original-a.png", "original-b.png"}
    manifest = manifest_in(out)
    assert manifest["command"]["power"] == 2
    assert [source["name"] for source in manifest["inputs"]] == [str(pictures / f"{n}.png") for n in "ab"]
    assert manifest["psnr"] > 5
    assert cli("caricature", pictures, *net, "--from-noise", *FEW, "-o", tmp_path / "noise").exit_code == 0
    folders = (out, tmp_path / "noise")
    tensors = [load_tensors(folder / "tensors.safetensors")[0] for folder in folders]
    near, far = ((t["image"] - tensors[0]["original"]).abs().mean() for t in tensors)
    assert near < far


BELOW = """
class Below(nn.Module):
    def forward(self, x):
        return x.clamp_max(0) - 1

def below(): return named(nn.Sequential(body()[0], Below()).eval())
"""


def test_a_caricature_of_a_code_above_zero_nowhere(cli, nets, pictures, tmp_path):
    with (tmp_path / "nets.py").open("a") as file:
        file.write(BELOW)
    below = ["--network", nets("below"), "--layer", "1"]
    given = ["caricature", pictures / "a.png", *below, "-o", tmp_path / "out"]
    said = cli(*given)
    assert said.exit_code == 2
    assert "choose another layer" in said.stderr


# --- the same command again ---------------------------------------------------------------------------


def stop_at(monkeypatch, count):
    """Ctrl-C at the so-manieth checkpoint."""
    saves = []
    save = Checkpoint.save

    def stopping(self, state):
        save(self, state)
        saves.append(self.path.name)
        if len(saves) == count:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(Checkpoint, "save", stopping)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["maximise", "caricature"])
@pytest.mark.parametrize("count", [4, 14, 17])  # in the first stage, in the last one, in the second image
def test_a_stopped_run_goes_on(cli, net, pictures, tmp_path, monkeypatch, kind, count):
    what = [kind, "--channel", 0, "--channel", 3] if kind == "maximise" else [kind, pictures]
    given = [*what, *net, "--steps", 15]
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_at(patch, count)
        said = cli(*given, "-o", out)
    assert said.exit_code == 130
    assert "the same command resumes" in said.stderr
    assert not out.exists()
    done = cli(*given, "-o", out)
    assert done.exit_code == 0
    assert "resuming" in done.stderr
    cli(*given, "-o", tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        if path.name != "manifest.json":
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name


# --- bad input ----------------------------------------------------------------------------------------


@pytest.fixture
def refused(cli, tmp_path):
    def check(*arguments, says):
        before = set(tmp_path.rglob("*"))
        said = cli(*arguments, "--out", tmp_path / "out")
        assert said.exit_code == 2, said.output
        assert said.stdout == ""
        assert says in said.stderr
        assert said.stderr.startswith("netinvert: ")
        assert said.stderr.count("\n") == 1
        assert not {p for p in set(tmp_path.rglob("*")) - before if "__pycache__" not in p.parts}

    return check


def test_bad_wishes(refused, net, head, tmp_path):
    say = "one of --channel, --class, --direction, --azimuth or --objective"
    refused("maximise", *net, says=say)
    refused("maximise", *net, "--channel", 1, "--azimuth", 20, says=say)
    refused("maximise", *net, "--azimuth", 0, "--at", "centre", says="give a channel too")
    refused("maximise", *net, "--channel", 8, says="channels 0 to 7, got 8")
    refused("maximise", *net, "--channel", -1, says="--channel is at least 0")
    refused("maximise", *net, "--channel", 1, "--channel", 1, says="use --restarts")
    refused("maximise", *net, "--channel", 1, "--at", "middle", says="'centre' or whole numbers")
    refused("maximise", *net, "--channel", 1, "--at", "1", says="has 2 numbers, got 1")
    refused("maximise", *net, "--channel", 1, "--at", "1,12", says="places 0 to 11, got 12")
    refused("maximise", *head, "--class", "hen", says="give the class by its number")
    refused("maximise", *head, "--class", 4, says="channels 0 to 3, got 4")
    refused("maximise", *head, "--class", "²", says="give the class by its number")
    refused("maximise", *net, "--azimuth", 20, says="try posenet")
    refused("maximise", *net, "--azimuth", "nan", says="--azimuth is a number")
    refused("maximise", *net, "--azimuth", 20, "--elevation", "inf", says="--elevation is a number")
    refused("maximise", "-n", "posenet", "-l", "pool2", "--azimuth", 20, says="use --layer")


def test_bad_directions(refused, net, tmp_path):
    file = tmp_path / "way.npy"
    refused("maximise", *net, "--direction", file, says="does not exist")
    for values, says in (
        (np.ones((8, 10, 11)), "codes of shape (8, 10, 12)"),
        (np.zeros((8, 10, 12)), "zero everywhere"),
        (np.full((8, 10, 12), np.nan), "NaN"),
    ):
        np.save(file, values)
        refused("maximise", *net, "--direction", file, says=says)


@pytest.mark.parametrize("kind", ["maximise", "caricature"])
def test_bad_options(refused, net, pictures, kind):
    what = ["maximise", "--channel", 1] if kind == "maximise" else ["caricature", pictures / "a.png"]
    refused(*what, *net, "--preset", "best", says="there is no 'best'")
    refused(*what, *net, "--prior", "tv", says="no prior 'tv'")
    refused(*what, *net, "--prior", "tv-huber=much", says="not a prior")
    refused(*what, *net, "--prior", "batchnorm", says="choose another prior")
    refused(*what, *net, "--steps", 0, says="--steps is at least 1")
    refused(*what, *net, "--steps", 1, says="2 stages")
    refused(*what, *net, "--threads", 0, says="--threads is at least 1")
    refused(*what, *net, "--seed", -1, says="--seed is at least 0")
    refused(*what, *net, "--seed", 2**64, says="--seed is at most")
    refused(*what, *net, "--device", "nowhere", says="--device cpu")
    refused(*what, *net, "--weights", "no.pt", says="no.pt")
    refused(*what, "--network", "posenett", "--layer", "0", says="did you mean posenet")
    refused(*what, *net[:2], "--layer", "22", says="the nearest are 2")


def test_other_bad_options(refused, net, pictures, tmp_path):
    refused("maximise", *net, "--channel", 1, "--restarts", 0, says="--restarts is at least 1")
    refused("maximise", *net, "--channel", 1, "--start", "none.png", says="none.png does not exist")
    refused("caricature", pictures / "a.png", *net, "--power", -1, says="--power is at least 0")
    refused("caricature", pictures / "a.png", *net, "--power", "nan", says="--power is a number")
    refused("caricature", pictures / "a.png", *net, "--preset", "deepvis-1", says="use another preset")
    refused("caricature", "code.npy", *net, says="a caricature is drawn of an image")
    refused("caricature", tmp_path / "none.png", *net, says="does not exist")


def test_a_folder_that_holds_something_is_only_replaced_if_asked(cli, net, tmp_path):
    given = ["maximise", *net, *FEW, "-o", tmp_path / "out"]
    assert cli(*given, "--channel", 1).exit_code == 0
    said = cli(*given, "--channel", 2)
    assert said.exit_code == 2
    assert "--overwrite" in said.stderr
    assert names_in(tmp_path / "out") == {"channel-1.png"}
    assert cli(*given, "--channel", 2, "--overwrite").exit_code == 0
    assert names_in(tmp_path / "out") == {"channel-2.png"}
