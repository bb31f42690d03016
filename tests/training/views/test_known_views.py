"""Which views a generator's training knows, and datasets without them."""

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.scenes.catalogue import make_chair
from netinvert.scenes.dataset_config import RING, DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.views.train import view_errors
from netinvert.training.views.turntables import KnownViews, Turntables, rendered_ring

PLAN = DatasetConfig(identities=1, views=62, size=8, protocol="chairs62", lights="studio")


def test_every_other_object_is_known_from_everywhere():
    known = KnownViews(8).mask(4)
    assert known[::2].all()
    assert known[1::2].sum(1).tolist() == [16, 16]
    azimuths = [RING[view][0] for view in known[1, :31].nonzero().flatten().tolist()]
    gaps = torch.tensor([*azimuths, 360.0]).diff()
    assert gaps.max() - gaps.min() < 360 / 31 + 1e-3  # as even as 31 azimuths allow
    assert KnownViews(31, both=False).mask(2)[1].tolist() == [True] * 31 + [False] * 31
    with pytest.raises(ConfigError, match="1 or more"):
        KnownViews(0)


def test_a_dataset_has_the_views_that_are_rendered_again(tmp_path):
    render_dataset(PLAN, tmp_path / "rings")
    tables = Turntables.of(tmp_path / "rings")
    assert tables.identities == (0,)
    assert torch.equal(
        rendered_ring(PLAN, make_chair(PLAN.object_seed(0)), [40, 3]), tables.planes[0, [40, 3]]
    )
    torch.testing.assert_close(
        torch.stack([tables.azimuth, tables.elevation], 1), torch.tensor(RING), atol=1e-3, rtol=0
    )
    with pytest.raises(ConfigError, match="holds 1 objects, 2 were asked for"):
        Turntables.of(tmp_path / "rings", 2)


def test_a_dataset_without_the_views(tmp_path):
    render_dataset(DatasetConfig(identities=1, views=2, size=8), tmp_path / "few")
    with pytest.raises(DatasetError, match="render with --views 62"):
        Turntables.of(tmp_path / "few")


def test_errors_of_views_look_at_the_object_alone():
    true = torch.zeros(1, 4, 16, 16)
    true[:, :, 4:12, 4:12] = torch.tensor([0.5, 0.5, 0.5, 1.0])[:, None, None]
    assert {name: value.item() for name, value in view_errors(true, true).items()} == {
        "l1_on_object": 0,
        "ssim": pytest.approx(1),
        "mask_iou": 1,
    }
    brighter, around = true.clone(), true.clone()
    brighter[:, :3, 4:12, 4:12] += 0.25
    around[:, 3, :2] = 1
    assert view_errors(brighter, true)["l1_on_object"].item() == pytest.approx(0.25)
    assert view_errors(around, true)["l1_on_object"].item() == 0
    assert view_errors(around, true)["mask_iou"].item() == pytest.approx(64 / 96)
