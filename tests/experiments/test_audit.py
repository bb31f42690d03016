import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert import CodeError, ConfigError, Encoder, Network
from netinvert.evaluation.attributes import Attribute, read_attributes
from netinvert.evaluation.probes import duplicates, retrieve, wilson
from netinvert.experiments import inversions
from netinvert.experiments.audit import CORRECTED, DECODED, OPTIMISED, Audited, audit
from netinvert.experiments.audit_report import audit_page, audit_sheet, found_table, shown_of, told, verdict
from netinvert.experiments.configs.looks import Audit
from netinvert.experiments.inputs import decoder_for
from netinvert.io.files import plain_json
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder, load_decoder
from tiny import PLAIN, images, plain, seeded, smooth

# -- re-identification ---------------------------------------------------------------------------------


def test_wilson_against_known_values():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    known = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, count), interval in known.items():
        assert wilson(hits, count) == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 200), st.floats(0, 1))
def test_wilson_holds_the_rate(count, share):
    low, high = wilson(share * count, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


@pytest.mark.parametrize("metric", ["cosine", "L2"])
def test_ranks_against_a_plain_loop(metric):
    source = torch.Generator().manual_seed(1)
    gallery = torch.randn(20, 3, 2, generator=source)
    queries = gallery[[4, 7, 9, 0]] + 0.9 * torch.randn(4, 3, 2, generator=source)
    own = torch.tensor([4, 7, 9, 0])
    ranks = []
    for query, mine in zip(queries, own, strict=True):
        if metric == "L2":
            far = [(query - one).norm().item() for one in gallery]
        else:
            far = [-torch.cosine_similarity(query.flatten(), one.flatten(), 0).item() for one in gallery]
        ranks.append(1 + sum(value < far[mine] for value in far))
    found = retrieve(queries, gallery, own, metric)
    assert [rate.top for rate in found.rates] == [1, 5]
    for rate in found.rates:
        assert rate.hits == sum(rank <= rate.top for rank in ranks)
        assert rate.chance == rate.top / 20
        assert rate.count == 4
    assert found.median_rank == sorted(ranks)[1] / 2 + sorted(ranks)[2] / 2


def test_cosine_does_not_see_length_and_l2_does():
    gallery = torch.eye(8) + 0.1
    queries = gallery * 30
    own = torch.arange(8)
    assert retrieve(queries, gallery, own, "cosine").rates[0].rate == 1
    shifted = torch.cat([gallery[:4], gallery[:4] * 30 + 0.001])
    assert retrieve(queries[:4], shifted, own[:4], "L2").rates[0].rate == 0


def test_equal_codes_count_as_a_guess_among_them():
    gallery = torch.eye(7)[[0, 1, 1, 1, 2, 3, 4]]
    group, sizes = duplicates(gallery)
    assert sorted(sizes.tolist()) == [1, 1, 1, 1, 3]
    assert len({group[1].item(), group[2].item(), group[3].item()}) == 1
    for metric in ("cosine", "L2"):
        found = retrieve(gallery, gallery, torch.arange(7), metric)
        assert found.rates[0].hits == pytest.approx(4 + 3 * (1 / 3))
        assert found.rates[1].hits == 7
        assert found.rates[0].chance == 1 / 7


def test_unrelated_queries_are_found_at_chance():
    source = torch.Generator().manual_seed(0)
    gallery, queries = (torch.randn(400, 5, generator=source) for _ in range(2))
    for rate in retrieve(queries, gallery, torch.arange(400), "L2").rates:
        assert rate.low <= rate.chance <= rate.high


def test_a_small_gallery_has_no_first_five():
    codes = torch.eye(4)
    assert [rate.top for rate in retrieve(codes, codes, torch.arange(4), "L2").rates] == [1]


# -- attributes ----------------------------------------------------------------------------------------


def read(tmp_path, text, names=("a", "b", "c")):
    path = tmp_path / "attributes.csv"
    path.write_text(text, encoding="utf-8")
    return read_attributes(path, names)


def test_attributes_by_order_and_by_name(tmp_path):
    size, colour, few = read(tmp_path, "size,colour,few\n1.5,red,0\n2,blue,1\n,red,1\n")
    assert size == Attribute("size", ("1.5", "2", None), True)
    assert colour == Attribute("colour", ("red", "blue", "red"), False)
    assert few == Attribute("few", ("0", "1", "1"), False)
    (size,) = read(tmp_path, "\ufeffName;size\nc.png;3.5\na.png;1\nmore.png;9\nb.png;2\n")
    assert size == Attribute("size", ("1", "2", "3.5"), True)
    assert size.of([2, 0]).values == ("3.5", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("size\n", "no rows"),
        ("size\n1\n2\n", "2 rows for 3 codes"),
        ("size,colour\n1,red\n2\n3,red\n", "row 3"),
        ("size,size\n1,1\n2,2\n3,3\n", "heading of its own"),
        ("name\na\nb\nc\n", "no column of an attribute"),
        ("name,size\na,1\nb,2\nb,3\nc,4\n", "several rows for 'b'"),
        ("name,size\na,1\nb,2\nd,3\n", "no row for 1 of 3 codes, such as 'c'"),
        ('size,b\n"1,2\n', "not CSV"),
    ],
)
def test_attributes_that_do_not_match(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


# -- the audit -----------------------------------------------------------------------------------------


def cut(build, layer, seed=0):
    return Encoder(Network(f"tiny-{seed}", seeded(build, seed, torch.float32), PLAIN), layer)


def subject(count=12, **more):
    pictures = images(count).float()
    encoder = cut(smooth, "output")
    return Audited(encoder, encoder(pictures), tuple(f"p{k}" for k in range(count)), pictures, **more)


def asked(**options) -> Audit:
    quick = {"steps": 25, "shuffles": 20, "out": Path("out")}
    return Audit(codes="x.npy", network="tiny", layer="output", **{**quick, **options})


def audited(one: Audited, folder: Path, decoder=None, **options):
    """What an audit of a network that is no file finds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inversions, "open_network", lambda config, device: one.encoder.network)
        with RunDir(folder / "out", {"test": 1}) as run:
            return audit(asked(**options), one, decoder, run, lambda text: None)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    one = subject(
        judge=cut(plain, "5", 3),
        attributes=(
            Attribute("half", tuple("ab" * 6), False),
            Attribute("light", tuple(map(str, images(12).mean((1, 2, 3)).tolist())), True),
            Attribute("same", ("x",) * 12, False),
        ),
    )
    return audited(one, tmp_path_factory.mktemp("audit"))


def test_an_early_layer_gives_its_images_away(found):
    (made,) = found.reconstructions
    assert made.method == OPTIMISED
    assert made.images.shape == (12, 3, 16, 16)
    assert made.code_error.max() < 0.5
    assert made.image_error.mean() < 0.8
    again = (made.images - found.subject.originals).flatten(1).norm(dim=1)
    pairs = torch.nn.functional.pdist(found.subject.originals.flatten(1)).mean()
    torch.testing.assert_close(made.image_error, (again / pairs).double(), rtol=1e-4, atol=1e-5)
    rates = {(one.reader.name, one.found.metric): one.found.rates[0] for one in found.identifications}
    assert set(rates) == {
        (name, metric)
        for name in ("output of tiny-0", "5 of tiny-3", "pixels")
        for metric in ("cosine", "L2")
    }
    assert all(rate.above_chance for rate in rates.values())
    independent = {one.reader.name: one.reader.independent for one in found.identifications}
    assert independent == {"output of tiny-0": False, "5 of tiny-3": True, "pixels": True}


def test_probes_have_a_ceiling_and_say_what_they_learned_from(found):
    light = [one for one in found.probes if one.attribute == "light" and not one.reader.independent]
    assert [(one.learned, one.tested) for one in light] == [
        ("stored codes", "stored codes"),
        ("optimised", "optimised"),
        ("stored codes", "optimised"),
    ]
    assert {one.attribute for one in found.probes} == {"half", "light"}
    assert any("same: all labels are equal" in note for note in found.notes)
    assert all(math.isfinite(one.reading.score) for one in found.probes)


def test_the_page_gives_a_verdict_and_says_which_rate_is_self_fulfilling(found):
    page = audit_page(asked(), found)
    text = page.html()
    for words in ("self-fulfilling", "guessing", "What this does not show", "netinvert audit x.npy", "p11"):
        assert words in text
    assert "<strong>The codes show which image they are of</strong>" in text
    assert "of 12 optimised images had their own original nearest among 12" in verdict(found)
    assert "by guessing 8.3 % (the best of 2 such figures)" in verdict(found)
    stored = {one.attribute: one.reading.above_chance for one in found.probes if one.tested == "stored codes"}
    read = " and ".join(f"`{name}`" for name, above in stored.items() if above)
    assert (
        f"A linear probe reads {read} from the stored codes above chance (p < 0.05, uncorrected for the 2 "
        in verdict(found)
    ) == bool(read)
    assert "Not probed: same: all labels are equal" in text
    plain_table = json.loads(json.dumps(plain_json(found.facts())))
    assert len(plain_table["reconstructions"][0]["code_error_ijcv16"]) == 12
    assert "cpu_seconds" not in plain_table["reconstructions"][0]
    assert {row["independent"] for row in plain_table["identification"]} == {True, False}
    assert audit_sheet(found).png().startswith(b"\x89PNG")
    assert "| optimised |" in page.markdown()


def test_every_finding_is_beside_its_chance_level(found):
    rows = [
        dict(zip(("what", "images", "says", "figure", "chance"), row, strict=True))
        for row in found_table(found).rows
    ]
    rates = [one for one in found.identifications if one.found.metric == "cosine"]
    assert [row["chance"] for row in rows[: len(rates)]] == ["8.3 %"] * len(rates)
    assert "another network (5 of tiny-3)" in rows[0]["what"]
    assert rows[0]["says"] == "above chance"
    assert rows[2]["says"].startswith("no evidence")  # the audited network itself
    probed = [row for row in rows if "linear probe" in row["what"]]
    assert {row["says"] for row in probed} <= {"above chance", "not to be told from chance"}
    assert len(told(found).splitlines()) == 1 + len(rows)


def test_what_cannot_be_told_from_chance_is_not_called_safe(found):
    source = torch.Generator().manual_seed(0)
    gallery, queries = (torch.randn(12, 5, generator=source) for _ in range(2))
    guessed = retrieve(queries, gallery, torch.arange(12), "cosine")
    assert not guessed.rates[0].above_chance
    rows = tuple(replace(one, found=guessed) for one in found.identifications)
    text = verdict(replace(found, identifications=rows))
    assert "**The reconstructions were not told from chance**" in text
    assert "does not prove that the codes are safe" in text
    assert "show which image" not in text


def test_codes_alone_are_given_the_command_of_the_real_attack(found, tmp_path):
    one = subject(6)
    alone = Audited(one.encoder, one.codes, one.names)
    known = audited(alone, tmp_path, steps=5)
    text = audit_page(asked(), known).markdown()
    assert "was not measured" in verdict(known)
    assert f"grey image: {known.floors[0].code_error:.2f}" in verdict(known)
    assert "netinvert decoder train --network tiny --layer output" in text
    assert "--decoder out/decoder/decoder.safetensors" in text
    assert "--images originals/" in text
    assert "--images originals/" not in audit_page(asked(), found).markdown()


def test_a_sample_is_looked_for_among_all_codes(tmp_path):
    one = subject(12)
    found = audited(one, tmp_path / "a", steps=5, sample=4, seed=3)
    assert len(found.rows) == 4
    assert found.rows == tuple(sorted(set(found.rows)))
    rate = found.identifications[0].found.rates[0]
    assert (rate.count, rate.chance) == (4, 1 / 12)
    # The seed of a code is its own, whatever else is in the sample.
    whole = audited(one, tmp_path / "b", steps=5, seed=3)
    torch.testing.assert_close(
        whole.reconstructions[0].images[list(found.rows)], found.reconstructions[0].images
    )


def test_equal_codes_are_counted(tmp_path):
    one = subject(6)
    codes = one.codes[[0, 0, 1, 2, 2, 2]]
    found = audited(Audited(one.encoder, codes, one.names), tmp_path, steps=5)
    assert found.groups_of_equal == (2, 5)
    assert "5 codes equal another one, in 2 groups" in audit_page(asked(), found).html()
    assert found.notes == ("No attributes were given, so nothing was probed",)


class Exact(torch.nn.Module):
    """The image that belongs to each code."""

    def __init__(self, codes, pictures):
        super().__init__()
        self.codes, self.pictures = codes, pictures

    def forward(self, code):
        return self.pictures[torch.cdist(code.flatten(1), self.codes.flatten(1)).argmin(1)]


def exact_decoder(one, layer="output"):
    module = Exact(one.codes, one.originals)
    return Decoder("exact", one.encoder.network.name, layer, one.encoder.code_shape, (16, 16), module)


def test_a_perfect_decoder_is_found_out(tmp_path):
    one = subject(12, judge=cut(plain, "5", 3))
    found = audited(one, tmp_path, exact_decoder(one), steps=2)
    assert [made.queries for made in found.reconstructions] == [None, 0, 12 * 10]
    decoded = [row for row in found.identifications if row.method in (DECODED, CORRECTED)]
    assert all(row.found.rates[0].rate == 1 and row.found.median_rank == 1 for row in decoded)
    assert found.reconstructions[1].image_error.max() == 0
    assert found.reconstructions[1].code_error.max() < 1e-5
    assert "12 of 12 decoded images" in verdict(found)
    page = audit_page(asked(), found).markdown()
    assert "netinvert decoder train" not in page
    assert "corrected by 10 answers of the network a code, without gradients" in page
    decoded_only = audited(one, tmp_path / "plain", exact_decoder(one), steps=2, correct=0)
    assert [made.method for made in decoded_only.reconstructions] == [OPTIMISED, DECODED]


def test_subjects_that_cannot_be_audited():
    one = subject(4)
    encoder, codes, names = one.encoder, one.codes, one.names
    with pytest.raises(CodeError, match="needs two at least"):
        Audited(encoder, codes[:1], names[:1])
    with pytest.raises(CodeError, match="all 4 codes are equal"):
        Audited(encoder, codes[[0, 0, 0, 0]], names)
    with pytest.raises(CodeError, match="has codes of shape"):
        Audited(encoder, codes[:, :2], names)
    with pytest.raises(CodeError, match="NaN"):
        Audited(encoder, codes.clone().index_fill_(0, torch.tensor(2), torch.nan), names)
    with pytest.raises(CodeError, match="zero everywhere"):
        Audited(encoder, codes * torch.tensor([1.0, 1, 0, 1]).view(4, 1, 1, 1), names)
    with pytest.raises(ConfigError, match="no judge"):
        Audited(encoder, codes, names, one.originals, judge=encoder)
    with pytest.raises(ConfigError, match="--images"):
        Audited(encoder, codes, names, judge=cut(plain, "5", 3))
    with pytest.raises(ConfigError, match="unknown for some codes"):
        Audited(encoder, codes, names, groups=Attribute("g", ("a", "b", None, "c"), False))
    with pytest.raises(ConfigError, match="'nonsense'"):
        asked(preset="nonsense")
    with pytest.raises(ConfigError, match="--steps"):
        asked(steps=0)


def test_shown_codes_are_evenly_spaced():
    assert shown_of(5, 12) == [0, 1, 2, 3, 4]
    assert shown_of(24, 12) == list(range(0, 24, 2))


@pytest.mark.parametrize("name", ["posenet-fc7", "objectron-chair"])
def test_a_shipped_decoder_of_the_very_layer_goes_along(name):
    encoder, said = load_decoder(name).encoder(), []
    assert decoder_for(None, encoder, said.append).name == name
    assert said == [f"the decoder {name} fits and is used"]
    other = Encoder(encoder.network, {"posenet": "fc7", "objectron-chair": "blocks.10"}[encoder.network.name])
    assert decoder_for(None, other, pytest.fail) is None
