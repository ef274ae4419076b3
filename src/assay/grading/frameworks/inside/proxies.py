"""What stands for a learner's objects in tests: each use of it is a request to their process."""

from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from . import values
from .channel import Channel, LearnerEnded
from .deliberate import is_deliberate, unmeant

_ENDS = ("KeyboardInterrupt", "GeneratorExit", "BaseException")
_CONTAINERS = (list, dict, set, bytearray)
_OBJECTS_MOST = 10_000
"""Of what stays where it is, in one answer: what stands for it takes more than an answer does."""
_ERRORS_MOST = 1000
"""Classes of exceptions of one process, of which each is a real one here."""


class LearnersError(Exception):
    """One of a class that can't be had, or of one too many."""


class Learner:
    """The learner's process, as tests reach it."""

    def __init__(self, channel: Channel, modules: Iterable[str], objects: Iterable[str]) -> None:
        self.channel = channel
        self.modules = frozenset(modules)
        self.objects: frozenset[str] = frozenset(objects)
        """Classes whose instances tests may work with by operators: "module.Class"."""
        self.collecting = True
        self.failure: AssertionError | None = None
        """What went wrong in the test's own code, which the learner's may have caught."""
        self.failed_in = ""
        self._functions: list[Any] = []
        self._errors: dict[int, type] = {}
        self._errors_of = 0
        self._objects_left = 0

    def request(
        self, do: str, reference: dict[str, Any], *args: Any, made: bool = False, **kwargs: Any
    ) -> Any:
        """Have something done there; return the result, or raise what it raised."""
        if self.collecting:
            raise RuntimeError(
                "tests are being collected, which happens without the learner's code: use it in"
                " tests, fixtures and setUp only"
            )
        if "o" in reference and reference["of"] != self.channel.number:
            raise RuntimeError(
                "this object was made for another test, whose process is gone: make it in the"
                ' test or in setUp, or say fresh = "file" in task.toml'
            )
        stdin = sys.stdin if isinstance(sys.stdin, io.StringIO) else None
        at = 0 if stdin is None else stdin.tell()
        request = {
            "do": do,
            "on": {name: each for name, each in reference.items() if name != "of"},
            "args": [self._encode(each) for each in args],
            "kwargs": {name: self._encode(each) for name, each in kwargs.items()},
            "stdin": None if stdin is None else stdin.read(),
        }
        if stdin is not None:
            stdin.seek(at)
        before = self.failure
        answer = self.channel.ask(request, self._on_back)
        self._objects_left = _OBJECTS_MOST
        if "raised" in answer and before is None:
            self._let_through(answer["raised"])
        try:
            return self._taken(answer, args, stdin, at, made)
        except StopIteration as stop:
            if do == "next":
                raise
            # From a function, it would end map() and the like as if there was nothing left.
            raise RuntimeError("the learner's code raised StopIteration") from stop
        except values.Unfit as unfit:
            return self.channel.fail(f"its answer is no value: {unfit}")

    def _taken(self, answer: Any, args: Sequence[Any], stdin: Any, at: int, made: bool) -> Any:
        printed, read = answer.get("out"), answer.get("read")
        if isinstance(printed, str) and printed:
            sys.stdout.write(printed)
        if stdin is not None and isinstance(read, int):
            stdin.seek(at + max(0, min(read, values.MESSAGE_MOST)))
        if "raised" in answer:
            raise self._raised(answer["raised"])
        if "value" not in answer:
            raise TypeError(f"what the learner's code gave can't be carried: {answer.get('unfit')}")
        if "args" in answer:
            self._update(args, self._decode(answer["args"], made=False))
        return self._decode(answer["value"], made=made)

    def _let_through(self, raised: Any) -> None:
        """What came back to the test, of the request in which it went wrong, nobody swallowed."""
        error = None if self.failure is None else self.failure.__cause__
        if error is None or not isinstance(raised, dict):
            return
        kind, text = raised.get("class"), raised.get("text")
        name = kind.get("builtin") if isinstance(kind, dict) else None
        told = _told(error)
        if name == told["name"] and text in (told["text"], repr(told["text"])):  # a KeyError's
            self.failure = None

    def remember(self, error: BaseException, where: str) -> None:
        """The test has gone wrong, whatever becomes of this error; the first one is told."""
        if self.failure is None:
            self.failure, self.failed_in = unmeant(error), where

    def _update(self, args: Sequence[Any], after: Any) -> None:
        """Change what the learner's code has changed in place."""
        if not isinstance(after, list) or len(after) != len(args):
            raise values.Unfit("these are no arguments")
        for own, new in zip(args, after):
            if type(own) not in _CONTAINERS or type(new) is not type(own) or own == new:
                continue
            if isinstance(own, (list, bytearray)):
                own[:] = new
            else:
                own.clear()
                own.update(new)

    # --- calls of the test's own functions -----------------------------------------------------

    def _on_back(self, message: Any) -> dict[str, Any]:
        self._objects_left = _OBJECTS_MOST
        try:
            function = self._functions[message["back"]]
            args = [self._decode(each, made=False) for each in message["args"]]
            kwargs = {
                name: self._decode(each, made=False) for name, each in message["kwargs"].items()
            }
        except values.Unfit as unfit:
            return dict(self.channel.fail(f"it called with what is no value: {unfit}"))
        except (LookupError, TypeError, AttributeError):
            return dict(self.channel.fail("it called something that is no function"))
        try:
            return {"do": "return", "value": self._encode(function(*args, **kwargs))}
        except LearnerEnded:
            raise
        except Exception as error:
            if not is_deliberate(error, error.__traceback__):
                self.remember(error, "in a function of the test's")
            return {"do": "raise", **_told(error)}

    def described(self, error: BaseException | None) -> tuple[Any, Any]:
        """An error's class and itself, as the learner's `__exit__` gets them.

        What fails a test is not told. Of a class of the test's own, the one of Python's above it.
        """
        if not isinstance(error, Exception) or isinstance(error, AssertionError):
            return None, None
        kind = next(
            each
            for each in type(error).__mro__
            if _reference_of(each) or vars(builtins).get(each.__name__) is each
        )
        reference = _reference_of(kind) or {"p": ["builtins", kind.__name__]}
        try:
            return kind, self.request("call", reference, *error.args)
        except Exception:
            return kind, None

    # --- values --------------------------------------------------------------------------------

    def _encode(self, value: Any) -> Any:
        return values.encode(value, self._opaque)

    def _opaque(self, value: Any) -> dict[str, Any]:
        reference = _reference_of(value)
        if reference is not None:
            return {"o": 0, **{name: each for name, each in reference.items() if name != "of"}}
        name = getattr(value, "__name__", "")
        if type(value) is type and vars(builtins).get(name) is value:
            return {"o": -1, "builtin": name}
        if callable(value) and not isinstance(value, type):
            self._functions.append(value)
            return {"o": 0, "back": len(self._functions) - 1}
        raise TypeError(
            f"a {type(value).__name__} can't be given to the learner's code, which runs elsewhere:"
            " give it numbers, texts, lists, dicts, functions, and objects of its own classes"
        )

    def _decode(self, data: Any, *, made: bool) -> Any:
        """A value. If it was `made` by a declared class it is itself, and nothing that is in it."""
        return values.decode(data, lambda each: self._known(each, made and each is data))

    def _known(self, data: dict[str, Any], made: bool) -> Any:
        self._objects_left -= 1
        if self._objects_left < 0:
            raise values.Unfit(f"it holds more than {_OBJECTS_MOST:,} objects")
        if "builtin" in data:
            return self._builtin(data["builtin"])
        number, name = data["o"], data.get("n")
        if not isinstance(number, int) or not isinstance(name, str):
            raise values.Unfit("this is no object")
        reference = {"o": number, "of": self.channel.number}
        if "x" in data:
            return self._error(number, name, data["x"], reference)
        return Remote(self, reference, name=name, made=made)

    def _builtin(self, name: Any) -> type:
        found = getattr(builtins, name, None) if isinstance(name, str) else None
        if not isinstance(found, type):
            raise values.Unfit("this is no type")
        return found

    def _error(self, number: int, name: str, bases: Any, reference: dict[str, Any]) -> type:
        """A class of exceptions: here it must be a real one, to be caught and expected."""
        if self._errors_of != self.channel.number:
            self._errors, self._errors_of = {}, self.channel.number
        if number in self._errors:
            return self._errors[number]
        if len(self._errors) >= _ERRORS_MOST:
            return LearnersError
        if not isinstance(bases, list) or len(bases) > 8:
            raise values.Unfit("these are no classes")
        above = tuple(
            self._base(values.decode(each, lambda data: self._known(data, False))) for each in bases
        )
        try:
            made = type(str(name), above or (Exception,), {"_assay_reference": reference})
        except (TypeError, ValueError):
            made = type("LearnersError", (LearnersError,), {"_assay_reference": reference})
        self._errors[number] = made
        return made

    def _base(self, kind: Any) -> type:
        """What ends frameworks is no learner's to raise."""
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            return Exception
        return Exception if kind.__name__ in _ENDS else kind

    def _raised(self, data: Any) -> BaseException:
        if not isinstance(data, dict):
            raise values.Unfit("this is no exception")
        kind = self._base(self._decode(data.get("class"), made=False))
        args, text, where = (
            self._decode(data.get("args"), made=False),
            data.get("text"),
            data.get("where"),
        )
        try:
            error: BaseException = kind(*args)
        except Exception:
            error = Exception(text)
        if isinstance(where, str) and where and sys.version_info >= (3, 11):
            error.add_note(f"in the learner's {where[:200]}")
        return error


class Remote:
    """Something of the learner's: a module, a function, a class, or an object of one.

    Attributes and calls are the learner's. Operators are for objects of classes that the task
    declares; of others only what tells nothing by itself (iterating, indexing, str): a learner's
    object that is handed back in place of a number must not pass for one.
    """

    __slots__ = (
        "_assay_learner", "_assay_made", "_assay_name", "_assay_reference", "_assay_result",
    )  # fmt: skip

    def __init__(
        self,
        learner: Learner,
        reference: dict[str, Any],
        *,
        name: str,
        made: bool = False,
        result: bool = False,
    ) -> None:
        object.__setattr__(self, "_assay_learner", learner)
        object.__setattr__(self, "_assay_reference", reference)
        object.__setattr__(self, "_assay_name", name)
        object.__setattr__(self, "_assay_made", made)
        object.__setattr__(self, "_assay_result", result)

    def __getattr__(self, name: str) -> Any:
        learner, reference = self._assay_learner, self._assay_reference
        if "p" in reference and learner.collecting:
            if name.startswith("_"):
                raise AttributeError(name)
            return Remote(learner, {"p": [*reference["p"], name]}, name=name)
        if "p" in reference and not name.startswith("__"):
            # Known by its path, so that it is declared, and good for the next process.
            found = learner.request("getattr", reference, name)
            if type(found) is Remote:
                return Remote(learner, {"p": [*reference["p"], name]}, name=name)
            return found
        return learner.request("getattr", reference, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._assay_learner.request("setattr", self._assay_reference, name, value)

    def __delattr__(self, name: str) -> None:
        self._assay_learner.request("delattr", self._assay_reference, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reference = self._assay_reference
        made = ".".join(reference.get("p", ())) in self._assay_learner.objects
        return self._assay_learner.request("call", reference, *args, made=made, **kwargs)

    def __instancecheck__(self, other: Any) -> bool:
        if _reference_of(other) is None:
            return False
        return self._assay_learner.request("isinstance", self._assay_reference, other) is True

    def __subclasscheck__(self, other: Any) -> bool:
        if _reference_of(other) is None:
            return False
        return self._assay_learner.request("issubclass", self._assay_reference, other) is True

    def __eq__(self, other: Any) -> bool:
        """As the learner says if one is of a declared class; a plain value is never equal."""
        if type(other) is not Remote:
            return False
        if self._assay_made or other._assay_made:
            return self._assay_learner.request("eq", self._assay_reference, other) is True
        return bool(self._assay_reference == other._assay_reference)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        if self._assay_made:
            found = self._assay_learner.request("hash", self._assay_reference)
            return found if type(found) is int else 0
        return hash(str(sorted(self._assay_reference.items())))

    def __repr__(self) -> str:
        if self._assay_learner.collecting or "p" in self._assay_reference:
            return f"<the learner's {self._assay_name}>"
        return f"<{self._assay_learner.request('repr', self._assay_reference)}>"

    def __str__(self) -> str:
        if self._assay_learner.collecting:
            return repr(self)
        return str(self._assay_learner.request("str", self._assay_reference))

    def __iter__(self) -> Any:
        return _Iterator(self._assay_learner.request("iter", self._assay_reference))

    def __next__(self) -> Any:
        return self._assay_learner.request("next", self._assay_reference)

    def __len__(self) -> Any:
        return self._assay_learner.request("len", self._assay_reference)

    def __getitem__(self, key: Any) -> Any:
        return self._assay_learner.request("getitem", self._assay_reference, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._assay_learner.request("setitem", self._assay_reference, key, value)

    def __delitem__(self, key: Any) -> None:
        self._assay_learner.request("delitem", self._assay_reference, key)

    def __enter__(self) -> Any:
        return self._assay_learner.request("enter", self._assay_reference)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        """The learner's block ends. It swallows what the test has raised on purpose, no more."""
        learner = self._assay_learner
        meant = error is None or (isinstance(error, Exception) and is_deliberate(error, trace))
        try:
            found = learner.request("exit", self._assay_reference, *learner.described(error), None)
        except BaseException:
            if not meant:
                # Another error takes its place.
                learner.remember(error, "in a block whose error the learner's __exit__ replaced")
            raise
        if meant:
            return found
        if type(found) is Remote or found:
            learner.remember(error, "in a block whose error the learner's __exit__ swallowed")
        return False


class _Iterator:
    """Goes over what is there, one request for each element."""

    def __init__(self, remote: Any) -> None:
        self._remote = remote

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._remote)


_BETWEEN_OBJECTS = ("ge", "gt", "le", "lt", "rsub", "sub")
_PLAIN = ("abs", "bool", "contains", "float", "ge", "gt", "index", "int", "le", "lt", "round")


def _operated(self: Any, name: str, *operands: Any) -> Any:
    """What the learner's operator gives: an object only where it may be one of a declared class."""
    if not self._assay_made:
        raise TypeError(
            f"the learner's code gave an object of the class {self._assay_name} here; if tests are"
            f" to work with its operators ({name}), declare the class in task.toml:"
            f' objects = ["…{self._assay_name}"]'
        )
    if self._assay_result and name in _BETWEEN_OBJECTS:
        _require_no_number(self, name, operands)
    found = self._assay_learner.request(name, self._assay_reference, *operands)
    if _reference_of(found) is None:
        return found
    if name in _PLAIN:
        raise TypeError(
            f"the operator {name} of the learner's {self._assay_name} gave an object, and not a"
            " plain value: it could compare as it likes"
        )
    return _result(self, found)


def _require_no_number(self: Any, name: str, operands: Sequence[Any]) -> None:
    """The test may expect a number here, and get an object that knows then what is expected."""
    if any(isinstance(each, (int, float, complex)) for each in operands):
        raise TypeError(
            f"an operator gave an object of the learner's {self._assay_name} here, which the test"
            f" can't work with and a number ({name}): compare what it holds"
        )


def _result(self: Any, found: Any) -> Any:
    """An object that an operator gave: one with operators, if its class says that it is declared.

    The learner's process may call any class so: a result is never worked with as a number is.
    """
    learner = self._assay_learner
    declared = {each.rpartition(".")[2] for each in learner.objects} | {self._assay_name}
    if type(found) is not Remote or found._assay_name not in declared:
        return found
    reference, name = found._assay_reference, found._assay_name
    return Remote(learner, reference, name=name, made=True, result=True)


def _make_operators() -> None:
    def one(name: str) -> Any:
        return lambda self, *operands: _operated(self, name, *operands)

    for name in (
        "abs", "add", "and", "bool", "contains", "float", "floordiv", "ge", "gt", "index", "int",
        "invert", "le", "lshift", "lt", "matmul", "mod", "mul", "neg", "or", "pos", "pow", "round",
        "rshift", "sub", "truediv", "xor",
    ):  # fmt: skip
        setattr(Remote, f"__{name}__", one(name + "_" if name in ("and", "or") else name))
    for name in ("add", "floordiv", "matmul", "mod", "mul", "pow", "sub", "truediv"):
        setattr(Remote, f"__r{name}__", one("r" + name))


_make_operators()


def _told(error: BaseException) -> dict[str, str]:
    """An error of the test's own code, as the learner's gets it."""
    kind = type(error)
    known = getattr(builtins, kind.__name__, None) is kind
    return {"name": kind.__name__ if known else "RuntimeError", "text": str(error)[:1000]}


def _reference_of(value: Any) -> dict[str, Any] | None:
    if type(value) is Remote:
        return dict(value._assay_reference)
    if isinstance(value, type) and "_assay_reference" in value.__dict__:
        return dict(value.__dict__["_assay_reference"])
    return None
