"""Logs: one line for each record, as JSON or for people, without secrets.

Lines are written by a thread of their own, so that whoever reads them slowly, or not at all, does
not hold up the server; what doesn't fit is counted and said later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import re
import sys
import time
from collections.abc import Iterable, Iterator
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final, TextIO

MOST_WAITING: Final = 10_000
"""Lines that wait for the writer; more are dropped."""
LONGEST_LINE: Final = 64 * 1024

_HIDDEN: Final = "…"
_SECRETS: Final = (
    (re.compile(r"(assay_)[A-Za-z0-9]{32}"), rf"\1{_HIDDEN}"),
    (re.compile(r"""(?i)(bearer\s+)[^\s"'\\,;)}]+"""), rf"\1{_HIDDEN}"),
    # A header in a dict, a list of pairs, or as it is sent; quotes may be escaped.
    (re.compile(r"""(?i)((?:poseidon-token|authorization)\\*["']?\s*[:=,]\s*b?\\*["']?)"""
                r"""(?!bearer\b)[^\s"'\\,;)}]+"""), rf"\1{_HIDDEN}"),
    (re.compile(r"""(://[^/\s:@"]*:)[^/\s@"]+(@)"""), rf"\1{_HIDDEN}\2"),
)  # fmt: skip
_CONTROLS: Final = {
    number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if number != 10
} | {0x2028: "\\u2028", 0x2029: "\\u2029"} | dict.fromkeys(range(55296, 57344), "?")  # fmt: skip
"""What could make a terminal, or who splits a text into lines, do something else."""


class Redaction:
    """Takes secrets out of a line: all tokens, and the texts that it is told of."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if secret for form in _forms(secret)}
        words = "|".join(re.escape(each) for each in sorted(known, key=len, reverse=True))
        self._known = re.compile(words) if words else None

    def __call__(self, line: str) -> str:
        """The line, with … in the place of each secret."""
        if self._known is not None:
            line = self._known.sub(_HIDDEN, line)
        for pattern, replacement in _SECRETS:
            line = pattern.sub(replacement, line)
        return line


def _forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, in JSON, and as Python shows it."""
    return {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}


class JsonLines(logging.Formatter):
    """A record as an object on one line: time, level, logger, message, and its own fields."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        line = json.dumps(values, default=str)
        if len(line) > LONGEST_LINE:
            least = LONGEST_LINE // (8 * len(values))  # a letter may take six
            line = json.dumps({name: str(value)[:least] for name, value in values.items()})
        return self._redaction(line)


class TextLines(logging.Formatter):
    """A record for people: time, level, logger, message, and fields behind it."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback is on lines of its own."""
        fields = "".join(f" {key}={value}" for key, value in getattr(record, "fields", {}).items())
        said = f"{record.getMessage()}{fields}".replace("\n", "\\n")
        line = f"{_time(record.created)} {record.levelname:<7} {record.name}: {said}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redaction(line[:LONGEST_LINE].translate(_CONTROLS))


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03}Z"


class _Queue(QueueHandler):
    """Puts records into the queue as they are; counts those that don't fit."""

    def __init__(self, waiting: queue.Queue[Any]) -> None:
        super().__init__(waiting)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record; its text is made at once, while its arguments are what they were."""
        record.msg, record.args = record.getMessage(), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it in line, unless the line is too long."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return
        if self.dropped:
            dropped, self.dropped = self.dropped, 0
            logging.getLogger(__name__).warning("%d lines were dropped: too many at once", dropped)


@contextlib.contextmanager
def logging_to(
    stream: TextIO | None = None,
    *,
    form: str = "json",
    level: str = "info",
    secrets: Iterable[str] = (),
) -> Iterator[None]:
    """Write the logs of this process to standard error, or `stream`, during the block.

    `form` is json or text. `level` is Assay's own; of libraries come warnings. `secrets` are texts
    that must not appear.
    """
    redaction = Redaction(secrets)
    writer = logging.StreamHandler(stream or sys.stderr)
    writer.setFormatter(JsonLines(redaction) if form == "json" else TextLines(redaction))
    waiting: queue.Queue[Any] = queue.Queue(MOST_WAITING)
    handler, listener = _Queue(waiting), QueueListener(waiting, writer)
    root, ours = logging.getLogger(), logging.getLogger("assay")
    former = root.level, ours.level
    root.setLevel(logging.WARNING)
    ours.setLevel(level.upper())
    # A client's malformed request is no news, and a traceback for each would fill a disk.
    with _level("aiohttp.server", logging.CRITICAL):
        root.addHandler(handler)
        listener.start()
        try:
            yield
        finally:
            root.removeHandler(handler)
            listener.stop()
            root.setLevel(former[0])
            ours.setLevel(former[1])


@contextlib.contextmanager
def _level(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    former = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(former)
