"""Files of decoders."""

import json

import pytest
import torch

import netinvert.models.decoder as decoder_files
from netinvert import Encoder
from netinvert.errors import NetworkError, OutputError
from netinvert.io.files import load_tensors, save_tensors
from netinvert.models.checkpoints import state_sha256
from netinvert.models.decoder import (
    VERSION,
    DecoderFile,
    as_stored,
    load_autoencoder,
    load_decoder,
    read_decoder,
    save_decoder,
)
from netinvert.models.network import Network, built
from netinvert.models.upconv import Architecture, UpConvolutional
from tiny import PLAIN, plain, seeded

FACTS = {"command": "netinvert decoder train", "figures": {"psnr": 20.5, "odd": None}, "plan": {"seed": 3}}


def content(code_shape=(6,), size=(16, 24), **more):
    module = built(lambda: UpConvolutional(Architecture(code_shape, size, mask=True)))
    module.set_statistics(*module.features_statistics([codes(code_shape)]))
    return DecoderFile(module.eval(), "tiny", "8", "ab" * 32, FACTS, "MIT", **more)


def codes(code_shape=(6,)):
    return 3 + torch.randn(4, *code_shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("code_shape", [(6,), (4, 3, 5), (10, 2)], ids=str)
@pytest.mark.parametrize("half", [False, True])
def test_a_round_trip(tmp_path, code_shape, half):
    path, one = tmp_path / "small.safetensors", content(code_shape)
    save_decoder(path, one, half)
    read = read_decoder(path)
    wanted, found = one.module.state_dict(), read.module.state_dict()
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert torch.equal(as_stored(value) if half else value, found[name])
        assert found[name].dtype == torch.float32
    assert read.module.architecture == one.module.architecture
    assert (read.network, read.layer, read.network_sha256) == ("tiny", "8", "ab" * 32)
    assert (read.facts, read.licence, read.encoder_state) == (FACTS, "MIT", None)
    assert not any(part.training for part in read.module.modules())
    decoder = load_decoder(str(path))
    assert (decoder.name, decoder.size, decoder.channels, decoder.has_mask) == ("small", (16, 24), 3, True)
    assert (decoder.code_shape, decoder.facts, decoder.licence) == (code_shape, FACTS, "MIT")
    with torch.no_grad():
        made = one.module(codes(code_shape))
    tolerance = 0.01 if half else 1e-6
    torch.testing.assert_close(decoder(codes(code_shape)), made[:, :3], rtol=0, atol=tolerance)
    torch.testing.assert_close(
        decoder.mask(codes(code_shape)), torch.sigmoid(made[:, 3:]), rtol=0, atol=tolerance
    )


def test_half_precision_takes_half_the_place_and_may_be_written_again(tmp_path):
    whole, half, again = (tmp_path / f"{name}.safetensors" for name in ("whole", "half", "again"))
    save_decoder(whole, content())
    save_decoder(half, content(), half=True)
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    save_decoder(again, read_decoder(half), half=True)
    first, second = load_tensors(half), load_tensors(again)
    assert first[1] == second[1]
    assert all(torch.equal(value, second[0][name]) for name, value in first[0].items())
    assert first[0].keys() == second[0].keys()


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(OutputError, match="create it first"):
        save_decoder(tmp_path / "nothing" / "small.safetensors", content())
    path = tmp_path / "small.safetensors"
    save_decoder(path, content())
    before = path.read_bytes()
    broken = content()
    broken.module.standardise.mean = broken.module.standardise.mean.to_sparse()
    with pytest.raises(OutputError):
        save_decoder(path, broken)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def rewritten(path, tensors=None, **metadata):
    """The same file with something else in it; a text of None is left out."""
    stored, words = load_tensors(path)
    words = {name: text for name, text in (words | metadata).items() if text is not None}
    save_tensors(path, stored if tensors is None else tensors(stored), words)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def described(**changes):
    """Change the architecture in a file."""

    def change(path):
        known = json.loads(load_tensors(path)[1]["architecture"])
        rewritten(path, architecture=json.dumps(known | changes))

    return change


BAD = {
    "missing": (lambda path: path.unlink(), "check the path"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "cut short": (cut_short, "cut off"),
    "a picture": (lambda path: path.write_bytes(b"\x89PNG\r\n" + 500 * b"x"), "not a whole safetensors"),
    "other tensors": (lambda path: save_tensors(path, {"a": torch.ones(2)}), "netinvert decoder train"),
    "a pose network": (lambda path: rewritten(path, format="netinvert-pose"), "holds no decoder"),
    "version": (lambda path: rewritten(path, version="7"), f"version 7.*version {VERSION}"),
    "no architecture": (lambda path: rewritten(path, architecture=None), "damaged"),
    "no words": (lambda path: rewritten(path, facts="{"), "damaged"),
    "no layer": (lambda path: rewritten(path, layer=None), "damaged"),
    "a list": (lambda path: rewritten(path, architecture="[1]"), "damaged"),
    "unknown setting": (described(depth=3), "damaged"),
    "unknown widths": (described(widths="huge"), "damaged.*huge"),
    "no shape": (described(code_shape="ab"), "damaged"),
    "other shape": (described(code_shape=[7]), "shape"),
    "missing tensor": (
        lambda path: rewritten(path, lambda t: {k: v for k, v in t.items() if k != "standardise.std"}),
        "1 missing",
    ),
    "more tensors": (lambda path: rewritten(path, lambda t: t | {"more": torch.ones(1)}), "1 unexpected"),
    "NaN": (
        lambda path: rewritten(path, lambda t: t | {"standardise.std": torch.full((6,), float("nan"))}),
        "NaN",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_cannot_be_read(tmp_path, kind):
    path = tmp_path / "small.safetensors"
    save_decoder(path, content())
    spoil, words = BAD[kind]
    spoil(path)
    with pytest.raises(NetworkError, match=words):
        load_decoder(path)


def test_unknown_names():
    with pytest.raises(NetworkError, match="did you mean posenet-fc7"):
        load_decoder("posenet-fc77")
    with pytest.raises(NetworkError, match=r"there are posenet-conv5 \(layer 'relu5' of posenet\), "):
        load_decoder("zzz")
    for layer, name in (("relu7", "posenet-fc7"), ("fc8", "posenet-pose")):
        with pytest.raises(NetworkError, match=rf"did you mean {name} \(layer '{layer}' of posenet\)\?"):
            load_decoder(f"posenet-{layer}")
    with pytest.raises(NetworkError, match="no decoder"):
        load_decoder("elsewhere:thing")


def network():
    return Network("tiny", seeded(plain, 0, torch.float32), PLAIN)


def test_an_autoencoder_brings_its_encoder(tmp_path, monkeypatch):
    learned = {name: as_stored(value) for name, value in seeded(plain, 5, torch.float32).state_dict().items()}
    path, original = tmp_path / "auto.safetensors", network()
    one = content((5,), encoder_state=learned)
    one = DecoderFile(one.module, "tiny", "8", state_sha256(learned), FACTS, "MIT", learned)
    save_decoder(path, one, half=True)
    before = state_sha256(original.module.state_dict())
    monkeypatch.setattr(decoder_files, "load_network", lambda name, *_: {"tiny": original}[name])
    encoder, decoder = load_autoencoder(path)
    decoder.check_encoder(encoder)
    images = torch.rand(2, 3, 16, 16)
    trained = Encoder(Network("tiny", seeded(plain, 5, torch.float32), PLAIN), "8")
    torch.testing.assert_close(encoder(images), trained(images), rtol=0.02, atol=0.02)
    assert not torch.allclose(encoder(images), Encoder(network(), "8")(images), rtol=0.1, atol=0.1)
    assert decoder(encoder(images)).shape == (2, 3, 16, 24)
    assert state_sha256(original.module.state_dict()) == before
    save_decoder(path, content((5,)))
    with pytest.raises(NetworkError, match="--autoencoder"):
        load_autoencoder(path)
