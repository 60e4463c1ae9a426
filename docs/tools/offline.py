"""A hook of mkdocs: pages load the script by which search works from the disk from beside them, not from unpkg.com."""

from typing import Any

from mkdocs.utils import get_relative_url

ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
HERE = "docs/tools/iframe_worker.js"


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Called with the HTML of every page."""
    return output.replace(ELSEWHERE, get_relative_url(HERE, page.url))


def on_post_template(output_content: str, *, template_name: str, config: Any) -> str:
    """Called with the HTML of pages that are no documents, such as 404.html."""
    return output_content.replace(ELSEWHERE, get_relative_url(HERE, template_name))
