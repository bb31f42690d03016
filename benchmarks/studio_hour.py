"""Memory of the studio's processes over an hour of use in a real browser, with a camera that is not one, and
frames a second as the browser shows them. It needs Playwright and Chromium (apt-get install chromium).

python benchmarks/studio_hour.py --minutes 60 --json benchmarks/results/studio-hour.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from netinvert.io.files import write_json

FLAGS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
PATIENT = 400_000
"""Milliseconds that are waited for an answer."""
COUNT = """(key) => { window.frames_ = 0; window.counting_?.disconnect();
window.counting_ = new MutationObserver((all) => { window.frames_ += all.length; });
window.counting_.observe(document.querySelector(`[data-image='${key}']`), { attributeFilter: ["src"] }); }"""


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def children(pid: int) -> list[int]:
    """Of a process, those that work for visitors; not what keeps its semaphores."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in words:
                found.append(int(child))
    return found


class Use:
    """What people do with the studio, for some seconds each."""

    def __init__(self, page: Page) -> None:
        self.page, self.tab_, self.films = page, "", False
        self.rates: dict[str, list[float]] = {}

    def tab(self, name: str) -> None:
        if name != self.tab_:
            self.page.get_by_role("tab", name=name).click()
            self.tab_ = name

    def camera(self, on: bool) -> None:
        if on != self.films:
            self.tab("Look")
            self.page.get_by_label("camera", exact=True).click()
            self.films = on

    def choose(self, network: str) -> None:
        self.tab("Look")
        field = self.page.locator(".s-look input[aria-label=network]")
        field.click()
        field.fill(network)
        self.page.get_by_role("option", name=network, exact=True).click()

    def counted(self, name: str, key: str, seconds: float, each: Callable[[], object] | None = None) -> None:
        """Count the frames of an image that are shown."""
        self.page.evaluate(COUNT, key)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if each is not None:
                each()
            self.page.wait_for_timeout(40 if each else 200)
        rate = self.page.evaluate("window.frames_") / (time.monotonic() - began)
        self.rates.setdefault(name, []).append(round(rate, 2))

    def look(self, network: str, seconds: float) -> None:
        self.choose(network)
        self.camera(True)
        self.page.wait_for_timeout(3000)
        self.page.locator(".s-tiles").click(position={"x": 5, "y": 5})
        self.counted(f"look, {network}, camera", "look-tiles", seconds)

    def invert(self, seconds: float) -> None:
        self.tab("Invert")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for side in ("Left", "Right"):
                self.page.get_by_label(f"{side}: Start").click()
            self.page.wait_for_timeout(4000)
            self.page.get_by_role("slider", name="weight").first.locator("[tabindex]").first.press(
                "ArrowRight"
            )
            self.page.wait_for_timeout(4000)
        name = f"invert, {'camera' if self.films else 'alone'}"
        self.counted(name, "left-image", 10)

    def turn(self, seconds: float) -> None:
        self.camera(False)
        self.tab("Turn")
        self.page.wait_for_function(
            "document.querySelector(\"[data-image='turn-drawn']\").src.startsWith('blob:')", timeout=PATIENT
        )
        handle = self.page.get_by_role("slider", name="azimuth").locator("[tabindex]").first
        keys = itertools.cycle(["ArrowRight"] * 300 + ["ArrowLeft"] * 300)
        self.counted("turn", "turn-drawn", seconds, lambda: handle.press(next(keys)))

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("body[data-mounted]")
        self.films, self.tab_ = False, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    words = [sys.executable, "-m", "netinvert", "studio", "--port", "0", "--networks", "posenet"]
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        (Path(folder) / "said").open("w") as said,
        subprocess.Popen(words, cwd=folder, stderr=said) as server,
        sync_playwright() as play,
    ):
        try:
            while not (found := re.search(r"http://\S+\n?", (Path(folder) / "said").read_text())):
                time.sleep(0.2)
            browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(PATIENT)
            page.goto(found[0])
            page.wait_for_selector("body[data-mounted]")
            page.wait_for_function(
                "document.querySelector(\"[data-image='look-tiles']\").src.startsWith('blob:')"
            )
            use = Use(page)
            begun = time.monotonic()

            def record(does: str) -> None:
                heap = 0.0
                with contextlib.suppress(Error):  # it is being loaded
                    heap = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize / 1e6 : 0")
                workers = {str(child): round(megabytes(child)) for child in children(server.pid)}
                rows.append(
                    {
                        "minute": round((time.monotonic() - begun) / 60, 1),
                        "after": does,
                        "server_mb": round(megabytes(server.pid)),
                        "workers_mb": workers,  # by their numbers: another one has begun anew
                        "page_mb": round(heap),
                    }
                )
                print(rows[-1], flush=True)
                if asked.json is not None:
                    result = {"minutes": asked.minutes, "frames_a_second": use.rates, "memory": rows}
                    write_json(asked.json, result)

            record("start")
            round_ = [
                ("look, mobilenet-v2", lambda: use.look("mobilenet-v2", 55)),
                ("look, posenet", lambda: use.look("posenet", 55)),
                ("invert, camera", lambda: use.invert(48)),
                ("turn", lambda: use.turn(55)),
                ("reload, invert", lambda: (use.reload(), use.invert(48))),
            ]
            for name, does in itertools.cycle(round_):
                if time.monotonic() - begun >= 60 * asked.minutes:
                    break
                try:
                    does()
                    record(name)
                except Error as error:  # other work takes the processor
                    record(f"{name}: {str(error).splitlines()[0]}")
            browser.close()
        finally:
            server.terminate()
            print((Path(folder) / "said").read_text())


if __name__ == "__main__":
    main()
