import json

from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset


def test_the_card_of_weights_that_were_just_trained(cli, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    options = ["--count", "14", "--views", "2", "--splits", "0.5", "0.3", "0.2", "--workers", "1"]
    rendered = cli("scenes", "render", "--out", data, *options)
    assert rendered.exit_code == 0, rendered.output
    options = ["--samples", "8", "--batch", "4", "--threads", "1"]
    trained = cli("pose", "train", "--data", data, "--out", out, *options, "--json")
    assert trained.exit_code == 0, trained.output
    facts = json.loads(trained.stdout)
    assert facts["data"]["sha256"] == json.loads((data / "manifest.json").read_text())["sha256"]
    card = (out / "posenet.md").read_text()
    assert "--splits 0.5 0.3 0.2" in card


def test_damaged_shards_are_refused_or_named_and_left_out(cli, tmp_path):
    plan = DatasetConfig(
        identities=16, views=2, size=64, seed=3, splits=(0.7, 0.2, 0.1), identities_a_shard=4
    )
    render_dataset(plan, tmp_path / "data")
    shard = tmp_path / "data" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-4000])
    train = ["pose", "train", "--data", tmp_path / "data", "--out", tmp_path / "out", "--samples", "8"]
    train += ["--batch", "4", "--threads", "1"]
    refused = cli(*train)
    assert refused.exit_code == 2
    assert "train-000000.tar" in refused.stderr
    skipped = cli(*train, "--skip-damaged")
    assert skipped.exit_code == 0, skipped.output
    assert "1 damaged shards are left out: train-000000.tar" in skipped.stderr


def test_a_dataset_with_backgrounds_is_refused_with_the_reason(cli, tmp_path):
    plan = DatasetConfig(identities=6, views=2, size=64, background="plain", splits=(0.5, 0.5, 0.0))
    render_dataset(plan, tmp_path / "data")
    said = cli("pose", "train", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert said.exit_code == 2
    assert "without --background" in said.stderr


def test_bad_input(cli, tmp_path):
    missing = cli("pose", "train", "--data", tmp_path / "gone", "--out", tmp_path / "out")
    assert missing.exit_code == 2
    assert "netinvert scenes render" in missing.stderr
    unknown = cli("pose", "train", "--data", tmp_path, "--out", tmp_path / "out", "--network", "vgg")
    assert unknown.exit_code == 2
    assert "posenet-judge" in unknown.stderr
