"""Weights on the Hugging Face hub: `hub:USER/REPO`, or `hub:USER/REPO/FOLDER` for a folder of one."""

from pathlib import Path

PREFIX = "hub:"
KINDS = ("*.yaml", "*.json", "*.safetensors", "*.ckpt")
"""What is downloaded of a repository: no code and no other pickles."""


def repository_of(folder: Path, weights: str | Path) -> Path:
    """The downloaded repository that the folder of `weights`, hub:USER/REPO/FOLDER, lies in."""
    inner = Path(str(weights).removeprefix(PREFIX)).parts[2:]
    return folder.parents[len(inner) - 1] if inner else folder


def on_disk(weights: str | Path, key: str) -> Path:
    """Where weights lie on this disk; a repository of the hub is downloaded whole, once, with the codec beside them.

    Args:
        weights: a path, or hub:USER/REPO with or without a folder.
        key: name of the setting that names the weights.

    Returns:
        Their path on this disk.

    Raises:
        ValueError: if a name is none, or not the hub's, or the repository cannot be had.
    """
    if not isinstance(weights, str | Path):
        raise ValueError(f"{key}={weights!r} must be a text or a path, such as 'vin_freedoom_64'")
    if not str(weights).startswith(PREFIX):
        return Path(weights)
    user, _, rest = str(weights).removeprefix(PREFIX).partition("/")
    name, _, folder = rest.partition("/")
    if not user or not name or ".." in Path(folder).parts or Path(folder).is_absolute():
        raise ValueError(f"{key}={weights}: write hub:USER/REPO, or hub:USER/REPO/FOLDER for a folder of it")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(f"{user}/{name}", allow_patterns=list(KINDS)), folder)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{key}={weights}: the hub gave no {user}/{name} ({type(error).__name__}) and none was downloaded before; "
            "look at the name and the connection, or give a folder"
        ) from error
