"""An error becomes one line on standard error, and an exit status."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Final

from assay.cli.exit_status import Status, status_of_error
from assay.domain.errors import AssayError, BuildFailed, DiskFull, DriverError

_MOST_DETAIL: Final = 300


class Cancelled(AssayError):
    """Whoever asked for it no longer wants it."""

    code = "cancelled"


class ServerUnreachable(AssayError):
    """The server of --server does not answer, or not as one of Assay's."""

    code = "server_unreachable"


def report(error: Exception) -> int:
    """Print one line (with ASSAY_DEBUG=1 the traceback first), and return the exit status."""
    if os.environ.get("ASSAY_DEBUG") == "1":
        traceback.print_exception(error)
    known = as_own_error(error)
    say(explanation(known))
    return status_of(known)


def status_of(error: AssayError) -> int:
    """The exit status for an error."""
    if isinstance(error, Cancelled):
        return Status.CANCELLED
    if isinstance(error, ServerUnreachable):
        return Status.SERVER_UNREACHABLE
    return status_of_error(error)


def as_own_error(error: Exception) -> AssayError:
    """What Assay itself did not raise: a full disk, or something that should not be."""
    if isinstance(error, AssayError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" for {error.filename}" if error.filename else ""
        return DiskFull(f"the disk is full; free some room{place}", detail=str(error))
    return AssayError(
        f"this should not happen: {type(error).__name__}: {error} (ASSAY_DEBUG=1 shows where)"
    )


def explanation(error: AssayError) -> str:
    """The message for the user, and in brackets what a technology or a build had to say."""
    text = _one_line(error.message)
    detail = _one_line(error.detail)
    if isinstance(error, (DriverError, BuildFailed)) and detail and detail not in text:
        if len(detail) > _MOST_DETAIL:
            detail = f"…{detail[-_MOST_DETAIL:]}"
        return f"{text} ({detail})"
    return text


def say(text: str) -> None:
    """One line on standard error, of which a terminal may be in the middle of another one."""
    try:
        os.write(2, f"assay: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        sys.stderr = None  # nobody reads it, and Python's own last flush needn't try


def _one_line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())
