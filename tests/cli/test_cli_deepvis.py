"""``netinvert deepvis``."""

from netinvert import read_image
from netinvert.cli import deepvis
from netinvert.io.files import read_json

FEW = ("--draws", 2, "--steps", 3, "--published-steps", 2)


def test_a_search_from_the_command_line(cli, net, tmp_path):
    out = tmp_path / "out"
    result = cli("deepvis", *net, "-c", 0, "-c", 5, *FEW, "--size", 16, "--seed", 3, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert str(out / "report.html") in result.stdout
    assert "10 of 10 settings" in result.stderr
    manifest = read_json(out / "manifest.json")
    assert manifest["command"]["channels"] == [0, 5]
    assert manifest["command"]["seed"] == 3
    assert manifest["size"] == [16, 16]
    assert len(list((out / "pictures").iterdir())) == 20


def test_a_stopped_search_says_how_to_go_on(cli, net, tmp_path, monkeypatch):
    def stopping():
        def progress(done, total, share):
            if done == 4:
                raise KeyboardInterrupt

        return progress

    given = ("deepvis", *net, "-c", 0, *FEW, "--out", tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(deepvis, "_lines", stopping)
        result = cli(*given)
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.stderr
    result = cli(*given)
    assert result.exit_code == 0, result.output
    assert read_json(tmp_path / "out/manifest.json")["resumed"] is True


def test_bad_input(cli, net, tmp_path):
    for given, message in (
        (("-c", 99), "has channels 0 to 7, got 99"),
        (("-c", 0, "--size", 4), "--size is at least 16 pixels, got 4"),
        (("-c", 0, "--draws", -1), "draws: at least 1"),
        (("-c", 0, "--factor", 0), "factor of the learning rates is a number above 0"),
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
