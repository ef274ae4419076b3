"""How Nomad says bytes: texts, each of one object, with the bytes in it as base64."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

import aiohttp

from assay.drivers.orchestrated.stream import Heard


class NomadSpeech:
    """What is neither output nor the program's end is left out."""

    who: Final = "Nomad"
    end: Final = '{"stdin":{"close":true}}'

    def hear(self, message: aiohttp.WSMessage) -> Heard:
        """What a message says. Raises ValueError."""
        try:
            said = json.loads(message.data)
        except ValueError as error:
            raise ValueError("it speaks no JSON") from error
        if not isinstance(said, dict):
            raise ValueError("it says no object")
        output, beside = (
            each if isinstance(each := said.get(name), dict) else {}
            for name in ("stdout", "stderr")
        )
        return Heard(
            output=_bytes(output.get("data")),
            words=_bytes(beside.get("data")),
            over=bool(said.get("exited")) or output.get("close") is True,
        )

    def say(self, piece: bytes) -> str:
        """A message of bytes; Nomad ends a session in which nothing is said."""
        if not piece:
            return "{}"
        return f'{{"stdin":{{"data":"{base64.b64encode(piece).decode()}"}}}}'


def _bytes(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error as error:
        raise ValueError("its bytes are no base64") from error


SPEECH: Final = NomadSpeech()
