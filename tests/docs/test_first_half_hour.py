"""A newcomer makes a video, trains, continues a video and adds a metric within half an hour of reading and typing."""

from composing import ROOT

WORDS, SIGNS = 220, 200
"""That are read and typed in a minute."""
PASSAGES = {
    "README.md": ["longtake", "Install and first run", "From Python"],
    "docs/tutorials.md": ["Tutorials", "Continue a video of yours"],
    "docs/first_run.md": ["First run", "Install", "A video", "A training"],
    "docs/own_videos.md": ["Your own videos"],
    "docs/extending/metric.md": ["A metric"],
}
"""Sections of pages, by their headings, that it takes."""
ALREADY_TYPED = ("README.md", "Install and first run")
"""The same commands as in the first run."""


def sections(page):
    """Words of prose and signs of blocks in each section of a page, by its heading."""
    found, heading, is_code = {}, "", False
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif line.startswith("#") and not is_code:
            heading = line.strip("# ")
            found[heading] = [0, 0]
        elif is_code:
            found[heading][1] += len(line.partition(" #")[0].rstrip()) + 1
        else:
            found[heading][0] += len(line.split())
    return found


def test_reading_and_typing_takes_less_than_half_an_hour():
    words = signs = 0
    for page, headings in PASSAGES.items():
        there = sections(page)
        for heading in headings:
            words += there[heading][0]
            signs += 0 if (page, heading) == ALREADY_TYPED else there[heading][1]
    assert words / WORDS + signs / SIGNS < 30, f"{words} words and {signs} signs"
