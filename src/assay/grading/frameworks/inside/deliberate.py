"""Which errors a test's own code raises on purpose: the others are a test that went wrong."""

from __future__ import annotations

import dis
import os
import sys
from types import CodeType, TracebackType

_FOLDER = os.path.join(os.path.realpath(os.getcwd()), "")
_RAISE = dis.opmap["RAISE_VARARGS"]


def is_deliberate(error: BaseException, trace: TracebackType | None) -> bool:
    """Whether it comes of a `raise` in the teacher's files, and asserts nothing.

    Where it was raised first is what counts. A learner's code may have the test's own code fail
    anywhere else, by a value of an odd type, say, so that it never comes to what it asserts.
    """
    if isinstance(error, AssertionError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    raised = code.co_code[trace.tb_lasti] == _RAISE
    return raised and (_is_own(code) or _is_side_effect(code))


def _is_own(code: CodeType) -> bool:
    file = os.path.realpath(code.co_filename)
    return file.startswith(_FOLDER) and "assay_inside" not in file


def _is_side_effect(code: CodeType) -> bool:
    """Whether a mock raises what the test has given it as its `side_effect`."""
    mock = sys.modules.get("unittest.mock")
    called = getattr(getattr(mock, "CallableMixin", None), "_execute_mock_call", None)
    return getattr(called, "__code__", None) is code


def unmeant(error: BaseException) -> AssertionError:
    """What fails the test in place of an error that nobody meant."""
    if isinstance(error, AssertionError):
        return error
    text = f"{type(error).__name__}: {error} (if that is meant, have the test `raise` it)"
    made = AssertionError(text)
    made.__cause__ = error
    return made
