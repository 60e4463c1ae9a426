"""Hostile folders: each case writes what a stranger could send, and says how a user would open it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.hostile import configs
from benchmarks.hostile.codecs import codec_cases
from benchmarks.hostile.making import Case, arguments_of, own_config, write_checkpoint, write_hub, write_release
from benchmarks.hostile.texts import yaml_cases
from benchmarks.hostile.weights import checkpoint_cases, pickle_cases, tensor_cases


def config_cases() -> Iterator[Case]:
    """Every hostile config in a release's folder; each third one also in a checkpoint, each fourth from the hub."""
    evil = "{evil}"
    made = [
        *configs.calls(own_config(), evil),
        *configs.readings(own_config()),
        *list(configs.sizes(own_config()))[::2],
    ]
    for number, (name, config) in enumerate(made):

        def folder_case(folder: Path, config: dict[str, Any] = config) -> None:
            write_release(folder / "release", configs.filled(config, str(folder)))

        def checkpoint_case(folder: Path, config: dict[str, Any] = config) -> None:
            found = configs.filled(config, str(folder))
            for key, value in found["lightning_module"].items():
                if isinstance(value, str) and value.startswith("${"):
                    found["lightning_module"][key] = found.get(value[2:-1])
            write_checkpoint(folder / "evil.ckpt", found)

        def hub_case(folder: Path, config: dict[str, Any] = config) -> None:
            write_hub(folder, configs.filled(config, str(folder)))

        program = "export.py" if number % 5 == 4 else "generate.py"
        yield Case(f"config: {name}", program, arguments_of(program, "../release"), folder_case)
        if number % 3 == 0:
            yield Case(f"checkpoint: {name}", program, arguments_of(program, "../evil.ckpt"), checkpoint_case)
        if number % 4 == 0:
            yield Case(
                f"hub: {name}", "generate.py", arguments_of("generate.py", "hub:someone/takes/release"), hub_case
            )


def path_cases() -> Iterator[Case]:
    """Names and paths that lead elsewhere."""
    for number, place in enumerate(
        ("/etc", "../../../../../../../etc", "../..", "/dev", "~", "", ".", "\x00", "a\nb", "//host/a")
    ):
        config = configs.put(own_config(), "codec.folder", place)

        def local(folder: Path, config: dict[str, Any] = config) -> None:
            write_release(folder / "release", config)

        def hub(folder: Path, config: dict[str, Any] = config) -> None:
            write_hub(folder, config)

        yield Case(f"path: codec.folder={place!r}", "generate.py", arguments_of("generate.py", "../release"), local)
        yield Case(
            f"path: hub, codec.folder={place!r}",
            "generate.py",
            arguments_of("generate.py", "hub:someone/takes/release"),
            hub,
        )
        del number
    for name in (
        *("hub:", "hub:a", "hub:someone/takes/../../../../release", "hub:someone/takes//etc", "hub:../../etc/passwd"),
        *(
            "hub:someone/takes/release/..",
            "http://127.0.0.1:9/x",
            "s3://a/b",
            "file:///etc/passwd",
            "/dev/zero",
            "/etc/passwd",
        ),
        *(
            "/proc/self/environ",
            "../evil.pkl",
            "../evil.py",
            "$HOME",
            "`touch canary`",
            "; touch canary",
            "../precious",
        ),
    ):
        for program in ("generate.py", "export.py"):
            quoted = f"'{name}'"
            yield Case(
                f"path: {program} {name!r}",
                program,
                arguments_of(program, quoted),
                lambda folder: write_hub(folder, own_config()),
            )


def every_case() -> list[Case]:
    """All of them, in a fixed order."""
    kinds = (config_cases, yaml_cases, codec_cases, pickle_cases, tensor_cases, checkpoint_cases, path_cases)
    return [case for kind in kinds for case in kind()]
