"""Weights on the Hugging Face hub: `hub:USER/REPO`, or `hub:USER/REPO/FOLDER` for a folder of one."""

from pathlib import Path

PREFIX = "hub:"


def on_disk(weights: str | Path, key: str) -> Path:
    """Where weights lie on this disk; a repository of the hub is downloaded whole, once, with the codec beside them.

    key: what the setting is called that names them.

    Raises:
        ValueError: if a name is not the hub's, or the repository cannot be had.
    """
    if not str(weights).startswith(PREFIX):
        return Path(weights)
    user, _, rest = str(weights).removeprefix(PREFIX).partition("/")
    name, _, folder = rest.partition("/")
    if not user or not name:
        raise ValueError(f"{key}={weights}: write hub:USER/REPO, or hub:USER/REPO/FOLDER for a folder of it")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(f"{user}/{name}"), folder)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{key}={weights}: the hub gave no {user}/{name} ({type(error).__name__}) and none was downloaded before; "
            "look at the name and the connection, or give a folder"
        ) from error
