"""What users bring of their own, each in a few lines. The documentation shows these functions."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import netinvert as ni
import tiny
from netinvert.errors import ConfigError
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.objectives import Match
from netinvert.inversion.presets.fitting import contrast_of
from netinvert.inversion.priors import PRIORS
from tiny import encoder, images, seeded

# -- the exercises -------------------------------------------------------------------------------------


def own_prior(image, code):
    return (image - image.flip(-1)).square().mean((1, 2, 3))  # left and right alike


class OwnCanvas(ni.Canvas):
    def __init__(self, encoder, seeds, start=None):
        super().__init__()
        self.tiles = nn.Parameter(torch.zeros(len(seeds), 3, 4, 4, dtype=encoder.dtype))

    def forward(self):
        return nn.functional.interpolate(self.tiles.sigmoid(), (16, 16), mode="bilinear")


def own_objective(style):
    def objective(image, codes):
        likeness = [(gram(codes[layer]) - gram(style[layer])).square().mean((1, 2)) for layer in codes]
        return sum(likeness)

    return objective


def gram(code):
    flat = code.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


@pytest.mark.parametrize(("exercise", "most"), [(own_prior, 2), (OwnCanvas, 7), (own_objective, 6)])
def test_few_lines_are_enough(exercise, most):
    lines = [line for line in inspect.getsource(exercise).splitlines() if line.strip()]
    assert len(lines) <= most  # with the line that names a class


# -- a prior -------------------------------------------------------------------------------------------


def test_a_function_is_a_prior():
    cut = encoder()
    code = cut(images(2)).detach()
    plain = ni.invert(cut, code, prior="none", steps=40)
    found = ni.invert(cut, code, prior=(30.0, own_prior), steps=40)
    assert found.terms == ("code", "own_prior", "alpha")
    assert (own_prior(found.image, None) < 0.2 * own_prior(plain.image, None)).all()


def test_priors_in_every_form():
    cut = encoder()
    code = cut(images(1)).detach()
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 1, bias=False), nn.Flatten(0)).double()
    forms = {
        ("own_prior",): own_prior,
        ("lambda",): lambda image, code: 2 * own_prior(image, code),
        ("tv-huber", "own_prior", "tv"): ["tv-huber=0.5", (2.0, own_prior), (0.1, "tv-quadratic")],
        ("Linear",): [(1.0, Linear(module))],
    }
    for names, prior in forms.items():
        result = ni.invert(cut, code, prior=prior, steps=3)
        assert result.terms[1 : 1 + len(names)] == names
    how = ni.recipe("default", cut, ["tv-huber=0.5", (2.0, own_prior), (0.1, "tv-quadratic")])
    assert [weight for weight, _ in how.priors[:3]] == [0.5, 2.0, 0.1]
    assert how.prior == "tv-huber=0.5+own_prior=2.0+tv-quadratic=0.1"


class Linear(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, image, code):
        return self.body(image)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (
            lambda image, code: image.mean(),
            r"returned shape \(\); it has to return one value a sample, \(1,\)",
        ),
        (lambda image, code: 0.0, "returned float"),
        ((-1.0, own_prior), "at least 0, got -1.0"),
        ((float("nan"), own_prior), "at least 0, got nan"),
        ((1.0, 2.0), "needs a name or a callable"),
        (7, "7 is neither a prior nor an objective"),
        ([own_prior, "tv"], "no prior 'tv'; choose from none, tv-isotropic"),
    ],
)
def test_what_is_no_prior(prior, message):
    cut = encoder()
    with pytest.raises(ConfigError, match=message):
        ni.invert(cut, cut(images(1)), prior=prior, steps=3)


def test_an_objective_that_is_cut_off_from_the_image():
    cut = encoder()
    with pytest.raises(ConfigError, match="does not depend on the image or the code"):
        ni.invert(
            cut, cut(images(1)), objective=lambda image, code: code.detach().flatten(1).sum(1), prior="none"
        )


# -- a canvas ------------------------------------------------------------------------------------------


def test_a_canvas_of_one_s_own():
    cut = encoder()
    code = cut(images(2)).detach()
    found = ni.invert(cut, code, canvas=OwnCanvas, steps=30)
    assert (found.losses[-1, 0] < found.losses[0, 0]).all()
    same = ni.invert(cut, code, canvas=OwnCanvas(cut, [0, 0]), steps=30)
    assert torch.equal(found.image, same.image)
    changed = code.clone()
    changed[1] *= 2
    other = ni.invert(cut, changed, canvas=OwnCanvas, steps=30)
    assert torch.equal(other.image[0], found.image[0])
    jittered = ni.invert(cut, code, preset="fourier-adam", canvas=OwnCanvas, steps=6)
    assert jittered.steps == 6


def test_a_canvas_given_stays_as_it_was():
    cut = encoder()
    canvas = OwnCanvas(cut, [0])
    results = [ni.invert(cut, cut(images(1)), canvas=canvas, steps=5) for _ in range(2)]
    assert torch.equal(results[0].image, results[1].image)
    assert not canvas.tiles.any()


class Shared(OwnCanvas):
    def __init__(self, encoder, seeds, start=None):
        super().__init__(encoder, seeds)
        self.tint = nn.Parameter(torch.zeros(3, 1, 1))


class Flat(OwnCanvas):
    def forward(self):
        return super().forward().flatten(1)


class Idle(OwnCanvas):
    def __init__(self, encoder, seeds, start=None):
        super().__init__(encoder, seeds)
        self.tint = nn.Parameter(torch.zeros(len(seeds), 3, 1, 1))


class Nothing(ni.Canvas):
    def __init__(self, encoder, seeds, start=None):
        super().__init__()

    def forward(self):
        return torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize(
    ("canvas", "message"),
    [
        (
            Shared,
            r"parameter 'tint' has the shape \(3, 1, 1\): make the sample its first dimension, \(2, …\)",
        ),
        (Flat, r"has to give images \(N, C, H, W\), got \(2, 768\)"),
        (Idle, "Idle optimises a parameter that no image depends on"),
        (Nothing, "has no parameters to optimise"),
        (nn.Linear(2, 2), "Linear is no canvas: derive it from netinvert.Canvas"),
        (3, "int is no canvas"),
        ("oil", "no canvas 'oil'; choose from fourier, pixels, phase, deep-prior"),
        (lambda encoder, seeds, start: OwnCanvas(encoder, seeds[:1]), "makes 1 images, but 2 are wanted"),
        (lambda encoder, seeds, start: images(2), "makes a Tensor, which is no netinvert.Canvas"),
    ],
)
def test_what_is_no_canvas(canvas, message):
    cut = encoder()
    with pytest.raises(ConfigError, match=message):
        ni.invert(cut, cut(images(2)), canvas=canvas, steps=3)


def test_what_an_own_canvas_cannot_do():
    cut = encoder()
    code = cut(images(1)).detach()
    with pytest.raises(ConfigError, match="OwnCanvas has no coarse stage"):
        ni.invert(cut, code, preset="coarse-to-fine", canvas=OwnCanvas)
    with pytest.raises(ConfigError, match="OwnCanvas cannot be set to an image"):
        ni.invert(cut, code, canvas=OwnCanvas(cut, [0]), start=images(1))
    with pytest.raises(NotImplementedError, match=r"Bare needs a forward\(\)"):
        type("Bare", (ni.Canvas,), {})()()


# -- objectives over several layers --------------------------------------------------------------------


@pytest.fixture(scope="module")
def both():
    return ni.Encoder(seeded(tiny.plain), preprocessing=tiny.PLAIN, layers=["1", "5"])


def test_an_objective_of_two_layers(both):
    style = {layer: code.detach() for layer, code in both(images(1, seed=3)).items()}
    found = ni.maximise(both, own_objective(style), prior="none", steps=60)
    assert found.terms == ("objective",)
    losses = found.losses[:, 0, 0]
    assert losses[-1] < 0.3 * losses[0]


def test_codes_of_several_layers_are_inverted(both):
    code = {layer: one.detach() for layer, one in both(0.2 + 0.6 * images(2)).items()}
    found = ni.invert(both, code, steps=60)
    assert set(found.code) == set(found.target) == {"1", "5"}
    each = [(found.code[k] - code[k]).flatten(1).norm(dim=1) / code[k].flatten(1).norm(dim=1) for k in code]
    torch.testing.assert_close(found.error, torch.stack(each).square().mean(0).sqrt())
    assert (found.error < 0.4).all()
    assert found.best_losses[0].tolist() == pytest.approx(found.error.square().tolist())
    changed = {layer: torch.cat([one[:1], 2 * one[1:]]) for layer, one in code.items()}
    assert torch.equal(ni.invert(both, changed, steps=60).image[0], found.image[0])
    match = Match(code, {"1": torch.zeros_like(code["1"][:1]) + 1})
    assert match(images(2), both(found.image)).shape == (2,)


def test_a_run_of_several_layers_goes_on_from_its_checkpoint(both, tmp_path):
    code = {layer: one.detach() for layer, one in both(images(1)).items()}
    path = str(tmp_path / "checkpoint")

    def crash(info):
        if info.step == 7:
            raise ZeroDivisionError

    run = ni.Run(checkpoint=path, checkpoint_seconds=0)
    ready = ni.prepare(both, code, ni.recipe("fourier-adam", both).with_steps(12))
    with pytest.raises(ZeroDivisionError):
        ready.run(ni.Run(checkpoint=path, checkpoint_seconds=0, callback=crash))
    assert torch.equal(ready.run(run).image, ready.run().image)
    other = ni.prepare(both, {**code, "1": 2 * code["1"]}, ready.recipe)
    with pytest.raises(ConfigError, match="checkpoint of a run with another"):
        other.run(run)


def test_what_needs_one_layer(both):
    with pytest.raises(ConfigError, match="a unit is of one layer, not of 1, 5"):
        ni.maximise(both, "channel:1")
    with pytest.raises(ConfigError, match="a caricature is of one layer"):
        ni.caricature(both, images(1))
    with pytest.raises(ni.CodeError, match="the target is of the layers 9"):
        Match({"9": torch.ones(1, 2)})(images(1), both(images(1)))


def test_objectives_beside_the_match():
    cut = encoder()
    code = cut(images(1)).detach()
    both = ni.invert(cut, code, objective=["match", (0.5, own_prior)], prior="none", steps=4)
    assert both.terms == ("code", "own_prior")
    alone = ni.invert(cut, code, objective=own_prior, prior="none", steps=4)
    assert alone.terms == ("own_prior",)
    assert alone.error.shape == (1,)  # it is still held against the code
    with pytest.raises(ConfigError, match="'macth' is not an objective"):
        ni.invert(cut, code, objective="macth")


# -- names ---------------------------------------------------------------------------------------------


def test_names_for_the_command_line(monkeypatch):
    cut = encoder()
    code = cut(images(1)).detach()
    try:
        ni.register_prior("mirrored", own_prior, weight=0.25)
        ni.register_canvas("tiles")(OwnCanvas)

        @ni.register_preset("brief")
        def brief(encoder, prior=None):
            return ni.recipe("quick", encoder, prior).with_steps(5)

        result = ni.invert(cut, code, preset="brief", prior="mirrored+tv-huber", canvas="tiles")
        assert result.terms[:3] == ("code", "own_prior", "tv-huber")
        assert result.steps == 5
        weight, term = ni.recipe("quick", cut, "mirrored").priors[0]
        assert (weight, term) == (pytest.approx(0.25 * contrast_of(cut).share), own_prior)
        assert ni.recipe("robust", cut, "mirrored").priors[0] == (0.25, own_prior)
        for again in (
            lambda: ni.register_prior("mirrored", own_prior),
            lambda: ni.register_canvas("tiles", OwnCanvas),
            lambda: ni.register_preset("brief", brief),
        ):
            with pytest.raises(ConfigError, match="already; choose another name"):
                again()
    finally:
        PRIORS.remove("mirrored")
        CANVASES.remove("tiles")
        ni.PRESETS.remove("brief")


def test_entry_points_are_loaded_by_the_name_that_is_missed(monkeypatch):
    loaded = []

    def find(group, name=None):
        entry = SimpleNamespace(name="elsewhere", load=lambda: loaded.append(group) or own_prior)
        return [entry] if group == "netinvert.priors" and name in (None, "elsewhere") else []

    monkeypatch.setattr("importlib.metadata.entry_points", find)
    try:
        ni.recipe("default", encoder(), "tv-huber")
        with pytest.raises(ConfigError, match="no prior 'nowhere'"):
            ni.recipe("default", encoder(), "nowhere")
        assert loaded == []
        assert ni.recipe("default", encoder(), "elsewhere=2").priors[0] == (2.0, own_prior)
        assert loaded == ["netinvert.priors"]
    finally:
        PRIORS.remove("elsewhere")


# -- optimisers of torch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [torch.optim.Adam, lambda parameters: torch.optim.SGD(parameters, lr=5.0, momentum=0.5)],
    ids=["a class", "a function"],
)
def test_torch_s_optimisers_go_into_a_stage(optimizer, tmp_path):
    cut = encoder()
    code = cut(images(2)).detach()
    how = ni.Recipe(
        "mine", CANVASES["pixels"], 1.0, (), (ni.Stage(12, optimizer, jitter=2), ni.Stage(4, ni.Adam()))
    )
    ready = ni.prepare(cut, code, how)
    found = ready.run()
    assert (found.losses[15, 0] < found.losses[0, 0]).all()
    changed = ni.prepare(cut, torch.cat([code[:1], 2 * code[1:]]), how).run()
    assert torch.equal(changed.image[0], found.image[0])
    path = tmp_path / "checkpoint"
    stop = ni.Run(checkpoint=path, checkpoint_seconds=0, callback=lambda info: 1 / (info.step - 6) and None)
    with pytest.raises(ZeroDivisionError):
        ready.run(stop)
    assert torch.equal(ready.run(ni.Run(checkpoint=path, checkpoint_seconds=1e9)).image, found.image)


def test_torch_s_adam_is_ours():
    cut = encoder()
    code = cut(images(2)).detach()
    images_ = []
    for optimizer in (ni.Adam(0.02), lambda parameters: torch.optim.Adam(parameters, lr=0.02, eps=1e-12)):
        how = ni.Recipe("mine", CANVASES["fourier"], 1.0, (), (ni.Stage(10, optimizer),))
        images_.append(ni.invert(cut, code, preset=how).image)
    torch.testing.assert_close(*images_)


def test_what_is_no_optimiser():
    cut = encoder()
    code = cut(images(1)).detach()
    for optimizer, message in (
        (torch.optim.LBFGS, "use netinvert.LBFGS"),
        (lambda parameters: 7, "this one made int"),
    ):
        how = ni.Recipe("mine", CANVASES["fourier"], 1.0, (), (ni.Stage(2, optimizer),))
        with pytest.raises(ConfigError, match=message):
            ni.invert(cut, code, preset=how)
    with pytest.raises(ConfigError, match="7 is no optimiser"):
        ni.Stage(2, 7)
