"""Whether a model hub can be asked; nothing that lies on this machine waits for a network."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def hub_in_reach(timeout: float = 3.0) -> bool:
    """Whether a model hub answers within `timeout` seconds; never where `HF_HUB_OFFLINE` is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():  # a proxy resolves names for us; only the real request can tell
        return True
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=timeout).close()
    except OSError:
        return False
    return True
