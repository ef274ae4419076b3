"""What a case is, and how it says that something is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from assay.domain.errors import InvalidInput
from assay.domain.outcome import Outcome, OutcomeKind
from assay.driver.port import Capabilities

if TYPE_CHECKING:
    from assay.testing.workbench import Workbench

_CAPABILITIES = frozenset(field.name for field in fields(Capabilities))


class Failure(AssertionError):
    """The driver, or the agent in its sandboxes, did not do what the case promises."""


class Doubtful(Failure):
    """Something else may be to blame, but hardly three times: the runner tries again."""


class NotTestable(Exception):
    """The driver cannot be put into the situation that the case is about; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One promise and the code that tries it.

    `needs` names the capabilities without which the case makes no sense: a driver that lacks one
    of them skips the case. `timeout` is in seconds, on an ordinary machine. A `hostile` case is
    watched: a neighbour's sandbox must not feel it.
    """

    name: str
    sentence: str
    run: Callable[[Workbench], Awaitable[None]]
    needs: frozenset[str] = frozenset()
    timeout: float = 30.0
    hostile: bool = False

    def __post_init__(self) -> None:
        if unknown := self.needs - _CAPABILITIES:
            raise InvalidInput(f"{self.name} needs {sorted(unknown)}, which are no capabilities")

    def __str__(self) -> str:
        return self.name

    def missing(self, capabilities: Capabilities) -> list[str]:
        """The capabilities that this case needs and the driver lacks."""
        return sorted(name for name in self.needs if not getattr(capabilities, name))


class Group:
    """The cases of one file. Names come from functions, sentences from their docstrings."""

    def __init__(self, name: str, *, hostile: bool = False, needs: Iterable[str] = ()) -> None:
        self.name = name
        self.cases: list[Case] = []
        self._hostile = hostile
        self._needs = frozenset(needs)

    def case(
        self, *needs: str, timeout: float = 30.0
    ) -> Callable[[Callable[[Workbench], Awaitable[None]]], Callable[[Workbench], Awaitable[None]]]:
        """Make a case of a function."""

        def collect(
            run: Callable[[Workbench], Awaitable[None]],
        ) -> Callable[[Workbench], Awaitable[None]]:
            self.add(run.__name__, run.__doc__ or "", run, *needs, timeout=timeout)
            return run

        return collect

    def add(
        self,
        name: str,
        sentence: str,
        run: Callable[[Workbench], Awaitable[None]],
        *needs: str,
        timeout: float = 30.0,
    ) -> None:
        """Add a case that is made from a table."""
        sentence = " ".join(sentence.split("\n\n")[0].split())
        if not sentence:
            raise InvalidInput(f"the case {name} does not say what it promises")
        self.cases.append(
            Case(
                name=f"{self.name}/{name.strip('_').replace('_', '-')}",
                sentence=sentence,
                run=run,
                needs=self._needs | frozenset(needs),
                timeout=timeout,
                hostile=self._hostile,
            )
        )


def expect(holds: bool, otherwise: str) -> None:
    """Raise Failure with the text unless it holds."""
    if not holds:
        raise Failure(otherwise)


def expect_in_time(holds: bool, otherwise: str) -> None:
    """Raise Doubtful unless it holds: for what took longer than is promised, as it may on a machine
    that was busy with something else.
    """
    if not holds:
        raise Doubtful(otherwise)


def expect_equal(actual: object, wanted: object, what: str) -> None:
    """Raise Failure unless both are the same; long values are shortened."""
    if actual != wanted:
        raise Failure(f"{what} is {_shown(actual)} instead of {_shown(wanted)}")


def expect_outcome(actual: Outcome, wanted: OutcomeKind, **details: object) -> None:
    """Raise Failure unless the outcome is of this kind and has these details."""
    same = all(getattr(actual, name) == value for name, value in details.items())
    if actual.kind is not wanted or not same:
        extra = "".join(f" {name}={value}" for name, value in details.items())
        raise Failure(f"the outcome is {actual} instead of {wanted}{extra}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"
