"""Serves a learner's modules: takes requests, answers with values, and knows nothing of tests.

Learner's code is in this process and may change anything in it. All that comes of it is an answer,
and whoever asked takes answers for what they are: something that a learner's function may return.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import operator
import os
import struct
import sys
from typing import Any

from . import values

OUTPUT_MOST = 64 * 1024
"""Characters of what one call prints that go back with its answer."""
_NESTED_MOST = 50
_ONE_OPERAND: dict[str, Any] = {
    "abs": abs, "bool": bool, "float": float, "hash": hash, "int": int, "iter": iter, "len": len,
    "neg": operator.neg, "next": next, "pos": operator.pos, "repr": repr, "str": str,
    "invert": operator.invert, "index": operator.index, "dir": dir,
}  # fmt: skip
_REFLECTED = ("add", "floordiv", "matmul", "mod", "mul", "pow", "sub", "truediv")


def _reflected(operation: Any) -> Any:
    return lambda one, other: operation(other, one)


_OPERATORS: dict[str, Any] = {
    **_ONE_OPERAND,
    "contains": operator.contains, "delitem": operator.delitem, "getitem": operator.getitem,
    "setitem": operator.setitem, "round": round,
    "isinstance": lambda one, other: isinstance(other, one),
    "issubclass": lambda one, other: issubclass(other, one),
    "enter": lambda one: type(one).__enter__(one),
    "exit": lambda one, *what: type(one).__exit__(one, *what),
    "getattr": getattr, "setattr": setattr, "delattr": delattr,
    **{
        name: getattr(operator, name)
        for name in (
            "add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor",
            "lshift", "rshift", "lt", "le", "gt", "ge", "eq", "ne", "pow",
        )
    },
    **{f"r{name}": _reflected(getattr(operator, name)) for name in _REFLECTED},
}  # fmt: skip


class Server:
    """One conversation: one request at a time, and calls back while it is worked on."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._depth = 0

    def serve(self) -> None:
        """Answer until there are no more requests."""
        while True:
            request = self._read()
            if request is None:
                return
            self._write(self._answer(request))

    def _read(self) -> Any | None:
        header = self._exactly(4)
        if header is None:
            return None
        text = self._exactly(struct.unpack(">I", header)[0])
        return None if text is None else values.loads(text)

    def _exactly(self, count: int) -> bytes | None:
        pieces = b""
        while len(pieces) < count:
            piece = os.read(self._source, count - len(pieces))
            if not piece:
                return None
            pieces += piece
        return pieces

    def _write(self, message: Any) -> None:
        try:
            text = values.dumps(message)
        except values.Unfit as unfit:
            text = values.dumps({"unfit": str(unfit)})
        text = struct.pack(">I", len(text)) + text
        while text:
            text = text[os.write(self._sink, text) :]

    def _answer(self, request: Any) -> Any:
        printed = io.StringIO()
        given = io.StringIO(request.get("stdin") or "")
        sys.stdin, before = given, sys.stdin
        try:
            with contextlib.redirect_stdout(printed):
                answer = self._tried(request)
        finally:
            sys.stdin = before
        answer["read"] = given.tell()
        answer["out"] = printed.getvalue()[:OUTPUT_MOST]
        return answer

    def _tried(self, request: Any) -> dict[str, Any]:
        try:
            return self._done(request)
        except values.Unfit as unfit:
            return {"unfit": str(unfit)}
        except BaseException as error:
            return {"raised": self._raised(error)}

    def _done(self, request: Any) -> dict[str, Any]:
        target = self._target(request["on"])
        arguments = [self.decode(each) for each in request.get("args", ())]
        keywords = {name: self.decode(each) for name, each in request.get("kwargs", {}).items()}
        if request["do"] == "value":
            return {"value": self.encode(target)}
        if request["do"] == "call":
            result = target(*arguments, **keywords)
        else:
            result = _OPERATORS[request["do"]](target, *arguments)
        after = [self.encode(each) for each in arguments]
        changed = {"args": after} if after != request.get("args", []) else {}
        return {"value": self.encode(result), **changed}

    def _target(self, reference: Any) -> Any:
        if "o" in reference:
            return self._objects[reference["o"]]
        module, *names = reference["p"]
        target = importlib.import_module(module)
        for name in names:
            target = getattr(target, name)
        return target

    def _raised(self, error: BaseException) -> Any:
        try:
            text = str(error)[:4000]
        except BaseException:
            text = ""
        try:
            arguments = self.encode(list(error.args))
        except BaseException:
            arguments = [text]
        where = ""
        trace = error.__traceback__
        while trace is not None:
            file = os.path.basename(trace.tb_frame.f_code.co_filename)
            if "assay_inside" not in trace.tb_frame.f_code.co_filename and not file.startswith("<"):
                where = f"{file}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return {
            "class": self._class(type(error)), "args": arguments, "text": text, "where": where,
            "object": self._opaque(error),
        }  # fmt: skip

    # --- values --------------------------------------------------------------------------------

    def encode(self, value: Any) -> Any:
        """A value for the other side; what is not plain stays here and gets a number."""
        return values.encode(value, self._opaque)

    def decode(self, data: Any) -> Any:
        """A value of the other side."""
        return values.decode(data, self._known)

    def _opaque(self, value: Any) -> dict[str, Any]:
        if isinstance(value, type):
            return self._class(value)
        return {"o": self._number(value), "n": type(value).__name__[:80]}

    def _class(self, kind: type) -> dict[str, Any]:
        if kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is kind:
            return {"o": -1, "builtin": kind.__name__}
        described = {"o": self._number(kind), "n": kind.__name__[:80]}
        if issubclass(kind, BaseException):
            described["x"] = [self._class(base) for base in kind.__bases__[:8]]
        return described

    def _number(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # kept for good, so that no other one gets its id
        return self._numbers[id(value)]

    def _known(self, data: dict[str, Any]) -> Any:
        if "p" in data:
            return self._target(data)
        if "builtin" in data:
            return getattr(builtins, data["builtin"])
        if "back" not in data:
            return self._objects[data["o"]]

        def back(*arguments: Any, **keywords: Any) -> Any:
            return self._call_back(data["back"], arguments, keywords)

        back.__name__ = back.__qualname__ = "function_of_the_test"
        return back

    def _call_back(self, number: int, arguments: Any, keywords: Any) -> Any:
        """Have the test's own function called, and work on requests meanwhile."""
        if self._depth >= _NESTED_MOST:
            raise RecursionError("the test's functions are called too deeply")
        self._depth += 1
        try:
            self._write({
                "back": number,
                "args": [self.encode(each) for each in arguments],
                "kwargs": {name: self.encode(each) for name, each in keywords.items()},
            })  # fmt: skip
            while True:
                message = self._read()
                if message is None:
                    os._exit(1)
                if message["do"] == "return":
                    return self.decode(message["value"])
                if message["do"] == "raise":
                    kind = getattr(builtins, message["name"], None)
                    raise (kind or RuntimeError)(message["text"])
                self._write(self._answer(message))
        finally:
            self._depth -= 1


def main() -> None:
    """Serve over what standard input and output are now; programs get others."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.path[0] = os.getcwd()
    sys.argv = [""]
    Server(source, sink).serve()
