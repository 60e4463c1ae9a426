"""The 68 levels of Freedoom 1 and 2: their names, their game files and their split into train, validation and test."""

from pathlib import Path

# Freedoom's own level titles in the order of the levels: four episodes of nine (E1M1 ... E4M9), then map01 ... map32.
_EPISODE_TITLES = """
Outer Prison; Communications Center; Waste Disposal; Supply Depot; Armory; Training Facility; Xenobiotic Materials Lab;
Outpost Quarry; Nutrient Recycling; Elemental Gate; Shifter; Reclaimed Facilities; Flooded Installation;
Underground Hub; Hidden Sector; Control Complex; Containment Cell; Fortress 31; Land of the Lost; Geothermal Tunnels;
Sacrificial Bastion; Oblation Temple; Infernal Hallows; Igneous Intrusion; No Regrets; Ancient Lair;
Acquainted With Grief; Maintenance Area; Research Complex; Central Computing; Hydroponic Facility; Engineering Station;
Command Center; Waste Treatment; Launch Bay; Operations
"""
_MAP_TITLES = """
Hydroelectric Plant; Filtration Tunnels; Crude Processing Center; Containment Bay; Sludge Burrow; Janus Terminal;
Logic Gate; Astronomy Complex; Datacenter; Deadly Outlands; Dimensional Rift Observatory; Railroads; Station Earth;
Nuclear Zone; Hostile Takeover; Urban Jungle; City Capitol; Aquatics Lab; Sewage Control; Blood Ember Fortress;
Under Realm; Remanasu; Underground Facility; Abandoned Teleporter Lab; Persistence of Memory; Dark Depths;
Palace of Red; Grim Redoubt; Melting Point; Jaws of Defeat; Be Quiet; Not Sure
"""


def _split_titles(text: str) -> list[str]:
    return [" ".join(title.split()) for title in text.split(";")]


TITLES: dict[str, str] = {
    f"E{index // 9 + 1}M{index % 9 + 1}": title for index, title in enumerate(_split_titles(_EPISODE_TITLES))
} | {f"map{slot:02d}": title for slot, title in enumerate(_split_titles(_MAP_TITLES), start=1)}

LEVELS: tuple[str, ...] = tuple(TITLES)

# Source: our choice. One test level of each episode of Freedoom 1 and four of Freedoom 2, likewise for validation
# from other places, so that every kind of architecture is held out and none is seen only in one split.
_TEST = ("E1M4", "E2M3", "E3M5", "E4M7", "map08", "map13", "map22", "map29")
_VALIDATION = ("E1M8", "E2M6", "E3M2", "E4M3", "map11", "map25")


def split_of(*, level: str) -> str:
    """Return the split ("train", "validation" or "test") a level belongs to; it never depends on a seed.

    Args:
        level: name such as "E1M3" or "map05".

    Returns:
        The split.

    Raises:
        ValueError: the level is not one of the 68.
    """
    check_level(level=level)
    if level in _TEST:
        return "test"
    return "validation" if level in _VALIDATION else "train"


def check_level(*, level: str) -> None:
    """Refuse a name that is not one of the 68 levels.

    Args:
        level: name such as "E1M3" or "map05".

    Raises:
        ValueError: the level is not one of the 68.
    """
    if level not in TITLES:
        msg = f"level is {level!r}; Freedoom has E1M1 to E4M9 and map01 to map32, written exactly like this."
        raise ValueError(msg)


def wad_path(*, level: str) -> Path:
    """Return the game file inside the ViZDoom package that holds a level."""
    import vizdoom

    name = "freedoom1.wad" if level.startswith("E") else "freedoom2.wad"
    return Path(vizdoom.__file__).parent / name
