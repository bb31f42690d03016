"""pose train and decoder train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from netinvert.io.assets import chair
from netinvert.io.files import read_json
from netinvert.models.decoder import load_autoencoder, load_decoder
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import background_pool
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.pose import batches, train

POSE = ["pose", "train", "--samples", 8, "--batch", 4, "--threads", 1]
DECODER = ["decoder", "train", "--network", "posenet", "--layer", "fc8", "--samples", 16, "--batch", 8]
DECODER += ["--threads", 1, "--every", 1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "data"
    render_dataset(DatasetConfig(identities=14, views=2, size=128, seed=5, splits=(0.6, 0.3, 0.1)), folder)
    return folder


@pytest.fixture
def few_backgrounds(monkeypatch):
    """Of 3000 backgrounds, 60 do for a few steps."""
    for module in (train, batches):
        monkeypatch.setattr(module, "background_pool", partial(background_pool, count=60))


@pytest.mark.slow
@pytest.mark.usefixtures("few_backgrounds")
def test_a_pose_network(cli, data, tmp_path):
    out = tmp_path / "out"
    said = cli(*POSE, "--data", data, "--out", out, "--json")
    assert said.exit_code == 0, said.stderr
    assert "2 steps of 4 views: 8 samples" in said.stderr
    facts = json.loads(said.stdout)
    assert facts["training"]["data"]["sha256"] == read_json(data / "manifest.json")["sha256"]
    assert set(facts["files"]) == {"posenet.safetensors", "posenet.md", "report.html"}
    assert str(tmp_path) not in (out / "posenet.safetensors").read_bytes()[:9000].decode(errors="ignore")
    card = (out / "posenet.md").read_text()
    assert "netinvert pose train" in card
    assert "--splits 0.6 0.3 0.1" in card
    page, constant = (out / "report.html").read_text(), "the mean rotation of the training views"
    assert "netinvert pose evaluate" in page
    always = facts["baselines"][constant]["median_geodesic_deg"]
    assert f"({always:.1f}° by {constant})" in page
    assert f">{constant}</th>" in page
    assert "\nbit-identical" in cli("rerun", out, "--out", tmp_path / "again").stdout


@pytest.mark.slow
def test_a_decoder(cli, data, tmp_path):
    out = tmp_path / "out"
    said = cli(*DECODER, "--data", data, "--out", out, "--name", "mine.v2")
    assert said.exit_code == 0, said.stderr
    assert "decoders need some 100,000 images" in said.stderr
    assert load_decoder(out / "mine.v2.safetensors").layer == "fc8"
    assert read_json(out / "manifest.json")["training"]["data"]["samples"] == 28
    assert "netinvert scenes render" in (out / "mine.v2.md").read_text()
    assert str(out / "mine.v2.safetensors") in (out / "report.html").read_text()
    page = (out / "report.html").read_text()
    assert "Held-out images" in page
    assert "by the mean training image)" in page
    assert set(read_json(out / "manifest.json")["baselines"]["the mean training image"]) == set(
        read_json(out / "manifest.json")["training"]["figures"]
    )
    assert "\nbit-identical" in cli("rerun", out, "--out", tmp_path / "again").stdout


@pytest.mark.slow
def test_begin_with_a_trained_one_and_train_the_encoder_along(cli, data, tmp_path):
    options = ["--start", "posenet-pose", "--autoencoder"]
    said = cli(*DECODER, "--data", data, "--out", tmp_path / "out", *options)
    assert said.exit_code == 0, said.stderr
    encoder, decoder = load_autoencoder(tmp_path / "out" / "decoder.safetensors")
    decoder.check_encoder(encoder)
    shipped = load_decoder("posenet-pose")
    assert encoder.weights_sha256() != shipped.encoder().weights_sha256()
    code = encoder(chair((128, 128)).image)
    assert (decoder(code) - shipped(code)).abs().mean() < 0.1  # two steps away


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--loss", "pixel+prettiness"], "no loss 'prettiness'"),
        (["--cache", 16, "--autoencoder"], "leave out --cache"),
        pytest.param(["--start", "posenet-fc9"], "no decoder", marks=pytest.mark.slow),
        pytest.param(["--start", "posenet-fc7"], "belongs to layer 'relu7'", marks=pytest.mark.slow),
        (["--widths", "wide"], "--widths: there is no 'wide'"),
        (["--cache", 16, "--loss", "pixel+lpips"], "pip install 'netinvert[training]'"),
    ],
)
def test_decoders_that_are_refused_before_any_work(cli, data, tmp_path, monkeypatch, options, words):
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    said = cli(*DECODER, "--data", data, "--out", tmp_path / "out", *options)
    assert said.exit_code == 2
    assert words in said.stderr
    assert not (tmp_path / "out").exists()


def test_pose_networks_that_are_refused_before_any_work(cli, data, tmp_path):
    said = cli(*POSE, "--data", tmp_path / "gone", "--out", tmp_path / "out")
    assert "netinvert scenes render" in said.stderr
    said = cli(*POSE, "--data", data, "--out", tmp_path / "out", "--network", "vgg")
    assert said.exit_code == 2
    assert "posenet-judge" in said.stderr
    said = cli(*DECODER, "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "no folder" in said.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("few_backgrounds")
def test_damaged_shards_are_refused_or_named_and_left_out(cli, tmp_path):
    plan = DatasetConfig(
        identities=16, views=2, size=128, seed=3, splits=(0.7, 0.2, 0.1), identities_a_shard=4
    )
    render_dataset(plan, tmp_path / "data")
    shard = tmp_path / "data" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-4000])
    train = [*POSE, "--data", tmp_path / "data", "--out", tmp_path / "out"]
    refused = cli(*train)
    assert refused.exit_code == 2
    assert "train-000000.tar" in refused.stderr
    skipped = cli(*train, "--skip-damaged")
    assert skipped.exit_code == 0, skipped.stderr
    assert "1 damaged shards are left out: train-000000.tar" in skipped.stderr


def test_a_dataset_with_backgrounds_is_refused_with_the_reason(cli, tmp_path):
    plan = DatasetConfig(identities=6, views=2, size=64, background="plain", splits=(0.5, 0.5, 0.0))
    render_dataset(plan, tmp_path / "data")
    said = cli(*POSE, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "without --background" in said.stderr


def test_stopped_before_there_is_anything_to_keep(monkeypatch, cli, tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("netinvert.experiments.train.train_decoder", stopped)
    words = [*DECODER, "--data", "photographs", "--out", tmp_path / "out"]
    said = cli(*words)
    assert (said.exit_code, "begins anew" in said.stderr) == (130, True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".training.lock").touch()
    assert "begins anew" in cli(*words).stderr
    (tmp_path / "out" / "checkpoint.safetensors").touch()
    assert "goes on with" in cli(*words).stderr


@pytest.mark.slow
def test_sigterm_keeps_what_is_done_and_lines_come_in_a_pipe(data, tmp_path):
    words = ["pose", "train", "--data", data, "--out", tmp_path / "out", "--batch", 4, "--threads", 1]
    code = (
        "import sys; from netinvert.io import running; running.SECONDS_BETWEEN_LINES = 0.1; "
        "from netinvert.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stderr=subprocess.PIPE, env=os.environ, text=True
    ) as process:
        for line in process.stderr:
            if "left" in line:
                break
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
