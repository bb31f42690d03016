from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from netinvert import PRESETS, CodeError, ConfigError, Encoder, Network, Preprocessing, invert, write_png
from netinvert.evaluation.evaluate import (
    ERROR_NAMES,
    baselines,
    evaluate_result,
    grey_image,
    mean_of,
    read_poses,
    reference_of,
    shipped_reference,
)
from netinvert.evaluation.metrics import code_errors, psnr, ssim
from netinvert.inversion.objectives import code_error
from netinvert.scenes.poses import PoseReading


def read_pose(output):
    angle = output["angle"][:, 0]
    eye = torch.eye(3).expand(len(angle), 3, 3)
    return PoseReading(angle, angle / 2, eye, output["points"].view(-1, 2, 2), angle.sigmoid())


class Posing(nn.Module):
    """The mean brightness, in degrees."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x):
        self.conv(x)
        bright = x.flatten(1).mean(1, keepdim=True)
        return {"angle": 100 * bright, "points": bright.expand(-1, 4)}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(Network("posing", Posing().eval(), Preprocessing((18, 18)), read_pose=read_pose), "conv")


@pytest.fixture
def images():
    return torch.rand(2, 3, 18, 18, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def result(encoder, images):
    return invert(encoder, encoder(images), preset=PRESETS["default"](encoder, None).with_steps(4))


def test_figures_are_those_of_the_metrics(encoder, images, result):
    reference = shipped_reference(encoder)
    assert reference is not None
    assert reference.codes.shape[0] == 7
    first, second = evaluate_result(result, encoder, images, reference)
    wanted = code_errors(result.code, result.target, reference.codes)
    assert second.errors == {name: wanted[name][1].item() for name in ERROR_NAMES}
    assert first.psnr == psnr(result.image, images)[0].item()
    assert second.ssim == ssim(result.image, images)[1].item()


def test_poses_of_both(encoder, images, result):
    pose = evaluate_result(result, encoder, images)[0].pose
    assert pose is not None
    assert pose.original is not None
    assert math.isclose(pose.original.azimuth, 100 * images[0].mean().item(), rel_tol=1e-5)
    difference = abs(pose.reconstruction.azimuth - pose.original.azimuth)
    assert math.isclose(pose.azimuth_difference, difference, rel_tol=1e-3)
    assert pose.rotation_difference < 0.1


def test_what_is_not_known_is_none(encoder, result):
    figures = evaluate_result(result, encoder)[0]
    assert figures.psnr is None
    assert figures.ssim is None
    assert figures.errors["cvpr15"] is None
    assert figures.errors["ijcv16"] > 0
    assert figures.pose.original is None
    assert figures.pose.azimuth_difference is None
    assert evaluate_result(replace(result, target=None), encoder)[0].errors == dict.fromkeys(ERROR_NAMES)


def test_a_network_without_pose(images):
    encoder = Encoder(nn.Sequential(nn.Conv2d(3, 2, 3)).eval(), "0", Preprocessing((18, 18)))
    assert read_poses(encoder, images) is None


def test_an_original_each(encoder, images, result):
    with pytest.raises(ConfigError, match="one each"):
        evaluate_result(result, encoder, images[:1])


def test_the_shipped_reference_is_grey_for_a_grey_network_and_none_for_other_channels():
    grey, other = (Preprocessing((18, 18), (0.5,) * channels, (0.5,) * channels) for channels in (1, 2))
    found = shipped_reference(Encoder(nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), "0", grey))
    assert found is not None
    assert found.codes.shape == (7, 2, 16, 16)
    assert shipped_reference(Encoder(nn.Sequential(nn.Conv2d(2, 2, 3)).eval(), "0", other)) is None


def test_references_of_the_user(encoder, images, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, images, strict=True):
        write_png(image, path)
    reference = reference_of(encoder, paths, "mine")
    assert reference.codes.shape == (2, *encoder.code_shape)
    assert reference.name == "the 2 images of mine"
    with pytest.raises(CodeError, match="fewer than two different"):
        reference_of(encoder, [paths[0], paths[0]], "mine")


def test_means_do_not_hide_what_is_missing():
    assert mean_of([1.0, 3.0]) == 2
    assert mean_of([1.0, None]) is None
    assert mean_of([1.0, math.nan]) is None
    assert mean_of([]) is None


def test_baselines_know_nothing_of_the_code(encoder, images):
    target = encoder(images)
    reference = shipped_reference(encoder)
    grey, others = baselines(target, encoder, images, reference)
    wanted = code_error(encoder(grey_image(encoder)).expand_as(target), target).mean().item()
    assert grey.code_error == pytest.approx(wanted)
    assert grey.psnr == pytest.approx(psnr(grey_image(encoder).expand_as(images), images).mean().item())
    assert others.code_error > 0
    assert others.psnr is None
    assert [one.name for one in baselines(target, encoder)] == ["grey image"]


def test_an_image_is_no_baseline_of_itself(encoder):
    reference = shipped_reference(encoder)
    target = reference.codes[:1]
    (_, others) = baselines(target, encoder, None, reference)
    rest = reference.codes[1:]
    assert others.code_error == pytest.approx(
        code_error(rest, target.expand_as(rest)).mean().item(), rel=1e-5
    )
