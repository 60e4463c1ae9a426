"""`longtake studio`: storyboards as cards in a page of the browser, over the same calls as generate.py."""

import logging
import sys
from pathlib import Path

from omegaconf import DictConfig

from longtake.cli.user_errors import start

log = logging.getLogger("longtake")

NOT_HERE = {
    "dry_run": False,
    "given": None,
    "given_end": None,
    "given_frames": 17,
    "num_videos": 1,
    "control_file": None,
}
"""Settings of generate.py that the page has other means for, or none, with the values at which they say nothing."""


def run(cfg: DictConfig) -> None:
    """Checks, claims the folder, loads weights, and serves the page until Ctrl-C.

    Args:
        cfg: composed from conf/studio.yaml and the command line.

    Raises:
        ValueError: if Gradio is missing, a setting cannot be, another studio has the folder, or the port is taken.
    """
    from longtake.cli.composed import check_settings
    from longtake.cli.loaded import open_weights, score_videos
    from longtake.cli.schemas import StudioSettings
    from longtake.studio.folder import Folder
    from longtake.studio.serving import check_address, need_gradio

    check_settings(cfg, StudioSettings)
    for key, silent in NOT_HERE.items():
        if cfg[key] != silent:
            raise ValueError(
                f"{key}={cfg[key]} is a setting of generate.py alone, which the studio does not take: leave it out"
            )
    need_gradio()
    port = check_address(cfg.host, cfg.port)
    folder = Folder(Path(cfg.output))
    with folder.opened():
        from longtake.studio.page import serve
        from longtake.studio.session import Studio, first_card

        prompt = cfg.prompt if cfg.prompt is None or isinstance(cfg.prompt, str) else cfg.prompt[0]
        studio = Studio(
            folder,
            open_weights=lambda name, output: open_weights(cfg, name, output),
            score=score_videos,
            first=first_card(prompt, cfg.seed),
        )
        studio.load_weights(cfg.weights)
        studio.open_cards() if cfg.storyboard is None else studio.load_storyboard(Path(cfg.storyboard))
        studio.plan()  # counts what the first look at the page would wait for
        log.info(f"the studio of {folder.root}: http://{cfg.host}:{port}   (Ctrl-C ends it; nothing is lost)")
        serve(studio, host=cfg.host, port=port, browser=cfg.browser)


def main() -> None:
    """The program, as it is started from a command line."""
    if "-h" in sys.argv[1:]:
        sys.argv[sys.argv.index("-h")] = "--help"
    start(run, "studio")
