"""Records of the journal, one write each, as the commands append them."""

import os

from inginious_container_api import FOLDER

PATH = FOLDER + "/journal"
RECORD_MOST = 1024 * 1024
JOURNAL_MOST = 16 * 1024 * 1024
CUT = "\n\n[…]\n"


def _piece(content):
    return len(content).to_bytes(4, "little") + content


def note(verb, *fields):
    """Append one. Raises OSError where no grading goes on, ValueError for what is too much."""
    pieces = [verb.encode()]
    for field in fields:
        content = field.encode("utf-8", "replace")
        if len(content) > RECORD_MOST - 1024:
            kept = content[: RECORD_MOST - 1024].decode("utf-8", "ignore")
            content = (kept + CUT).encode()
        pieces.append(content)
    content = b"".join(_piece(piece) for piece in pieces)
    if len(content) > RECORD_MOST:
        raise ValueError("that is too much feedback")
    opened = os.open(PATH, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_size > JOURNAL_MOST:
            raise ValueError("the feedback has more than 16 MiB")
        record = _piece(content)
        if os.write(opened, record) != len(record):
            raise OSError("no room for feedback")
    finally:
        os.close(opened)


def fault(words):
    """Say that the grader did something wrong: what it grades is no pass then."""
    note("fault", words)


def records():
    """All that were appended so far: (verb, fields)."""
    with open(PATH, "rb") as journal:
        for content in _pieces(journal.read()):
            verb, *fields = [piece.decode("utf-8", "replace") for piece in _pieces(content)]
            yield verb, fields


def _pieces(content):
    at = 0
    while at + 4 <= len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        yield content[at + 4 : end]
        at = end
