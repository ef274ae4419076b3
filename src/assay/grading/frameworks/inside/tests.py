"""What is the same for each framework: a test's result, and the learner's process around it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .channel import Channel, LearnerEnded
from .modules import Finder, Names
from .proxies import Learner

TEXT_MOST = 8000
"""Characters of what is said of one test."""


class FixtureFailed(Exception):
    """What several tests share can't be had. Frameworks end for what is no Exception there."""


class Course:
    """Tests one after the other: before each, and after each."""

    def __init__(self, channel: Channel, plan: dict[str, Any]) -> None:
        self.channel = channel
        self.files: list[str] = plan["tests"]
        self.learner = Learner(channel, plan["modules"], plan["objects"])
        self._each = plan["fresh"] == "test"
        self._file = ""
        self._shared = False
        """Whether a fixture of several tests runs."""
        self._names = Names(self.learner, ())
        sys.meta_path.insert(0, Finder(self.learner))

    def collected(self, ids: list[str]) -> None:
        """These are the tests, and no learner's code has been near them."""
        self.channel.tell(b"C", ids)
        self._names = Names(
            self.learner, [vars(each) for each in list(sys.modules.values()) if _own(each)]
        )
        self.learner.collecting = False

    def begin(self, file: str) -> None:
        """A test of this file begins."""
        self._enter(file)
        self._names.bind()

    def _enter(self, file: str) -> None:
        if self._each or self._file != file or self.channel.broken:
            self.channel.close(test=False)
        self._file = file
        self.learner.failure = None

    @contextlib.contextmanager
    def shared(self, file: str) -> Iterator[None]:
        """Around what several tests of a file share. Raises nothing but an Exception."""
        if self._shared:  # called by another one
            yield
            return
        self._shared = True
        self._enter(file or self._file)
        if not self._each:  # or it would cost a process that tests have no use of
            self._names.bind()
        try:
            yield
        except Exception:
            raise
        except LearnerEnded as error:
            raise FixtureFailed(f"the tests can't go on: {error}") from error
        except BaseException as error:
            raise FixtureFailed(f"{type(error).__name__}: {error}") from error
        finally:
            self._shared = False
            self._names.release()
        if self.learner.failure is not None:
            raise self.learner.failure

    def end(self, identity: str, outcome: str, *, message: str = "", detail: str = "") -> None:
        """It has ended: passed, failed, or skipped."""
        self._names.release()
        failure = self.learner.failure
        if failure is not None and outcome != "failed":
            outcome, message = "failed", f"{self.learner.failed_in}: {failure}"
            detail = "".join(traceback.format_exception(failure))
        self.tell([identity], outcome, message=message, detail=detail)

    def tell(self, ids: Sequence[str], outcome: str, *, message: str, detail: str) -> None:
        """What became of a test, or of all that share what has failed."""
        result = {
            "outcome": outcome, "message": message[:TEXT_MOST], "detail": detail[-TEXT_MOST:],
            "broken": self.channel.broken, "slow": self.channel.slow,
        }  # fmt: skip
        if self._each or self.channel.broken:
            self.channel.close()
        for identity in ids:
            self.channel.tell(b"R", {"id": identity, **result})

    def fault(self, text: str) -> None:
        """The tests themselves are wrong."""
        self.channel.tell(b"T", text[-TEXT_MOST:])

    def finish(self) -> None:
        """All tests have been run."""
        self.channel.close()
        self.channel.tell(b"F", None)


def _own(module: Any) -> bool:
    """Whether a module is the teacher's: a file in the folder of the task."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(os.getcwd()) and "assay_inside" not in file


def load(path: str) -> Any:
    """Import a file of tests, as a module that is called after it."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, Path(path).resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file of Python's")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def start() -> Course:
    """Take over standard input and output: what tests print goes elsewhere."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    plan = json.loads(Path(sys.argv[1]).read_text())
    sys.path[0] = os.getcwd()
    channel = Channel(source, sink, call_seconds=plan["call_seconds"])
    return Course(channel, plan)
