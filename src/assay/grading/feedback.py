"""Words for learners, in Markdown in which nothing of theirs can be taken for ours."""

from __future__ import annotations

import re
from typing import Final

from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.results import Verdict

SHOWN_MOST: Final = 2000
"""Bytes of one text that are shown; of a longer one its beginning and its end."""
# Escape sequences of terminals, and whatever else has no look of its own.
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def block(text: bytes | str, *, most: int = SHOWN_MOST) -> str:
    """A block of code that ends where we end it, whatever is in it."""
    shown = _plain(text, most)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown.rstrip(chr(10))}\n{fence}"


def _plain(text: bytes | str, most: int) -> str:
    if isinstance(text, str):
        text = text.encode(errors="replace")
    if len(text) > most:
        left = len(text) - most
        text = text[: most // 2] + f"\n… {left:,} bytes …\n".encode() + text[-(most // 2) :]
    return _UNSEEN.sub(
        "\N{REPLACEMENT CHARACTER}", text.decode(errors="replace").replace("\r\n", "\n")
    )


def section(title: str, text: bytes | str) -> str:
    """A title with a block beneath it."""
    return f"**{title}**\n\n{block(text) if text else '*nothing*'}"


def paragraphs(*texts: str) -> str:
    """Those that are not empty, one beneath the other."""
    return "\n\n".join(text for text in texts if text)


_ENDS: Final = {
    OutcomeKind.TIMED_OUT: Verdict.TIMED_OUT,
    OutcomeKind.OUT_OF_MEMORY: Verdict.OUT_OF_MEMORY,
    OutcomeKind.OUTPUT_LIMIT: Verdict.OUTPUT_LIMIT,
}


def verdict_of(outcome: Outcome) -> Verdict:
    """What to call the end of a program that should have ended otherwise."""
    return _ENDS.get(outcome.kind, Verdict.CRASHED)


def words(outcome: Outcome) -> str:
    """How a learner's program ended, in a sentence for the learner."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            return f"The program ended with exit status {outcome.code}."
        case OutcomeKind.SIGNALED:
            return f"The program was ended by signal {outcome.signal}{_known(outcome.signal)}."
        case OutcomeKind.TIMED_OUT:
            clock = "processor time" if outcome.clock == "cpu" else "time"
            return f"The program took more {clock} than it may."
        case OutcomeKind.OUT_OF_MEMORY:
            return "The program wanted more memory than it may have."
        case OutcomeKind.OUTPUT_LIMIT:
            return "The program wrote more than it may."
        case _:
            return "The program was ended."


def _known(signal: int | None) -> str:
    meant = {6: "it aborted itself", 8: "a division by zero, say", 11: "a wrong address in memory"}
    return f" ({meant[signal]})" if signal in meant else ""
