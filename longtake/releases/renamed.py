"""Names that have moved: configs of weights keep the ones that they were written with."""

MOVED = {
    "lightning_modules.objectives": "longtake.objectives",
    "lightning_modules.samplers": "longtake.samplers",
    "lightning_modules.rollouts": "longtake.rollouts",
}
"""Old packages and modules, and where their classes are now. An entry is never taken out."""


def renamed(target: str) -> str:
    """Today's dotted name of a class or function."""
    for old, new in MOVED.items():
        if target.startswith(f"{old}."):
            return new + target.removeprefix(old)
    return target
