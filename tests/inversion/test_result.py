"""A result: one screen of text, its images in a notebook, and back from the tensors it is kept as."""

import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import netinvert as ni
from netinvert.errors import ConfigError
from netinvert.inversion.objectives import code_error
from netinvert.inversion.result import Result
from netinvert.io.images import write_png
from tiny import encoder, images


@pytest.fixture(scope="module")
def result():
    cut = encoder()
    return ni.invert(cut, cut(images(2)), steps=12)


def test_one_line_says_it_all(result):
    text = repr(result)
    first, second = (f"{error:.3g}" for error in result.error.tolist())
    assert text.startswith(f"<Result of 2 images 3×16×16, code error {first}, {second} after 12 steps in ")
    assert text.endswith("; all steps done>")
    assert "tensor" not in text
    drawn = ni.maximise(encoder(), "channel:1", steps=3)
    assert repr(drawn).startswith("<Result of 1 image 3×16×16, activation ")
    best = -drawn.best_losses[0].item()
    assert f"activation {best:.3g} after 3 steps" in repr(drawn)


def test_a_notebook_shows_the_images(result):
    html = result._repr_html_()
    assert html.count("<img src=") == html.count("data:image/png;base64,") == 2
    assert f"code error {result.error[1].item():.3g}, after 12 steps" in html
    assert len(html) < 20_000


def test_a_notebook_watches_an_inversion(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=shown.append)

    def display(value, display_id):
        assert display_id
        shown.append(value)
        return handle

    shell, module = SimpleNamespace(kernel=object()), SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=module))
    cut = encoder()
    result = ni.invert(cut, cut(images(2)), steps=12, callback=ni.watch(seconds=0))
    assert len(shown) == 12
    assert torch.equal(shown[-1].images, result.image.clamp(0, 1).float())
    assert shown[-1].captions[1].endswith("after 12 of 12 steps")
    shown.clear()
    ni.invert(cut, cut(images(2)), steps=12, callback=ni.watch(seconds=1000))
    assert [one.captions[0].rpartition("after ")[2] for one in shown] == ["1 of 12 steps", "12 of 12 steps"]


def test_nothing_is_watched_elsewhere(capsys):
    cut = encoder()
    ni.invert(cut, cut(images(1)), steps=3, callback=ni.watch())
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_real_kernel_shows_what_is_watched():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    code = """
    import netinvert as ni, torch
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    encoder = ni.Encoder(network, "output", ni.Preprocessing(size=(16, 16)))
    ni.invert(encoder, encoder(torch.rand(1, 3, 16, 16)), steps=9, callback=ni.watch(0))
    """
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(code))])
    nbclient.NotebookClient(book, timeout=60).execute()
    watched, result = (one.data["text/html"] for one in book.cells[0].outputs)
    assert "after 9 of 9 steps" in watched
    assert "code error" in result


def test_best_losses_are_those_of_the_images_kept(result):
    for row, step in enumerate(result.best_step.tolist()):
        assert torch.equal(result.best_losses[:, row], result.losses[step, :, row])


@pytest.mark.parametrize("several", [False, True])
def test_tensors_and_back(result, several):
    if several:
        codes = {"a": result.code, "b": 2 * result.code}
        result = Result(**{**vars(result), "code": codes, "target": {**codes, "a": result.target}})
    tensors, texts = result.to_tensors()
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    again = Result.from_tensors(tensors, texts)
    assert repr(again) == repr(result)
    assert torch.equal(again.error, result.error)
    assert torch.equal(again.losses, result.losses)
    assert (again.status, again.terms, again.interrupted) == (result.status, result.terms, False)
    assert Result.from_tensors(*Result(**{**vars(result), "target": None}).to_tensors()).target is None


def test_results_are_joined(result):
    cut = encoder()
    longer = ni.invert(cut, cut(images(1, seed=4)), steps=15)
    both = Result.join([result, longer])
    assert both.losses.shape == (15, 3, 3)
    assert both.losses[12:, :, :2].isnan().all()
    assert torch.equal(both.error, torch.cat([result.error, longer.error]))


def test_the_code_error_is_relative():
    target = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert code_error(torch.zeros(2, 2), target).tolist() == [1.0, 1.0]
    assert code_error(target, target).tolist() == [0.0, 0.0]
    layers = code_error({"a": target, "b": 0 * target}, {"a": target, "b": target})
    assert layers.tolist() == pytest.approx([0.5**0.5] * 2)


# -- show ----------------------------------------------------------------------------------------------


def test_whatever_holds_images_is_shown(result, tmp_path):
    write_png(images(1)[0], tmp_path / "x.png")
    pil = Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8))
    shown = ni.show([result, tmp_path / "x.png", pil, images(1), 5 * images(1)[0] - 2])
    assert shown.images.shape == (6, 3, 16, 16)
    assert shown.captions == ("",) * 6
    assert shown.pil(columns=3).size == (3 * 20 - 4, 2 * 20 - 4)
    assert ni.show(result).captions == tuple(f"code error {error:.3g}" for error in result.error.tolist())
    assert repr(shown) == "<6 images of 3×16×16>"
    assert "&lt;b&gt;" in ni.show(images(1), "<b>")._repr_html_()


def test_what_cannot_be_shown_together():
    with pytest.raises(ConfigError, match="have one size"):
        ni.show([images(1), images(1, (8, 8))])
    with pytest.raises(ConfigError, match="3 captions for 2 images"):
        ni.show(images(2), ["a", "b", "c"])
    with pytest.raises(ni.ImageError, match="does not exist"):
        ni.show("nowhere.png")
