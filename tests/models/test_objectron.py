"""The shipped Objectron networks against the published files."""

import json
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netinvert.errors import NetworkError
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.registry import load_network

DATA = Path(__file__).parent.parent / "data"
NAMES = ("objectron-chair", "objectron-camera", "objectron-cup", "objectron-sneakers")


def waves():
    """The picture of objectron.json, (1, 3, 224, 224) in [0, 1]; computed in double precision, as there."""
    c, y, x = torch.meshgrid(*(torch.arange(k, dtype=torch.float64) for k in (3, 224, 224)), indexing="ij")
    return (0.5 + 0.5 * torch.sin(0.37 * x + 0.91 * c) * torch.cos(0.23 * y - 0.5 * c)).float().unsqueeze(0)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_the_published_files(name):
    expected = json.loads((DATA / "objectron.json").read_text())[name]
    network = load_network(name)
    with torch.inference_mode():
        output = network.module(waves())
    assert output["keypoints"].shape == (1, 18)
    assert output["presence"].shape == (1, 1)
    assert (output["keypoints"][0] - torch.tensor(expected["keypoints"])).abs().max() < 2e-3
    assert float(output["presence"]) == pytest.approx(expected["presence"], abs=1e-5)


def test_networks_differ():
    assert len({weights_sha256(load_network(name).module) for name in NAMES}) == len(NAMES)


def test_layers_have_the_shapes_that_the_card_of_each_promises():
    network = load_network("objectron-chair")
    shapes = {}
    hooks = [
        network.module.get_submodule(layer).register_forward_hook(
            lambda module, args, out, layer=layer: shapes.update({layer: tuple(out.shape[1:])})
        )
        for layer in network.layers
    ]
    with torch.inference_mode():
        network.module(waves())
    for hook in hooks:
        hook.remove()
    assert shapes == {
        "blocks.2": (24, 56, 56),
        "blocks.7": (80, 14, 14),
        "blocks.10": (112, 14, 14),
        "blocks.14": (192, 7, 7),
        "pool": (1152,),
        "keypoints": (18,),
    }


def test_module_is_float32_in_eval_mode():
    module = load_network("objectron-cup").module
    assert not module.training
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_plain_grey_is_a_chair_with_certainty():
    # a caution to all who read presence: it does not say that there is an object
    with torch.inference_mode():
        assert (
            float(load_network("objectron-chair").module(torch.full((1, 3, 224, 224), 0.5))["presence"])
            > 0.99
        )


def test_pose_comes_with_the_output():
    network = load_network("objectron-chair")
    with torch.inference_mode():
        reading = network.read_pose(network.module(waves().repeat(2, 1, 1, 1)))
    assert reading.azimuth.shape == reading.elevation.shape == reading.presence.shape == (2,)
    assert reading.rotation.shape == (2, 3, 3)
    assert reading.keypoints.shape == (2, 9, 2)


def test_poses_of_the_rendered_chair_are_near_the_truth():
    folder = files("netinvert") / "data"
    truth = json.loads((folder / "chair.json").read_text())
    with as_file(folder / "chair.png") as path, Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"), dtype=np.float32) / 255
    image = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
    network = load_network("objectron-chair")
    with torch.inference_mode():
        reading = network.read_pose(network.module(torch.cat([image, image.flip(-1)])))
    assert float((reading.keypoints[0] - torch.tensor(truth["keypoints"])).norm(dim=-1).mean()) < 10
    assert abs(float(reading.azimuth[0]) - truth["azimuth"]) < 10
    assert abs(float(reading.elevation[0]) - truth["elevation"]) < 10
    # a mirrored chair is seen from the other side
    assert abs(float(reading.azimuth[1]) - (360 - truth["azimuth"])) < 15


def test_random_weights_are_the_same_each_time_and_not_the_trained_ones():
    state = torch.random.get_rng_state()
    first, second = (weights_sha256(load_network("objectron-chair", "random").module) for _ in range(2))
    assert first == second != weights_sha256(load_network("objectron-chair").module)
    assert torch.equal(state, torch.random.get_rng_state())


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"stem.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(NetworkError, match=r"another network.*missing \(stem\.conv\.weight"):
        load_network("objectron-chair", tmp_path / "other.pt")
