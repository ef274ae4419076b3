"""How far pulling and building have come: bars on a terminal, else one line for each step."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

from assay.cli.failure import say
from assay.images import OnProgress, Progress, ignore

_BYTES: Final = "bytes"


@contextlib.contextmanager
def shown_progress(*, quiet: bool = False) -> Iterator[OnProgress]:
    """Show on standard error how far something has come that may take long; nothing if `quiet`.

    Meanwhile SIGTERM and SIGHUP end it as Ctrl-C does: with KeyboardInterrupt, and nothing left
    half made. For the main thread, outside of any event loop.
    """
    with _interruptible():
        if quiet or sys.stderr is None:
            yield ignore
        elif os.isatty(2):
            with _Bars() as bars:
                yield bars.show
        else:
            yield _Lines().show


class _Lines:
    """Says each step once."""

    def __init__(self) -> None:
        self._step = ""

    def show(self, progress: Progress) -> None:
        if progress.step != self._step:
            self._step = progress.step
            say(_printable(progress.step))


class _Bars:
    """A bar for what is done now; those that are done make room. Nothing is shown of nothing."""

    def __init__(self) -> None:
        # Most runs find their image and show nothing: they needn't wait for this import.
        self._step = ""
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def show(self, progress: Progress) -> None:
        """Show how far it has come."""
        if not self._step:
            self._start()
        if progress.step != self._step:
            self._step = progress.step
            for done in self._bar.task_ids:
                self._bar.remove_task(done)
            self._task = self._bar.add_task(_fit(progress.step), total=progress.total, amount="")
        amount = _megabytes(progress) if progress.unit == _BYTES else _count(progress)
        self._bar.update(self._task, completed=progress.done, total=progress.total, amount=amount)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        text = TextColumn("{task.description}", markup=False)
        amount = TextColumn("{task.fields[amount]}", markup=False)
        self._bar = self._opened.enter_context(
            Bar(text, BarColumn(), amount, TimeElapsedColumn(), console=Console(stderr=True),
                transient=True)
        )  # fmt: skip


def _fit(text: str) -> str:
    shown = _printable(text)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _printable(text: str) -> str:
    """A step of a Dockerfile is its author's words, and no terminal's commands."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _megabytes(progress: Progress) -> str:
    done = f"{progress.done / 1e6:.1f}"
    return f"{done} MB" if progress.total is None else f"{done}/{progress.total / 1e6:.1f} MB"


def _count(progress: Progress) -> str:
    total = "" if progress.total is None else f"/{progress.total}"
    return f"{progress.done}{total} {progress.unit}"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
