"""Measures what is promised: every figure beside its floor, taken in the same run.

    exec      executions.py   starting programs in a warm sandbox
    startup   startup/        making sandboxes, and what idle ones cost
    ideas     ideas.py        what each idea for faster sandboxes saves
    images    images.py       the same of images, and what these have in common
    interpreters  interpreters.py  a Python that waits for the next program
    stream    stream.py       output, files, and a keystroke meanwhile
    queue     queue.py        submissions taken in and handed out, and those that wait
    grading    grading.py     submissions of small tasks, and a grader's commands
    soak      soak.py         thousands of executions: does anything grow?

Each has a function `measure` that returns a `Report`: numbers (`figures.py`), and no table. They
are handed drivers and root file systems, and know no technology by name.
"""

from assay.bench.figures import Check, Distribution, Figure, Remark, Report, Unit, as_data
from assay.bench.subject import (
    Bare,
    Most,
    Peer,
    Progress,
    Restored,
    Subject,
    bare,
    most,
    prepared,
)

__all__ = [
    "Bare", "Check", "Distribution", "Figure", "Most", "Peer", "Progress", "Remark", "Report",
    "Restored",
    "Subject", "Unit", "as_data", "bare", "most", "prepared",
]  # fmt: skip
