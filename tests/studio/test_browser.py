"""The studio in a real browser, Chromium with a camera that is not one, as wide as a phone and as a desk."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from netinvert.cli.app import parse
from netinvert.experiments.configs.studies import StudyPriors
from netinvert.experiments.configs.studio import Studio

pytest.importorskip("nicegui", reason="the studio needs NiceGUI: pip install 'netinvert[studio]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need: pip install playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]
FLAGS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
PATIENT = 150_000
"""Milliseconds: other tests may take the processor."""


@contextmanager
def studio(folder: Path, *options: str) -> Iterator[str]:
    """A studio of its own, with posenet first, for it is quick; gives its address."""
    words = [sys.executable, "-m", "netinvert", "studio", "--port", "0", "--networks", "posenet", *options]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stderr.readline() if server.stderr else ""
            found = re.search(r"http://\S+", line)
            assert found, line
            yield found[0]
        finally:
            server.terminate()
            said = server.stderr.read() if server.stderr else ""
    assert "Traceback" not in said, said
    assert [path.name for path in folder.iterdir()] in ([], ["studio"])  # nothing else is written


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with studio(tmp_path_factory.mktemp("studio"), "--visitors", "2") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def visitor(browser) -> sync_api.BrowserContext:
    """One for all tests, for its process has to begin only once."""
    return browser.new_context()


@contextmanager
def opened(visitor, address: str, width: int = 1280) -> Iterator[sync_api.Page]:
    """A page that asks nobody else for anything and has no error."""
    page = visitor.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.set_default_timeout(PATIENT)
    hosts, wrong = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("body[data-mounted]")
    yield page
    page.close()
    assert wrong == []
    assert hosts - {""} == {urlsplit(address).netloc}


def wait_for_image(page, key: str, other_than: str = "") -> str:
    """Until a picture has come; gives its address, which changes with each."""
    page.wait_for_function(
        "([key, old]) => [...document.querySelectorAll(`[data-image='${key}']`)]"
        ".some((one) => one.src.startsWith('blob:') && one.src !== old)",
        arg=[key, other_than],
    )
    return page.locator(f"[data-image='{key}']").first.get_attribute("src")


def wait_for_text(page, key: str, pattern: str) -> str:
    page.wait_for_function(
        "([key, pattern]) => new RegExp(pattern)"
        ".test(document.querySelector(`[data-text='${key}']`).textContent)",
        arg=[key, pattern],
    )
    return page.locator(f"[data-text='{key}']").first.text_content()


def handle(page, name: str) -> sync_api.Locator:
    """Of a slider, for its keys."""
    return page.get_by_role("slider", name=name).first.locator("[tabindex]").first


def as_wide_as_the_page(page) -> bool:
    """The header is fixed: what of it lies beyond the edge cannot be scrolled to."""
    return page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
        " && [...document.querySelectorAll('header button, header .q-tab')]"
        ".every((one) => one.getBoundingClientRect().right <= window.innerWidth)"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_look(visitor, address, width):
    """Tiles come; a click chooses a unit, arrows the next; a picture of another's is looked at."""
    with opened(visitor, address, width) as page:
        page.keyboard.press("1")
        first = wait_for_image(page, "look-tiles")
        assert "units of" in wait_for_text(page, "look-tiles", "ms")
        assert as_wide_as_the_page(page)
        area = page.locator(".s-tiles").bounding_box()
        page.locator(".s-tiles").click(position={"x": area["width"] * 0.01, "y": area["height"] * 0.01})
        wait_for_text(page, "look-map", r"^unit 0 ")
        page.keyboard.press("ArrowRight")
        wait_for_text(page, "look-map", r"^unit 1 ")
        wait_for_image(page, "unit-top")
        wait_for_image(page, "unit-best")
        page.get_by_text("gradient", exact=True).click()
        wait_for_image(page, "look-back")
        with page.expect_file_chooser() as chooser:
            page.get_by_label("A picture of yours").first.click()
        chooser.value.set_files({"name": "<img src=x>.png", "mimeType": "image/png", "buffer": b"no picture"})
        wait_for_text(page, "look-note", "not an image that Pillow knows")
        page.wait_for_function("document.querySelector('input[aria-label=picture]').value === ''")
        assert wait_for_image(page, "look-tiles", first) != first
        page.reload()  # what was there is there again
        page.wait_for_selector("body[data-mounted]")
        wait_for_text(page, "look-map", r"^unit 1 ")
        wait_for_image(page, "look-tiles")


def test_a_camera_is_looked_through_live(visitor, address):
    with opened(visitor, address) as page:
        page.keyboard.press("1")
        wait_for_image(page, "look-tiles")
        page.evaluate(
            "() => { window.frames_ = 0; new MutationObserver((all) => { window.frames_ += all.length; })"
            ".observe(document.querySelector(\"[data-image='look-tiles']\"), { attributeFilter: ['src'] }); }"
        )
        page.keyboard.press("c")
        page.wait_for_function("window.frames_ > 5")
        page.keyboard.press("c")


def test_pictures_that_are_too_large_are_not_sent(visitor, address, tmp_path):
    with opened(visitor, address) as page:
        page.keyboard.press("1")
        with page.expect_file_chooser() as chooser:
            page.get_by_label("A picture of yours").first.click()
        large = tmp_path / "<b onclick=alert()>large.png"
        with large.open("wb") as file:
            file.truncate(16_000_001)
        chooser.value.set_files(large)
        assert large.name in wait_for_text(page, "note", "megabytes")  # as text, and not as markup
        closed = page.evaluate(
            "new Promise((done) => { const one = new WebSocket(`ws://${location.host}/live`);"
            "one.onopen = () => one.send(new Uint8Array(16000002));"
            "one.onclose = (event) => done(event.code); })"
        )
        assert closed == 1009  # and the server reads no more


@pytest.mark.parametrize("width", [1280, 390])
def test_invert(visitor, address, width):
    """Both sides run; one is paused, changed, goes on and is stopped."""
    with opened(visitor, address, width) as page:
        wait_for_image(page, "look-tiles")
        page.get_by_role("tab", name="Invert").click()
        well = page.locator("[data-image='left-image']").bounding_box()
        assert well
        assert well["width"] == well["height"] > 50  # a place for what will come
        page.get_by_label("Left: Start").click()
        wait_for_text(page, "left-image", r"^code error 0\.\d+ · step \d+ of 150")
        page.get_by_label("Left: Pause").click()  # before it is done, which takes seconds
        wait_for_text(page, "left-state", "paused")
        page.get_by_label("Right: Start").click()
        wait_for_text(page, "right-image", r"^code error")
        assert as_wide_as_the_page(page)
        page.reload()
        page.wait_for_selector("body[data-mounted]")
        wait_for_text(page, "left-state", "paused")
        wait_for_image(page, "left-image")
        handle(page, "weight").press("ArrowRight")
        wait_for_text(page, "left-state", "paused")
        page.get_by_label("Left: Pause").click()
        wait_for_text(page, "left-state", "running")
        page.get_by_label("Left: Stop").click()
        wait_for_text(page, "left-state", "stopped")


@pytest.mark.parametrize("width", [1280, 390])
def test_turn(visitor, address, width):
    """The sliders are answered by both networks; the camera goes along; three chairs are mixed."""
    with opened(visitor, address, width) as page:
        page.keyboard.press("3")
        decoded, drawn = (wait_for_image(page, f"turn-{kind}") for kind in ("decoded", "drawn"))
        wait_for_text(page, "slot-a", "azimuth")
        camera = page.locator(".s-gizmo circle").get_attribute("cx")
        handle(page, "azimuth").press("PageDown")  # what is set stays: the test before ends at 360°
        wait_for_image(page, "turn-decoded", decoded)
        drawn = wait_for_image(page, "turn-drawn", drawn)
        page.wait_for_function(
            "(old) => document.querySelector('.s-gizmo circle').getAttribute('cx') !== old", arg=camera
        )
        handle(page, "azimuth").press("End")
        page.get_by_text("360°", exact=True).wait_for()
        drawn = wait_for_image(page, "turn-drawn", drawn)
        for mode in ("A → B", "A − B + C"):
            page.get_by_text(mode).click()
            drawn = wait_for_image(page, "turn-drawn", drawn)
        assert page.get_by_text("read: azimuth").count() == 3
        assert as_wide_as_the_page(page)


def test_vote_says_how_one_comes_to_vote(visitor, address):
    with opened(visitor, address) as page:
        page.keyboard.press("4")
        page.get_by_text("Which prior's picture is better?").wait_for()
        commands = page.locator(".s-votes, .s-page:visible .s-command").text_content().splitlines()
        assert [type(parse(shlex.split(one)[1:])) for one in commands] == [StudyPriors, Studio]


def test_a_third_visitor_waits_in_the_queue(browser, tmp_path):
    with (
        studio(tmp_path, "--visitors", "1") as address,
        opened(browser.new_context(), address) as first,
        opened(browser.new_context(), address) as second,
    ):
        wait_for_text(second, "note", "1 at work already: you are number 1 in the queue")
        assert first.locator("[data-text='note']").text_content() == ""
        first.close()
        wait_for_text(second, "note", "^$")


def test_pages_of_other_sites_get_nothing(browser, address):
    context = browser.new_context()
    page = context.new_page()
    page.goto("data:text/html,<p>another site</p>")
    port = urlsplit(address).port
    code = page.evaluate(
        f"new Promise((done) => {{ const one = new WebSocket('ws://localhost:{port}/live');"
        "one.onopen = () => done('open'); one.onerror = () => done('refused'); })"
    )
    context.close()
    assert code == "refused"


def test_dark_is_as_readable(visitor, address):
    with opened(visitor, address) as page:
        page.keyboard.press("1")
        page.get_by_label("Dark or light").click()
        page.wait_for_selector("body.body--dark")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.querySelector('h2')).color")
        light = [sum(map(int, re.findall(r"\d+", one)[:3])) for one in (ground, ink)]
        assert light[1] - light[0] > 400
