"""Pictures of the pages, from a Chromium without a window: docs/images/*.webp.

make docs, then in the environment of the studio (CONTRIBUTING.md):
python docs/tools/screenshots.py site            the README and three pages of the documentation, from build/site
python docs/tools/screenshots.py report FILE     a page of evaluate.py, such as outputs/ab/report.html
python docs/tools/screenshots.py testbed FILE    a page of longtake testbed score, such as scores/index.html
python docs/tools/screenshots.py studio          the studio, which makes two takes of a storyboard for it
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SITE = {
    "readme": "index.html",
    "docs_vin": "docs/concepts/vin.html",
    "docs_results": "docs/results/memory.html",
    "docs_metric": "docs/extending/metric.html",
}
MOST_BYTES = 150_000
"""Of a picture."""
SECONDS = 300
STEPS = 12
"""Denoising steps of the studio's takes."""


def save(name: str, png: bytes) -> None:
    """Writes a picture as WebP, as good as its size allows."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in range(90, 20, -10):
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=quality, method=6)
        if data.tell() <= MOST_BYTES:
            break
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / f"{name}.webp").write_bytes(data.getvalue())


def browse(look: Callable[[Any], None], *, width: int = 1280, height: int = 900) -> None:
    """Opens a page, and looks at it."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(SECONDS * 1000)
        look(page)
        browser.close()


def site() -> None:
    """The README and three pages."""

    def look(page: Any) -> None:
        for name, file in SITE.items():
            page.goto((ROOT / "build" / "site" / file).as_uri())
            page.wait_for_timeout(1500)
            save(
                name,
                page.screenshot(
                    clip={"x": 0, "y": 0, "width": 1280, "height": 1500}, full_page=True, animations="disabled"
                ),
            )

    browse(look)


def report(file: Path) -> None:
    """A report card or a comparison."""

    def look(page: Any) -> None:
        page.goto(file.absolute().as_uri())
        page.evaluate("document.querySelectorAll('video').forEach(video => { video.currentTime = 2; })")
        page.wait_for_timeout(1500)
        save(
            "report",
            page.screenshot(
                clip={"x": 0, "y": 0, "width": 1100, "height": 1250}, full_page=True, animations="disabled"
            ),
        )
        page.locator("section").first.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        save("report_videos", page.screenshot(animations="disabled"))

    browse(look, width=1100)


def testbed(file: Path) -> None:
    """The scores of a testbed, down to the first frames side by side."""

    def look(page: Any) -> None:
        page.goto(file.absolute().as_uri())
        strip = page.locator(".strip").first.bounding_box()
        height = strip["y"] + strip["height"] + 20
        clip = {"x": 0, "y": 0, "width": 1100, "height": height}
        save("testbed", page.screenshot(clip=clip, full_page=True, animations="disabled"))

    browse(look, width=1100)


def _storyboard(page: Any) -> None:
    page.wait_for_selector("#strip figure")
    page.wait_for_selector("#cost >> text=about")
    page.click("#make")
    page.wait_for_selector("#strip figure:nth-of-type(2).there video")
    page.wait_for_timeout(1500)
    save("studio", page.screenshot(animations="disabled"))
    page.wait_for_selector("#progress >> text=take 001 is finished")
    page.click("#reroll-3")
    page.wait_for_selector("#cost >> text=To make")
    page.click("#make")
    page.wait_for_selector("#progress >> text=take 002 is finished")


def _comparison(page: Any) -> None:
    page.get_by_role("tab", name="Compare takes").click()
    page.wait_for_selector("#right video")
    page.click("#judge")
    page.wait_for_selector("#scores table")
    page.wait_for_timeout(1000)
    save("studio_compare", page.screenshot(animations="disabled"))


def _tokens(page: Any, cards: int) -> None:
    page.fill("#weights input, #weights textarea", "weights/vin_freedoom_64")
    page.click("#weights button")
    page.wait_for_selector("#about >> text=one video, of one card")
    page.get_by_role("tab", name="Storyboard").click()
    for number in range(cards, 1, -1):
        page.locator("#card-2").get_by_role("button", name="Remove").click()
        page.locator(f"#card-{number}").wait_for(state="detached")
    page.locator("#card-1").get_by_label("Frames", exact=True).fill("157")
    page.wait_for_selector("#cost >> text=the video")
    page.click("#make")
    page.wait_for_selector("#progress >> text=take 003 is finished")
    page.get_by_role("tab", name="Global tokens").click()
    page.wait_for_selector("#look")
    page.click("#look")
    page.wait_for_selector("#lit img")
    page.wait_for_timeout(1000)
    save("studio_tokens", page.screenshot(animations="disabled"))


def studio() -> None:
    """The three tabs."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.chdir(ROOT)  # weights are called by their places in the repository
    from composing import composed

    from longtake.cli.loaded import open_weights, score_videos
    from longtake.studio.folder import Folder
    from longtake.studio.page import launch
    from longtake.studio.serving import check_address
    from longtake.studio.session import Studio, first_card

    root = Path(tempfile.mkdtemp())
    cfg = composed("studio", f"output={root / 'take'}", f"num_inference_steps={STEPS}")
    folder = Folder(root / "take")

    def look(page: Any) -> None:
        page.goto(address)
        _storyboard(page)
        _comparison(page)
        _tokens(page, len(made.board.cards))

    with folder.opened():
        made = Studio(
            folder,
            open_weights=lambda name, output: open_weights(cfg, name, output),
            score=score_videos,
            first=first_card(None, 0),
        )
        made.load_weights("weights/lovic_freedoom_64")
        made.load_storyboard(ROOT / "storyboards" / "cut_and_return.yaml")
        port = check_address("127.0.0.1", None)
        served, address = launch(made, host="127.0.0.1", port=port, browser=False), f"http://127.0.0.1:{port}/"
        try:
            browse(look, width=1400, height=1000)
        finally:
            served.close(verbose=False)
    shutil.rmtree(root)


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what in ("report", "testbed"):
        {"report": report, "testbed": testbed}[what](Path(sys.argv[2]))
    else:
        {"site": site, "studio": studio}[what]()
