"""The studio in a headless Chromium, with released weights and few steps: what a newcomer does, and what goes wrong.

It needs Gradio and Playwright (`pip install -e ".[studio]" playwright`) and a Chromium of the system, which
`apt-get install chromium` brings; where one of them is missing the test says so and is left out.
"""

import json
import shutil

import pytest
from composing import ROOT, composed

from longtake.cli.request import requested
from longtake.studio.session import Score
from longtake.video import probe, write_video

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]
gradio = pytest.importorskip("gradio", reason='no Gradio: pip install "longtake[studio]"')
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

BOARD = """
segments:
- {name: garden, shot: garden, num_frames: 9, seed: 1, prompt: A marine in green armour in a garden}
- {name: level, shot: level, num_frames: 8, seed: 2, prompt: A marine in a brown level}
- {name: garden_again, shot: garden, num_frames: 8, seed: 3, prompt: A marine in green armour in a garden}
"""


def scored(videos, output):
    """Stands in for `longtake.score`, which takes half a minute of a core for two takes."""
    output.mkdir(exist_ok=True)
    (output / "report.html").write_text(f"<h1>{videos.name}</h1>")
    return [Score("motion_smoothness", float(videos.name), True)]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio over lovic_freedoom_64, and the address of its page."""
    from longtake.cli.loaded import open_weights
    from longtake.studio.folder import Folder
    from longtake.studio.page import launch
    from longtake.studio.serving import check_address
    from longtake.studio.session import Studio, first_card

    root = tmp_path_factory.mktemp("studio")
    (root / "board.yaml").write_text(BOARD)
    cfg = composed("studio", f"output={root / 'out'}", "num_inference_steps=2", "num_frames=17")
    folder = Folder(root / "out")
    with folder.opened():
        made = Studio(
            folder,
            open_weights=lambda name, output: open_weights(cfg, name, output),
            score=scored,
            first=first_card(None, 0),
        )
        made.load_weights(str(ROOT / "weights" / "lovic_freedoom_64"))
        made.load_storyboard(root / "board.yaml")
        port = check_address("127.0.0.1", None)
        page = launch(made, host="127.0.0.1", port=port, browser=False)
        made.address = f"http://127.0.0.1:{port}/"
        yield made
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(studio, browser):
    """The page with its cards drawn; what it asks other addresses for is noted in `elsewhere`."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    opened.set_default_timeout(SECONDS * 1000)
    opened.elsewhere = []
    opened.on("request", lambda asked: asked.url.startswith(studio.address) or opened.elsewhere.append(asked.url))
    opened.goto(studio.address)
    opened.wait_for_selector("#card-1")
    opened.wait_for_selector("#strip")
    yield opened
    assert [url for url in opened.elsewhere if not url.startswith(("data:", "blob:"))] == []
    opened.close()


def name_of(weights):
    return str(ROOT / "weights" / weights)


def load(page, weights):
    page.fill("#weights input, #weights textarea", weights)
    page.click("#weights button")


def test_a_storyboard_is_planned_priced_made_played_and_re_rolled(studio, page):
    page.wait_for_selector("#strip figure.missing")
    page.wait_for_selector("#cost >> text=3 of 3 segments")
    page.wait_for_selector("#cost >> text=about")  # how long it takes here is measured beside the page
    assert "garden (8)" in page.inner_text("#plan")
    page.click("#make")
    page.wait_for_selector("#progress .bar")
    page.wait_for_selector("[data-state=done]")
    page.wait_for_selector("#strip figure:nth-of-type(3).there video")
    for video in ("#take video", "#strip video"):
        page.wait_for_function(f"document.querySelector('{video}').readyState >= 2")  # it can play
    page.wait_for_selector("#cost >> text=Everything is made")
    page.click("#reroll-2")
    page.wait_for_selector("#note >> text=so is what remembers it: garden_again. Not touched: garden.")
    page.wait_for_selector("#cost >> text=2 of 3 segments")
    page.click("#make")
    page.wait_for_selector("#progress >> text=take 002 is finished")
    assert [take.name for take in studio.folder.takes()] == ["002", "001"]


def test_generate_py_goes_on_from_the_studios_folder(studio, page, caplog):
    from longtake.cli.storyboard import make_storyboard_video
    from longtake.video import read_frames

    before, folder = studio.folder.video.read_bytes(), studio.folder
    caplog.set_level("INFO", "longtake")
    own = (f"storyboard={folder.storyboard}", f"output={folder.root}", f"weights={name_of('lovic_freedoom_64')}")
    make_storyboard_video(requested(composed("generate", *own, "num_inference_steps=2")), write_video, read_frames)
    assert caplog.text.count("there already") == 3
    assert folder.video.read_bytes() == before
    assert json.loads((folder.root / "manifest.jsonl").read_text())["storyboard"].endswith("storyboard.yaml")


def test_a_contradiction_stands_at_its_card_as_it_is_typed(studio, page):
    frames = page.locator("#card-2").get_by_label("Frames", exact=True)
    frames.fill("9")
    page.wait_for_selector("#card-2 .wrong >> text=num_frames=9 breaks the frame rule")
    page.wait_for_selector("#cost >> text=Card 2: num_frames=9")
    assert page.locator("#card-1 .wrong").count() == 0
    page.click("#make")
    page.wait_for_selector("#progress .wrong")
    frames.fill("8")
    page.locator("#card-2 .wrong").wait_for(state="detached")
    page.wait_for_selector("#cost >> text=Everything is made")


def test_a_browser_that_is_closed_half_way_loses_nothing(studio, page, browser):
    page.locator("#card-1").get_by_label("Prompt").fill("A marine in red armour in a hall")
    page.wait_for_selector("#cost >> text=3 of 3 segments")
    page.click("#make")
    page.wait_for_selector("#progress .bar")
    page.close()
    studio.job.wait(SECONDS)
    assert studio.job.progress.state == "done"
    again = browser.new_page()
    again.set_default_timeout(SECONDS * 1000)
    again.goto(studio.address)
    again.wait_for_selector("#progress >> text=is finished")
    again.wait_for_selector("#card-1")
    assert again.locator("#card-1").get_by_label("Prompt").input_value() == "A marine in red armour in a hall"
    again.close()


def test_two_windows_show_one_studio_and_the_older_cards_change_nothing(studio, page, browser):
    other = browser.new_page()
    other.set_default_timeout(SECONDS * 1000)
    other.goto(studio.address)
    other.wait_for_selector("#card-3")
    page.click("#add")
    page.wait_for_selector("#card-4")
    before = studio.folder.storyboard.read_bytes()
    other.locator("#card-1").get_by_label("Prompt").fill("lost")
    other.wait_for_selector("#cost .wrong, .alert .wrong >> text=another window has changed the cards")
    assert studio.folder.storyboard.read_bytes() == before
    other.reload()
    other.wait_for_selector("#card-4")
    other.locator("#card-4").get_by_role("button", name="Remove").click()
    other.locator("#card-4").wait_for(state="detached")
    assert len(studio.board.cards) == 3
    other.close()


def test_a_video_is_dragged_in_and_continued(studio, page):
    page.set_input_files("#drop input[type=file]", ROOT / "storyboards" / "walk.mp4")
    page.wait_for_selector("#video-1")
    page.wait_for_selector("#note >> text=goes on from the end of walk.mp4")
    page.wait_for_selector("#card-1 .wrong >> text=that is not seen first has 4n frames")
    page.locator("#card-1").get_by_label("Frames", exact=True).fill("8")
    page.wait_for_selector("#strip figure >> text=given, 37 frames")
    page.click("#video-1 button")
    page.locator("#video-1").wait_for(state="detached")
    page.locator("#card-1").get_by_label("Frames", exact=True).fill("9")
    page.wait_for_selector("#cost >> text=25 frames")


def test_two_takes_are_compared_with_their_report_cards(studio, page):
    while len(studio.folder.takes()) < 2:
        studio.reroll(0)
        studio.make()
        studio.job.wait(SECONDS)
    page.get_by_role("tab", name="Compare takes").click()
    page.wait_for_selector("#left video")
    page.wait_for_selector("#right video")
    page.click("#judge")
    page.wait_for_selector("#scores table")
    newest, before = studio.folder.takes()[:2]
    assert page.locator("#scores td.best").inner_text() == f"{float(newest.name):.4g}"
    page.get_by_role("link", name=f"whole report of take {before.name}").click()


def test_weights_that_do_not_fit_say_so_and_those_of_vin_show_what_their_tokens_read(studio, page):
    load(page, "nowhere")
    page.wait_for_selector("#about .wrong")
    assert "lovic_freedoom_64" in page.inner_text("#about")
    load(page, name_of("codec_freedoom_64"))
    page.wait_for_selector("#about .wrong >> text=codec_freedoom_64")
    load(page, name_of("vin_freedoom_64"))
    page.wait_for_selector("#about >> text=one video, of one card")
    page.wait_for_selector("#card-2 .wrong >> text=has no memory")
    for number in (3, 2):
        page.locator("#card-2").get_by_role("button", name="Remove").click()
        page.locator(f"#card-{number}").wait_for(state="detached")
    page.locator("#card-1").get_by_label("Frames", exact=True).fill("17")
    page.wait_for_selector("#cost >> text=the video")
    known = len(studio.folder.takes())
    page.click("#make")
    page.wait_for_selector(f"#progress >> text=take {known + 1:03d} is finished")
    assert probe(studio.folder.video).num_frames == 17
    page.get_by_role("tab", name="Global tokens").click()
    page.wait_for_selector("#look")
    page.click("#look")
    page.wait_for_selector("#attention svg")
    page.wait_for_selector("#lit img")
