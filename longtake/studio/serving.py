"""Where the page is served: Gradio, the port, the address."""

import errno
import logging
import socket
from importlib.util import find_spec

log = logging.getLogger("longtake")

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PORT, PORTS = 7860, 100
"""Where a port is looked for if none is named. Source: as Gradio does."""


def need_gradio() -> None:
    """Loads Gradio, which draws the page and comes with the extra `studio`; its log of requests is turned off.

    Raises:
        ValueError: if Gradio is not installed.
    """
    if find_spec("gradio") is None:
        raise ValueError('the studio needs Gradio, which is not installed: pip install "longtake[studio]"')
    logging.getLogger("httpx").setLevel(logging.WARNING)


def check_address(host: str, port: int | None) -> int:
    """The port at which the page can be served; warns where other machines can reach the page.

    Args:
        host: address of this machine.
        port: port of the page; None: the first that is free from 7860 on.

    Returns:
        The port.

    Raises:
        ValueError: if the port is taken, or the host is no address of this machine.
    """
    if host not in LOOPBACK:
        log.warning(
            f"host={host}: everybody who reaches this machine can make videos on it and see what lies in the output"
        )
    for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        if _is_free(host, number):
            return number
    if port is None:
        raise ValueError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free: give port=…")
    raise ValueError(f"port={port} is in use by another program: give another one, or none for the first that is free")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except socket.gaierror as error:
            raise ValueError(f"host={host} is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ValueError(
                    f"host={host} is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all"
                ) from error
            return False
    return True
