"""``netinvert deepvis``."""

from netinvert import read_image
from netinvert.io.files import read_json

FEW = ("--draws", 2, "--steps", 3, "--published-steps", 2)


def test_a_search_from_the_command_line(cli, net, tmp_path):
    out = tmp_path / "out"
    result = cli("deepvis", *net, "-c", 0, "-c", 5, *FEW, "--pixels", 16, "--seed", 3, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    manifest = read_json(out / "manifest.json")
    assert manifest["command"]["channel"] == [0, 5]
    assert manifest["command"]["seed"] == 3
    assert manifest["image_size"] == [16, 16]
    assert len(list((out / "images").iterdir())) == 20


def test_bad_input(cli, net, tmp_path):
    for given, message in (
        (("-c", 99), "has channels 0 to 7, got 99"),
        (("-c", 0, "--pixels", 4), "--pixels is at least 16, got 4"),
        (("-c", 0, "--draws", -1), "--draws is at least 0"),
        (("-c", 0, "--factor", 0), "--factor is above 0"),
    ):
        result = cli("deepvis", *net, *given, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_maximise_by_a_published_set_also_shows_what_is_nearly_grey(cli, net, tmp_path):
    out = tmp_path / "out"
    given = ("maximise", *net, "--channel", 1, "--preset", "deepvis-3", "--steps", 2, "--out", out)
    assert cli(*given).exit_code == 0
    (plain,) = out.glob("*1.png")
    image = read_image(out / f"{plain.stem}-stretched.png")
    assert max(image.max() - 0.5, 0.5 - image.min()) > 0.49
    assert cli(*given[:-6], "--steps", 2, "--preset", "default", "--out", tmp_path / "other").exit_code == 0
    assert not list((tmp_path / "other").glob("*-stretched.png"))
