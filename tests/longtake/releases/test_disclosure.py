"""Nothing that people share carries a token, or a path of the machine that made it."""

import os

import pytest

from longtake.releases.disclosure import public_name, refuse_paths, refuse_secrets


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "a1B2" * 8,
        "a marine with sk-" + "abcdef0123456789" * 2,
        "ghp_" + "x" * 36,
        "AKIA" + "A" * 16,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "https://user:secret@example.org/x",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)
def test_what_looks_like_a_key_is_refused(text):
    with pytest.raises(ValueError, match=r"it: prompts\.1 holds a token"):
        refuse_secrets({"prompts": ["a", text]}, "it")
    with pytest.raises(ValueError, match="holds a token"):
        refuse_secrets({text: 1}, "it")


@pytest.mark.parametrize("name", ["HF_TOKEN", "my_secret", "DB_PASSWORD", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"])
def test_values_of_the_environment_are_refused(name, monkeypatch):
    monkeypatch.setenv(name, "correct horse")
    with pytest.raises(ValueError, match="holds a token"):
        refuse_secrets(["a correct horse walks"], "it")
    monkeypatch.setenv(name, "1")
    refuse_secrets(["1 marine"], "it")


@pytest.mark.parametrize(
    "text", ["A marine in red walks, slowly", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "16:9", "../codec", "a/b"]
)
def test_ordinary_texts_pass(text):
    refuse_secrets({"a": [text, 5, None, True]}, "it")
    refuse_paths({"a": [text, 5, None, True]}, "it")


@pytest.mark.parametrize("text", ["/home/me/wan", "~/wan", "C:\\models", "file:///x"])
def test_paths_of_this_machine_are_refused(text):
    with pytest.raises(ValueError, match=r"text\.pretrained=.* is a path of this machine"):
        refuse_paths({"text": {"pretrained": text}}, "it")


def test_all_paths_are_named_at_once():
    local = {part: {"pretrained": "/wan"} for part in ("backbone", "codec")}
    with pytest.raises(ValueError, match=r"such as backbone\.pretrained=USER/REPO codec\.pretrained=USER/REPO$"):
        refuse_paths({**local, "text": {"pretrained": "a/b"}}, "it")


def test_names_say_no_more_than_they_must(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert public_name("weights/a") == "weights/a"
    assert public_name(tmp_path / "runs" / "a") == "runs/a"
    assert public_name("/home/me/weights/a") == "a"
    assert public_name(os.path.join("..", "a")) == "a"
    assert public_name("hub:someone/takes/a") == "hub:someone/takes/a"
