import json

from PIL import Image

from netinvert.cli.app2 import main


def test_evaluate(cli, tmp_path):
    options = ["--identities", "3", "--views", "2", "--sheet", tmp_path / "sheet.png"]
    said = cli("pose", "evaluate", "--network", "posenet", *options, "--json")
    assert said.exit_code == 0, said.output
    figures = json.loads(said.stdout)
    assert figures["views"] == 6
    assert figures["median_geodesic_deg"] < 25
    for name in ("acc_30", "azimuth_flip_rate", "relative_median_deg", "fpr_at_95_recall"):
        assert figures[name] >= 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500


def test_evaluate_weights_that_were_just_trained(cli, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    options = ["--count", "14", "--views", "2", "--splits", "0.5", "0.3", "0.2", "--workers", "1"]
    assert main(["scenes", "render", "--out", str(data), *options]) == 0
    options = ["--samples", "8", "--batch", "4", "--threads", "1"]
    assert main(["pose", "train", "--data", str(data), "--out", str(out), *options]) == 0
    weights = out / "posenet.safetensors"
    few = ["--identities", "2", "--views", "2"]
    said = cli("pose", "evaluate", "--weights", weights, *few, "--card", "--json")
    assert json.loads(said.stdout)["views"] == 4
    card = (out / "posenet.md").read_text()
    assert "`netinvert pose evaluate --network posenet --identities 2 --views 2 --seed 1`" in card
    assert "--splits 0.5 0.3 0.2" in card
    assert cli("pose", "evaluate", "--card").exit_code == 2
    wrong = cli("pose", "evaluate", "--network", "posenet-judge", "--weights", weights)
    assert wrong.exit_code == 2
    assert "load it under that name" in wrong.stderr


def test_seeds_that_were_trained_on_are_no_fair_test(cli):
    said = cli("pose", "evaluate", "--identities", "1", "--views", "2", "--seed", "0")
    assert "no fair test" in said.stderr


def test_bad_input(cli):
    plain = cli("pose", "evaluate", "--network", "mobilenet-v2")
    assert plain.exit_code == 2
    assert "reads no poses" in plain.stderr
