"""The parts of benchmarks/peers.py that decide what its figures say."""

from __future__ import annotations

import ast
import itertools
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import netinvert as ni
from tiny import PLAIN, SIZE, seeded, smooth

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from peers.adapters.script import _variation  # noqa: E402
from peers.case import Case, Normalised, normalise  # noqa: E402
from peers.jobs import Choice, is_done, jobs, key  # noqa: E402
from peers.recorder import Finished, Recorder  # noqa: E402
from peers.runner import CURVE, Job, measured, thinned  # noqa: E402
from peers.tables import LEVELS, Lead, Place, lead, markdown, median, rows, summary  # noqa: E402
from peers.tools import OURS, PACKAGES, TOOLS, tool  # noqa: E402

JOB = Job("lucent", "mobilenet-v2", "blocks.5", "chelsea", 40.0, 1, "wall", 0)


@pytest.fixture
def encoder() -> ni.Encoder:
    return ni.Encoder(seeded(smooth, dtype=torch.float32), "output", PLAIN)


@pytest.fixture
def original() -> torch.Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def recorded(path: Path, *images: torch.Tensor) -> Recorder:
    """A recorder whose clock shows 1, 2, 3, … seconds at these pictures."""
    recorder = Recorder(1e9, path / "raw")
    for second, image in enumerate(images, 1):
        recorder.elapsed = float(second)
        recorder.steps = second
        recorder.last(image)
    return recorder


def record(job: Job, seconds: tuple[float | None, ...], ssim: float = 0.5, **more: object) -> dict:
    reached = {
        level: None if value is None else {"seconds": value, "ssim": ssim}
        for level, value in zip(LEVELS, seconds, strict=True)
    }
    figures = {"error": 0.1, "ssim": ssim, "peak_mb": 900.0, "extra_mb": 100.0, "wall": 40.0, "cpu": 40.0}
    return {"job": asdict(job), "reached": reached, **figures, **more}


# -- is the harness honest? ----------------------------------------------------------------------------


def test_the_original_itself_has_no_error_and_full_likeness_at_once(encoder, original, tmp_path):
    found = measured(recorded(tmp_path, original), encoder, original)
    assert found["error"] == pytest.approx(0, abs=1e-6)
    assert found["ssim"] == pytest.approx(1)
    assert all(found["reached"][level]["seconds"] == 1.0 for level in LEVELS)


def test_the_time_is_that_of_the_first_picture_that_is_good_enough(encoder, original, tmp_path):
    noise = torch.rand(original.shape, generator=torch.Generator().manual_seed(1))
    close = original + 0.02 * (noise - 0.5)
    found = measured(recorded(tmp_path, noise, close, noise, original, noise), encoder, original)
    assert found["reached"]["0.1"]["seconds"] == 2.0
    assert found["error"] > 0.1  # the last picture counts at the end, not the best
    assert found["best_error"] == pytest.approx(0, abs=1e-6)
    assert measured(recorded(tmp_path, 1 - original), encoder, original)["reached"]["0.1"] is None


def test_nobody_gains_by_pixels_out_of_range(encoder, original, tmp_path):
    wild = 4 * original - 1.5
    outside = measured(recorded(tmp_path, wild), encoder, original)
    assert outside["error"] == measured(recorded(tmp_path, wild.clamp(0, 1)), encoder, original)["error"]
    assert outside["error"] > 0.01


def test_a_picture_of_nan_is_no_figure_and_can_be_written(encoder, original, tmp_path):
    found = measured(recorded(tmp_path, original * torch.nan), encoder, original)
    assert found["error"] is None
    assert not any(found["reached"].values())
    json.dumps(found, allow_nan=False)


# -- the clock and the copies --------------------------------------------------------------------------


def test_copying_does_not_count(tmp_path):
    recorder = Recorder(1e9, tmp_path / "raw")

    def slow() -> torch.Tensor:
        time.sleep(0.2)
        return torch.zeros(1, 3, 4, 4)

    with recorder.running():
        recorder.step(slow)
    assert recorder.steps == 1
    assert len(recorder.times) == 1
    assert recorder.elapsed < 0.1


def test_the_time_ends_the_loop_and_the_last_picture_is_kept(tmp_path):
    recorder = Recorder(100.0, tmp_path / "raw")
    ticks = itertools.count()
    recorder.clock = lambda: next(ticks) / 2  # every step takes half a second
    pictures = (torch.full((1, 3, 2, 2), float(step)) for step in itertools.count(1))
    with recorder.running():
        for picture in pictures:
            recorder.step(lambda picture=picture: picture)
    assert recorder.steps == 200
    assert recorder.elapsed == recorder.times[-1] == 100.0
    assert recorder.images(len(recorder.times) - 1, len(recorder.times)).unique().tolist() == [200.0]
    assert recorder.images(0, 2)[:, 0, 0, 0].tolist() == [1.0, 2.0]
    gaps = [later / earlier for earlier, later in itertools.pairwise(recorder.times[:-1])]
    assert min(gaps) >= 1.02
    assert len(recorder.times) < 140


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.NAdam, torch.optim.LBFGS])
def test_any_optimiser_is_watched_while_and_only_while_asked(kind, tmp_path):
    parameter = torch.zeros(1, 3, 2, 2, requires_grad=True)
    optimizer = kind([parameter], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (parameter - 1).square().sum()
        loss.backward()
        return loss

    recorder = Recorder(1e9, tmp_path / "raw")
    with recorder.watching(lambda seen: seen + 5):
        optimizer.step(closure)
    assert torch.equal(recorder.images(0, 1)[0], (parameter + 5).detach()[0])
    optimizer.step(closure)
    assert recorder.steps == 1


def test_finished_gets_through_handlers_of_runtime_errors_and_interrupts():
    assert not issubclass(Finished, RuntimeError | KeyboardInterrupt)


def test_a_curve_is_thinned_with_both_ends():
    times = [float(i) for i in range(1000)]
    points = thinned(times, [float("nan"), *times[1:]])
    assert len(points) == CURVE
    assert points[0] == (0.0, None)
    assert points[-1] == (999.0, 999.0)
    assert thinned([1.0], [0.5]) == [(1.0, 0.5)]


# -- networks as peers want them -----------------------------------------------------------------------


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(nn.Tanh(), nn.Conv2d(4, 5, 3), nn.Tanh())
        self.head = nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)))


@pytest.mark.parametrize(
    "form",
    [
        PLAIN,
        ni.Preprocessing(SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        ni.Preprocessing(SIZE, scale=255.0),
    ],
)
def test_whatever_a_network_wants_peers_may_feed_normalised_pictures(form, original):
    network = ni.Network("trunk", seeded(Trunk, dtype=torch.float32), form)
    case = Case(network, "blocks.1", original, 0)
    encoder = ni.Encoder(network, "blocks.1")
    code = encoder(original)
    assert torch.allclose(case.code(case.module(frozen=True)), code, atol=1e-4, rtol=1e-4)
    assert torch.allclose(case.part()(normalise(original)), code, atol=1e-4, rtol=1e-4)
    whole = Normalised(network.module, form)(normalise(original))
    assert torch.allclose(whole, network.module(encoder.network_input(original)), atol=1e-4, rtol=1e-4)


def test_the_total_variation_of_the_script_sees_both_directions():
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)  # rises by 1 to the right: 3 * 3 neighbours in 3 channels
    assert _variation(ramp) == _variation(ramp.mT) == 27


# -- jobs ----------------------------------------------------------------------------------------------


def test_jobs_are_all_tools_of_a_layer_and_then_the_next():
    choice = Choice(("netinvert", "lucent"), ("mobilenet-v2", "objectron-chair"), ("late", "blocks.5"), (), 2)
    found = jobs(choice, {"seconds": 1.0, "threads": 1, "clock": "wall", "seed": 3})
    assert [(job.layer, job.picture, job.seed, job.tool) for job in found[:4]] == [
        ("blocks.5", "chelsea", 3, "netinvert"),
        ("blocks.5", "chelsea", 3, "lucent"),
        ("blocks.5", "chelsea", 4, "netinvert"),
        ("blocks.5", "chelsea", 4, "lucent"),
    ]
    assert {(job.network, job.layer) for job in found[4:]} == {
        ("mobilenet-v2", "blocks.16"),
        ("objectron-chair", "blocks.14"),
    }
    assert len({key(job) for job in found}) == len(found) == 12


def test_a_job_is_done_only_with_the_same_settings_and_an_answer():
    done = {key(JOB): {"job": asdict(JOB)}}
    assert is_done(JOB, done)
    assert is_done(JOB, json.loads(json.dumps(done)))
    assert not is_done(replace(JOB, seconds=10.0), done)
    assert not is_done(replace(JOB, seed=1), done)
    assert not is_done(JOB, {key(JOB): {"job": asdict(JOB), "failed": "why"}})


def test_every_tool_has_its_adapter_and_pinned_packages():
    assert len({each.name for each in TOOLS}) == len(TOOLS)
    for each in TOOLS:
        module, _, function = each.adapter.partition(":")
        tree = ast.parse((BENCHMARKS / "peers" / "adapters" / f"{module}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert each.environment is None or each.environment in PACKAGES
    assert all("==" in package for packages in PACKAGES.values() for package in packages)


# -- tables --------------------------------------------------------------------------------------------


def test_medians_take_what_was_not_reached_for_infinite():
    assert median([3.0, None, 1.0]) == 3.0
    assert median([None, None, 1.0]) is None
    assert median([2.0, 4.0]) == 3.0
    assert median([]) is None


def test_repeats_become_medians():
    one = record(JOB, (1.0, 2.0, None, None), ssim=0.2)
    two = record(JOB, (3.0, 4.0, 5.0, None), ssim=0.4)
    three = record(JOB, (2.0, None, None, None), ssim=0.3)
    row = summary("lucent", [one, two, three])
    assert row.seconds == {"0.5": 2.0, "0.3": 4.0, "0.2": None, "0.1": None}
    assert row.ssim_there["0.5"] == 0.3
    assert row.ssim_there["0.1"] is None


def test_the_lead_is_over_the_quickest_and_a_lower_bound_where_nobody_came():
    ours = summary(OURS, [record(JOB, (0.5, 1.0, 2.0, None))])
    slow = summary("plenoptic", [record(JOB, (5.0, None, None, None), ssim=0.9)])
    quick = summary("lucent", [record(JOB, (2.0, 6.0, None, None), ssim=0.1)])
    assert lead(ours, [slow, quick], "0.5") == Lead("lucent", 4.0, 0.1)
    assert lead(ours, [slow, quick], "0.3") == Lead("lucent", 6.0, 0.1)
    assert lead(ours, [slow, quick], "0.2") == Lead(None, 20.0, None)
    assert lead(ours, [slow, quick], "0.1") is None
    assert lead(ours, [], "0.5") is None


def test_places_stand_by_depth_whenever_they_were_run():
    late = replace(JOB, layer="blocks.16")
    other = replace(JOB, network="objectron-chair", layer="blocks.2", picture="chair")
    found = {key(job): record(job, (1.0,) * 4) for job in (other, late, JOB)}
    assert [place.layer for place in rows(found)] == ["blocks.5", "blocks.16", "blocks.2"]


def test_the_page_shows_every_tool_and_both_leads():
    found = {}
    for seconds, name in ((0.5, OURS), (4.0, "lucent"), (1.0, "lucent-plain")):
        job = replace(JOB, tool=name)
        found[key(job)] = record(job, (seconds, None, None, None))
    broken = replace(JOB, tool="horama")
    found[key(broken)] = {"job": asdict(broken), "failed": "no such thing"}
    machine = {"threads": 1, "cpu": "a core", "torch": "2", "clock": "wall"}
    page = markdown({"machine": machine, "jobs": found})
    assert list(rows(found)) == [Place("mobilenet-v2", "blocks.5", "chelsea")]
    assert "| lucent | 4.00 s (0.50) | – | – | – | 0.100, 0.50 | 900 (+100) |" in page
    assert "| 0.5 | 0.50 s (0.50) | **8.0×** lucent (0.50 / 0.50) | **2.0×** lucent, no transforms" in page
    assert "no such thing" in page
    assert all(each.settings in page for each in TOOLS)
    assert "share their core" not in page
    found[key(broken)] = record(broken, (None,) * 4, wall=80.0)
    assert "1 of 4 jobs had to share their core" in markdown({"machine": machine, "jobs": found})


def test_only_forms_with_everything_off_count_as_strongest():
    assert [each.name for each in TOOLS if each.strongest] == [
        "lucent-plain",
        "plenoptic-lbfgs",
        "torch-dreams-plain",
        "horama-plain",
    ]
    assert tool("lucent").title == "lucent"
