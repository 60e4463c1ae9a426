"""User errors as one sentence on the terminal, programming errors with their trace."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explain() -> Iterator[None]:
    """Prints a ValueError as one sentence and exits with 2; LONGTAKE_TRACE=1 shows the trace instead.

    Hydra catches errors itself unless HYDRA_FULL_ERROR is set, so it is set.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        yield
    except Exception as error:
        cause = _user_error(error)
        if cause is None or os.environ.get("LONGTAKE_TRACE"):
            raise
        sys.stderr.write(f"error: {cause}\n")
        sys.exit(2)


def _user_error(error: BaseException) -> str | None:
    """The sentence for the user if this error, or the error that Hydra wrapped, is theirs to mend."""
    module = type(error).__module__
    if module.startswith("hydra") and error.__cause__ is not None:
        inner = _user_error(error.__cause__)
        if inner is not None:
            return inner
    if isinstance(error, ValueError) or module.startswith(("hydra.errors", "omegaconf.errors")):
        return " ".join(str(error).split())
    return None
