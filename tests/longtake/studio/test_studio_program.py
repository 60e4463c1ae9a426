"""`longtake studio` as it is typed: what it refuses, in one sentence each."""

import os
import socket

import forked
import pytest
from composing import ROOT, check
from omegaconf import OmegaConf

from longtake.cli import studio
from longtake.studio.folder import Folder
from longtake.studio.serving import need_gradio


def typed(*settings):
    """The config of the page, checked as the program does."""
    return check("studio", f"paths.root_dir={ROOT}", *settings)


def test_the_page_takes_the_settings_of_generate_py():
    cfg = typed("rollout=segmentwise", "num_inference_steps=3", "port=8000")
    assert (cfg.num_inference_steps, cfg.port, cfg.host) == (3, 8000, "127.0.0.1")
    kept = OmegaConf.to_container(check("generate"))
    assert set(kept) < set(OmegaConf.to_container(cfg)) | {"output"}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("port=0", "port=0 must be"),
        ("port=99999", "port=99999 must be"),
        ("browser=maybe", "browser=maybe must be"),
        ("dry_run=true", "dry_run=True is a setting of generate.py alone"),
        ("given=walk.mp4", "given=walk.mp4 is a setting of generate.py alone"),
        ("num_videos=2", "num_videos=2 is a setting of generate.py alone"),
    ],
)
def test_a_setting_that_says_nothing_here_is_refused(setting, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        studio.run(typed(setting, f"output={tmp_path}") if "port" not in setting else typed(setting))


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("longtake.studio.serving.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "longtake\[studio\]"'):
        need_gradio()


@pytest.mark.slow
def test_a_folder_or_a_port_that_is_taken_is_refused_before_weights_are_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr("longtake.studio.serving.find_spec", lambda name: object())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port} is in use by another program"):
            studio.run(typed(f"port={port}", f"output={tmp_path}", "weights=nowhere"))
    hold = "import sys; from pathlib import Path; from longtake.studio.folder import Folder\n"
    hold += "with Folder(Path(sys.argv[1])).opened(): print('open', flush=True); sys.stdin.read()"
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = forked.Started(["-c", hold, tmp_path], cwd=ROOT, env=own)
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="is in use by another run that is still going"):
            studio.run(typed(f"output={tmp_path}", "weights=nowhere"))
    finally:
        other.stdin.close()
    assert other.wait(60) == 0
    with Folder(tmp_path).opened():
        pass
