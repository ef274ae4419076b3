"""How Kubernetes says bytes: messages of bytes whose first one is a channel's number.

In the fifth version of that, a channel can be closed; before, it is with the connection only.
"""

from __future__ import annotations

import json
from typing import Final

import aiohttp

from assay.drivers.orchestrated.stream import Heard

VERSIONS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_INPUT, _OUTPUT, _ERRORS, _STATUS = range(4)
_CLOSE: Final = 255


class KubernetesSpeech:
    """Of one connection. What is of no channel that is known is left out."""

    who: Final = "Kubernetes"

    def __init__(self, version: str | None) -> None:
        self.end = bytes((_CLOSE, _INPUT)) if version == VERSIONS[0] else b""

    def hear(self, message: aiohttp.WSMessage) -> Heard:
        """What a message says. Raises ValueError."""
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        channel, said = data[:1], data[1:]
        if channel == bytes((_OUTPUT,)):
            return Heard(output=said)
        if channel == bytes((_ERRORS,)):
            return Heard(words=said)
        if channel == bytes((_STATUS,)):
            return Heard(words=_complaint(said), over=True)
        return Heard()

    def say(self, piece: bytes) -> bytes:
        """A message of bytes; what is between may end a connection in which nothing is said."""
        return bytes((_INPUT,)) + piece


def _complaint(said: bytes) -> bytes:
    """What a status has to complain of: nothing where the program ended well."""
    try:
        status = json.loads(said)
    except ValueError as error:
        raise ValueError("its status is no JSON") from error
    if not isinstance(status, dict):
        raise ValueError("its status is no object")
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()
