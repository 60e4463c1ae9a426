"""The sources of the documentation site: what is written, copied as it lies in the repository, and what is generated.

python docs/tools/site.py build/site_source     then mkdocs build --strict; `make docs` does both

Pages keep their places, so that a link that works in the repository works in the site. The reference of the
configuration is generated from conf/: a page a group, and of every key its default and the comment beside it or, where
there is none, what other files of its group, the docstring of its class, or docs/tools/meanings.yaml say.
"""

import json
import re
import shutil
import sys
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import griffe
import yaml

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PAGES = ("*.md", "docs/**/*", "weights/*/*.md", "weights/*/*.png", "benchmarks/*.md", "benchmarks/results/*.md")
FILES = ("LICENSE", "CITATION.cff", "storyboards/*")
REFERENCE = "docs/reference/configuration"


ABOUT = """These pages are generated from the files under `conf/`. Any key can be changed on the command line by its
dotted name: `python train.py optimizer.lr=3e-4 network.chunk_frames=20`. On the page of a group, names go behind the
name of the group. A default `${a.b}` follows another key, `???` must be given, and `null` is nothing."""


class Key(NamedTuple):
    """A key of a yaml file by its dotted name, with the value as it is written and what it means."""

    name: str
    default: str
    meaning: str


class Group(NamedTuple):
    """A file of conf/: what stands at its head, what it is made of, the class that it builds, and its keys."""

    head: list[str]
    defaults: list[Key]
    target: str
    keys: list[Key]


def read(path: Path) -> Group:
    """A yaml file with its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = list(_until_code(lines))
    root = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
    keys = list(_keys(root, lines, "")) if isinstance(root, yaml.MappingNode) else []
    own = [key for key in keys if not key.name.startswith(("defaults", "hydra")) and "_target_" not in key.name]
    target = next((key.default for key in keys if key.name == "_target_"), "")
    return Group(head, list(_defaults(root, lines)), target, own)


def _until_code(lines):
    for line in lines:
        if not line.startswith("#"):
            return
        yield line.lstrip("# ").removeprefix("@package _global_").strip()


def _comment(lines, node):
    """The comment behind a node, with those of the lines below that hold a comment alone, further in."""
    number, column = node.end_mark.line, node.end_mark.column
    if number >= len(lines) or column == 0:
        number, column = number - 1, len(lines[number - 1])
    found = re.match(r"[\s\]}]*#\s?(.*)", lines[number][column:])
    text = [found[1]] if found else []
    for line in lines[number + 1 :]:
        more = re.match(r"\s{12,}#\s?(.*)", line)
        if not more:
            break
        text.append(more[1])
    return " ".join(text).strip()


def _above(lines, node):
    text = []
    for line in reversed(lines[: node.start_mark.line]):
        found = re.match(r"\s*#\s?(.*)", line)
        if not found or not line.startswith(" " * node.start_mark.column + "#"):
            break
        text.insert(0, found[1])
    return "" if node.start_mark.line == len(text) else " ".join(text)  # else it is the head of the file


def _written(lines, node):
    first, last = node.start_mark, node.end_mark
    if first.line == last.line:
        return lines[first.line][first.column : last.column]
    return " ".join(str(yaml.serialize(node)).split())


def _keys(root, lines, prefix):
    target = next((value.value for key, value in root.value if key.value == "_target_"), "")
    for key, value in root.value:
        name = f"{prefix}{key.value}"
        said = _above(lines, key)
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            opening = re.match(r"[^#]*:\s*#\s?(.*)", lines[key.start_mark.line])
            meaning = opening[1] if opening else said
            if meaning or prefix == "":
                yield Key(name, "", meaning)
            yield from _keys(value, lines, f"{name}.")
        else:
            said = _comment(lines, value) or said
            yield Key(name, _written(lines, value), said or _as_argument(target, key.value))


def _defaults(root, lines):
    if not isinstance(root, yaml.MappingNode):
        return
    entries = next((value.value for key, value in root.value if key.value == "defaults"), [])
    for entry in entries:
        if isinstance(entry, yaml.MappingNode):
            key, value = entry.value[0]
            yield Key(str(key.value).removeprefix("optional "), str(value.value), _comment(lines, value))


@cache
def meanings() -> dict[str, str]:
    """What docs/tools/meanings.yaml says, by `group.key` or key."""
    return yaml.safe_load((ROOT / "docs/tools/meanings.yaml").read_text(encoding="utf-8"))


@cache
def commented(group: str) -> dict[str, str]:
    """What the files of a group say of their keys; the first that says something is believed."""
    found: dict[str, str] = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        for key in read(path).keys:
            if key.meaning:
                found.setdefault(key.name, key.meaning)
    return found


def meaning(path: Path, key: Key) -> str:
    """What a key means: by its own comment, by that of the group that it belongs to, or by the table of words."""
    if key.meaning:
        return key.meaning
    in_group = path.parent != CONF and path.parent.name not in ("experiment", "debug")
    group, name = (path.parent.name, key.name) if in_group else (key.name.partition(".")[0], key.name.partition(".")[2])
    said = (
        meanings().get(f"{group}.{name}")
        if in_group
        else meanings().get(f"{path.stem}.{key.name}", meanings().get(key.name))
    )
    leaf = key.name.rpartition(".")[2]
    known = commented(group) if name and (CONF / group).is_dir() else {}
    return said or known.get(name) or meanings().get(leaf, "")


@cache
def _arguments(target: str) -> dict[str, str]:
    """What a class or function of ours says of its arguments under `Args:`, read without importing it."""
    package, _, rest = target.partition(".")
    if package not in ("longtake", "networks", "lightning_modules", "datamodules"):
        return {}
    try:
        found = _loaded(package)[rest]
        found = found.final_target if found.is_alias else found
    except (KeyError, griffe.AliasResolutionError):
        return {}
    texts = [each.docstring for each in (found, found.members.get("__init__")) if each is not None and each.docstring]
    sections = [section for text in texts for section in text.parse("google", warnings=False)]
    listed = [each for each in sections if each.kind is griffe.DocstringSectionKind.parameters]
    return {argument.name: argument.description for section in listed for argument in section.value}


def _as_argument(target: str, name: str) -> str:
    return _arguments(target).get(name, "")


@cache
def _loaded(package: str) -> griffe.Module:
    return griffe.load(package, search_paths=[str(ROOT)], allow_inspection=False)


def cell(text: str) -> str:
    """A text in a table."""
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def code(text: str) -> str:
    """A value in a table."""
    return f"`{' '.join(text.split())}`".replace("|", "\\|") if text.strip() else ""


def table(keys: list[Key], first: str) -> list[str]:
    """Rows of keys."""
    if not keys:
        return []
    rows = [f"| {code(key.name)} | {code(key.default)} | {cell(key.meaning)} |" for key in keys]
    return ["", f"| {first} | default | meaning |", "|---|---|---|", *rows, ""]


def page(title: str, files: list[Path]) -> str:
    """The page of a group, or of a program."""
    lines = [f"# {title}"]
    for path in files:
        group = read(path)
        if len(files) > 1 or path.parent != CONF:
            lines += ["", f"## `{path.parent.name}={path.stem}`"]
        commands = [line for line in group.head if line.startswith(("python ", "longtake "))]
        lines += ["", cell(" ".join(line for line in group.head if line not in commands))]
        lines += ["", "```", *commands, "```"] if commands else []
        if group.target:
            lines += ["", f"Builds `{group.target}`."]
        lines += table(group.defaults, "group")
        lines += table([key._replace(meaning=meaning(path, key)) for key in group.keys], "key")
    return "\n".join(lines) + "\n"


def configuration(out: Path) -> None:
    """Pages of every program and every group, with an index."""
    out.mkdir(parents=True)
    groups = sorted(
        each for each in CONF.iterdir() if each.is_dir() and any(each.glob("*.yaml")) and each.name != "local"
    )
    programs = sorted(CONF.glob("*.yaml"))
    index = ["# Every key of the configuration", "", ABOUT, ""]
    index += ["## Programs", "", "| settings of | page |", "|---|---|"]
    for path in programs:
        command = "longtake " + path.stem.replace("_", " ")
        (out / f"{path.stem}.md").write_text(page(f"Settings of `{command}`", [path]))
        index.append(f"| `{command}` | [{path.stem}]({path.stem}.md) |")
    index += ["", "## Groups", "", "| group | choices |", "|---|---|"]
    for group in groups:
        files = sorted(group.glob("*.yaml"))
        (out / f"group_{group.name}.md").write_text(page(f"Group `{group.name}`", files))
        index.append(f"| [{group.name}](group_{group.name}.md) | {', '.join(f'`{each.stem}`' for each in files)} |")
    (out / "keys.md").write_text("\n".join(index) + "\n")


def without_meaning() -> list[str]:
    """Keys that neither a comment nor a docstring explains, by file."""
    files = [*CONF.glob("*.yaml"), *(each for each in CONF.glob("*/*.yaml") if each.parent.name != "local")]
    return [
        f"{path.relative_to(CONF)}: {key.name}"
        for path in sorted(files)
        for key in read(path).keys
        if not meaning(path, key) and key.default
    ]


def copied(out: Path) -> None:
    """Everything that is written."""
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".jinja"):
                place = out / path.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


def main(out: Path) -> None:
    """Makes the folder anew."""
    if out.exists():
        shutil.rmtree(out)
    copied(out)
    configuration(out / REFERENCE)


if __name__ == "__main__":
    if sys.argv[1:] == ["--without-meaning"]:
        print(json.dumps(without_meaning(), indent=1))
    else:
        main(Path(sys.argv[1]))
