from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest
import torch

import netinvert as ni
from netinvert.evaluation.evaluate import held_out_estimator, read_poses
from netinvert.evaluation.metrics import psnr
from netinvert.io.assets import chair
from netinvert.models.decoder import SHIPPED

FOLDER = files("netinvert") / "data" / "decoders"


@pytest.mark.parametrize(
    "name",
    [name if name.startswith("posenet") else pytest.param(name, marks=pytest.mark.slow) for name in SHIPPED],
)
def test_it_belongs_to_the_network_that_is_shipped(name):
    decoder = ni.load_decoder(name)
    encoder = decoder.encoder()
    decoder.check_encoder(encoder)
    assert (encoder.network.name, encoder.layer) == (decoder.network, decoder.layer)
    assert decoder.licence == "MIT"
    images = decoder(encoder(chair(encoder.size).image))
    assert images.shape == (1, 3, *decoder.size)
    assert decoder.mask(encoder(chair(encoder.size).image)).shape == (1, 1, *decoder.size)


def test_they_decode_the_layers_that_are_told():
    decoders = {name: ni.load_decoder(name) for name in SHIPPED}
    assert {name: (one.network, one.layer) for name, one in decoders.items()} == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_tells_how_it_was_made(name):
    card = (FOLDER / f"{name}.md").read_text()
    for told in (
        "Licence: MIT",
        "netinvert scenes render",
        "netinvert decoder train",
        "seed 0",
        "image_error",
    ):
        assert told in card
    assert len((FOLDER / f"{name}.safetensors").read_bytes()) < 6e6


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.startswith("posenet")])
def test_the_judge_reads_the_pose_from_what_it_makes(name):
    decoder = ni.load_decoder(name)
    encoder = decoder.encoder()
    known = chair(encoder.size)
    image = decoder(encoder(known.image))
    reading = read_poses(held_out_estimator(encoder), image)
    apart = (reading.azimuth - known.azimuth + 180) % 360 - 180
    assert abs(apart.item()) < 25


def test_the_more_a_code_keeps_the_nearer_the_picture():
    found = []
    for name in ("posenet-conv5", "posenet-fc6", "posenet-fc7"):
        decoder = ni.load_decoder(name)
        picture = chair(decoder.size).image
        found.append(psnr(decoder(decoder.encoder()(picture)), picture).item())
    assert found == sorted(found, reverse=True)
    assert found[0] > psnr(torch.full_like(picture, 0.5), picture).item() + 3


def test_neither_weights_nor_steps_import_torch_s_compiler():
    """It takes seconds: drawing numbers on meta would, and the gradient of what is no scalar."""
    text = (
        "import sys, netinvert as ni; ni.load_network('posenet-judge'); ni.load_generator('chairs'); "
        "decoder = ni.load_decoder('posenet-fc7'); encoder = decoder.encoder(); "
        "code = encoder(ni.sample('chair')); ni.invert(encoder, code, preset='quick', steps=6); "
        "ni.invert(encoder, code, canvas=decoder, steps=3); ni.maximise(encoder, 'channel:3', steps=6); "
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
