from __future__ import annotations

import json

import pytest
from netinvert.experiments.methods_report import markdown
from netinvert.experiments.methods_run import MethodsPlan, run
from PIL import Image

import netinvert as ni
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.experiments.methods import study_layer


@pytest.fixture(scope="module")
def chairs():
    return fresh_chairs(2)


def test_the_rows_of_a_layer(chairs):
    decoder = ni.load_decoder("posenet-pose")
    told = []
    encoder = decoder.encoder()
    study = study_layer(decoder, encoder, chairs, (encoder, decoder), steps=12, tell=told.append)
    names = [one.method for one in study.figures]
    assert names[0] == "optimise"
    assert {"decode", "decode, then optimise 1/3", "decoder as prior", "autoencoder"} <= set(names)
    assert len(told) == len(names)
    same = ("image_error", "code_error", "judge")
    assert [getattr(study.of("decode"), name) for name in same] == [
        getattr(study.of("autoencoder"), name) for name in same
    ]
    assert study.of("decoder as prior").code_error < study.of("decode").code_error
    assert study.of("decode").seconds < study.of("optimise").seconds
    assert markdown([study]).count("\n") == len(names) + 1


def test_it_needs_two_chairs_and_the_decoder_of_the_layer(chairs):
    decoder = ni.load_decoder("posenet-pose")
    with pytest.raises(ni.ConfigError, match="two chairs"):
        study_layer(decoder, decoder.encoder(), fresh_chairs(1))
    with pytest.raises(ni.CodeError, match="belongs to layer"):
        study_layer(decoder, ni.Encoder(ni.load_network("posenet"), "relu7"), chairs)


def test_the_whole_run_leaves_its_folder(tmp_path):
    plan = MethodsPlan(decoders=("posenet-pose",), chairs=2, steps=12)
    rows = run(plan, tmp_path / "out", overwrite=False, tell=lambda _: None)
    written = json.loads((tmp_path / "out" / "methods.json").read_text())
    assert written["rows"] == rows
    for name in ("crossover.png", "overview.png", "fc8.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 500
    with pytest.raises(ni.NetworkError, match="no decoder"):
        run(MethodsPlan(decoders=("posenet-fc9",)), tmp_path / "other", overwrite=False, tell=print)
