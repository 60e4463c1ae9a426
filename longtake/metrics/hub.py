"""Asks the hub once whether a model can be had, since loaders try again for minutes before they say no."""

import urllib.error
import urllib.request

SECONDS = 10  # to wait for an answer


def refusal(repository: str) -> str:
    """Why a model cannot be fetched from the hub.

    Args:
        repository: name on the hub, `owner/model`.

    Returns:
        A few words; "" if it can be fetched, or if only trying will tell.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    asked = urllib.request.Request(f"{constants.ENDPOINT}/api/models/{repository}", method="HEAD")  # noqa: S310 - the hub's own address
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return f"the hub has no {repository} for everybody: {error.code}" if error.code in (401, 403, 404) else ""
    except OSError as error:
        return f"the hub does not answer: {getattr(error, 'reason', error)}"
