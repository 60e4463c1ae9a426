"""The tree keeps its shape: imports point one way, heavy libraries load late, docstrings explain what is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("longtake", "networks", "lightning_modules", "datamodules")
PROGRAMS = tuple(sorted(path.stem for path in ROOT.glob("*.py")))
FILES = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
PLACES = [path.relative_to(ROOT).as_posix() for path in sorted(FILES)]

MAY_IMPORT = {
    "networks": ("networks",),
    "longtake": ("longtake", "networks"),
    "longtake/cli": PACKAGES,
    "lightning_modules": ("lightning_modules", "longtake", "networks"),
    "datamodules": (
        *(
            "datamodules",
            "longtake.video",
            "longtake.control",
            "longtake.compat",
            "networks.control",
            "networks.interfaces",
            "networks.codecs.rules",
        ),
        *("networks.files", "networks.ranges", "networks.visits"),
    ),
}
"""Programs import longtake.cli alone, which may import everything; nothing else imports longtake.cli."""
MAY_READ_A_CONFIG = ("longtake/cli/",)
MAY_PATCH_ITS_LIBRARIES = ("longtake/compat/hydra.py",)
MAY_NAME_TARGETS = (*MAY_READ_A_CONFIG, "longtake/settings/", "longtake/releases/")
"""Where `_target_` may stand: what is built, checked and released; nothing else asks what a config would build."""
COUNTED_BY_CONFIG = ("longtake/cost/codec.py", "longtake/cost/guests.py")
"""Where costs are still told by the config: a codec or a text encoder may lie behind the hub."""
IN_A_SCRATCH_FOLDER = ("datamodules/mazes/game.py",)
"""Writes what no one reads after it: a level for the game that it starts."""
CONFIG_LIBRARIES = ("hydra", "omegaconf")
FOREIGN_TO_NETWORKS = (*CONFIG_LIBRARIES, "lightning", "torchmetrics", "av", "cv2", "vizdoom")
LATE = ("av", "cv2", "diffusers", "peft", "scenedetect", "transformers", "vizdoom")
NO_PARAMETERS = {"once", "none", "f", "stretched", "centre", "float32"}  # words before a colon


def imported(tree: ast.AST, *, at_load: bool) -> Iterator[str]:
    """Dotted names that a file imports: all, or only those that run when it is loaded."""
    for node in ast.iter_child_nodes(tree):
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_load and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        yield from imported(node, at_load=at_load)


def under(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def faults(place: str, source: str) -> list[str]:
    """What a file does against the rules; place: its path in the repository."""
    tree = ast.parse(source)
    area = next((each for each in ("longtake/cli", *PACKAGES) if place.startswith(f"{each}/")), None)
    if place == "longtake/__main__.py":  # a program, as those at the root
        area = None
    every, first = set(imported(tree, at_load=False)), set(imported(tree, at_load=True))
    found = [f"imports {name} relatively" for name in every if name.startswith(".")]
    ours = {name for name in every if under(name, (*PACKAGES, *PROGRAMS, "tests", "benchmarks"))}
    # `from networks import interfaces` names the package first: only the name that is taken counts.
    ours = {name for name in ours if not any(other.startswith(name + ".") for other in ours)}
    found += [f"imports {name}" for name in ours if not under(name, MAY_IMPORT.get(area or "", ("longtake.cli",)))]
    found += [
        f"imports {name}" for name in ours if area not in (None, "longtake/cli") and under(name, ("longtake.cli",))
    ]
    if area is not None:
        found += [f"loads {name} early" for name in first if under(name, LATE)]
    if area == "networks":
        found += [f"imports {name}" for name in first if under(name, FOREIGN_TO_NETWORKS)]
    if not place.startswith((*MAY_READ_A_CONFIG, *MAY_PATCH_ITS_LIBRARIES)):
        found += [f"imports {name}" for name in every if under(name, CONFIG_LIBRARIES)]
    if area is not None and not place.startswith((*MAY_NAME_TARGETS, *COUNTED_BY_CONFIG)):
        found += ["asks what a config builds (_target_)"] * names_targets(tree)
    if place not in IN_A_SCRATCH_FOLDER:
        found += [f"writes a file in place, line {line}" for line in writes_in_place(tree)]
    return sorted(found)


def names_targets(tree: ast.AST) -> bool:
    """Whether a text other than a docstring is `_target_`."""
    return any(isinstance(node, ast.Constant) and node.value == "_target_" for node in ast.walk(tree))


WRITES = ("write_text", "write_bytes", "copyfile", "copy2", "save_file", "savefig", "to_csv")
"""Calls that write a file by name: each to a name that `networks.files.whole` gives, or with its `write_text`."""
WRITERS = ("whole", "write_text", "write_whole", "TemporaryDirectory")


def writes_in_place(tree: ast.AST) -> list[int]:
    """Lines of a call that writes a file outside of any `with whole(…)`."""
    inside = {
        id(inner)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and any(called(item.context_expr) in WRITERS for item in block.items)
        for inner in ast.walk(block)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in inside]
    own = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "write_text"]
    return [node.lineno for node in calls if called(node) in WRITES and node not in own]


def called(node: ast.AST) -> str:
    """The last name of what a call calls."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", "") or getattr(function, "id", "")


def stale_names(source: str) -> list[str]:
    """Parameters that a docstring explains (`name: …`) and the function does not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (said := ast.get_docstring(node)):
            given = node.args
            every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
            names = {each.arg for each in every if each is not None}
            about_arguments = re.split(r"\n\s*(?:Raises|Returns|Yields|Source|Example)\b", said)[0]
            explained = re.findall(r"(?:^|[.;,]\s+|\n\s*)([a-z_][a-z_0-9]*): ", about_arguments)
            found += [f"{node.name} explains {name}" for name in explained if name not in names | NO_PARAMETERS]
    return found


def test_the_tree_is_found():
    files = {"train.py", "networks/interfaces.py", "longtake/video/decoding.py", "longtake/releases/reading.py"}
    assert files <= set(PLACES)
    assert all(any(place.startswith(folder) for place in PLACES) for folder in MAY_READ_A_CONFIG)


def test_imports_point_one_way():
    found = {place: faults(place, (ROOT / place).read_text()) for place in PLACES}
    assert {place: each for place, each in found.items() if each} == {}


def test_docstrings_explain_no_parameter_that_is_gone():
    found = {place: stale_names((ROOT / place).read_text()) for place in PLACES}
    assert {place: each for place, each in found.items() if each} == {}


def test_the_programs_are_their_library_s():
    for name in PROGRAMS:
        assert f"from longtake.cli.{name} import main" in (ROOT / f"{name}.py").read_text()


def test_planted_imports_are_caught():
    planted = {
        ("networks/dit.py", "from longtake.releases.reading import load_run"): "longtake.releases.reading.load_run",
        ("networks/dit.py", "import networks.rope\nimport train"): "train",
        ("networks/dit.py", "def f():\n    import longtake.video"): "longtake.video",
        ("networks/dit.py", "from lightning import LightningModule"): "lightning",
        ("datamodules/tables.py", "from networks import vin"): "networks.vin",
        ("datamodules/tables.py", "from networks.codecs.causal import Down"): "networks.codecs.causal.Down",
        ("longtake/video.py", "def f():\n    from hydra.utils import get_class"): "hydra.utils",
        ("longtake/rollouts/single_pass.py", "from longtake.cli.take import x"): "longtake.cli.take.x",
        ("longtake/rollouts/single_pass.py", "from datamodules import tables"): "datamodules.tables",
        ("longtake/metrics/drift.py", "import lightning_modules.tasks"): "lightning_modules.tasks",
        ("train.py", "import longtake.video"): "longtake.video",
        ("lightning_modules/denoising.py", "import omegaconf"): "omegaconf",
        ("longtake/releases/reading.py", "from omegaconf import OmegaConf"): "omegaconf",
        ("longtake/settings/check.py", "import hydra"): "hydra",
    }
    missed = [case for case, name in planted.items() if f"imports {name}" not in faults(*case)]
    assert missed == []
    assert "loads transformers early" in faults("networks/text.py", "import transformers")
    assert "loads av early" in faults("networks/text.py", "try:\n    import av\nexcept ImportError:\n    pass")
    asks = "asks what a config builds (_target_)"
    assert asks in faults("longtake/rollouts/single_pass.py", "x = node['_target_']")
    assert "writes a file in place, line 2" in faults("longtake/video.py", "x = 1\npath.write_text('a')")
    assert "writes a file in place, line 1" in faults("longtake/video.py", "shutil.copyfile(a, b)")
    assert "imports . relatively" in faults("lightning_modules/denoising.py", "from . import runs")


def test_what_is_allowed_passes():
    allowed = [
        ("networks/text.py", "def f():\n    import transformers"),
        ("networks/dit.py", "import torch\nfrom networks import rope"),
        ("datamodules/cache.py", "from networks.interfaces import Codec\nfrom datamodules import tables"),
        ("datamodules/cache.py", "from networks import interfaces\nfrom longtake.video import read_frames"),
        ("longtake/cli/take.py", "from omegaconf import DictConfig\nfrom networks import vin"),
        ("longtake/cli/take.py", "from lightning_modules import tasks\nimport datamodules.tables"),
        ("train.py", "from longtake.cli.train import main"),
        ("longtake/video.py", "with whole(path) as part:\n    part.write_text('a')"),
        ("longtake/releases/writing.py", "x = node['_target_']"),
    ]
    assert {place: faults(place, source) for place, source in allowed if faults(place, source)} == {}


def test_a_planted_parameter_that_is_gone_is_caught():
    source = 'def f(video, rate):\n    """Does it.\n\n    video: b c f h w; ratio: how much.\n    """\n'
    assert stale_names(source) == ["f explains ratio"]
    args = 'def f(video):\n    """Does it.\n\n    Args:\n        video: b c f h w.\n        rate: how much.\n    """\n'
    assert stale_names(args) == ["f explains rate"]
