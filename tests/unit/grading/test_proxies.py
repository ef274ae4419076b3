"""What stands for a learner's objects and classes in tests, of which a process may name many."""

from __future__ import annotations

from typing import Any

import pytest

from assay.grading.frameworks.inside.proxies import Learner, LearnersError, Remote


class Channel:
    """One whose process gives the same answer to all requests."""

    number = 1

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def ask(self, request: Any, on_back: Any) -> Any:
        return self.answer

    def fail(self, why: str) -> Any:
        raise EOFError(why)


def taken(value: Any, *, objects: Any = ()) -> Any:
    learner = Learner(Channel({"value": value}), ["sums"], objects)  # type: ignore[arg-type]
    learner.collecting = False
    return Remote(learner, {"p": ["sums", "Sum"]}, name="Sum")()


def test_classes_of_errors_are_real_ones_up_to_some_number() -> None:
    kinds = taken([{"o": number, "n": f"E{number}", "x": []} for number in range(5000)])
    assert len(set(kinds)) == 1001
    assert (kinds[999].__name__, kinds[1000]) == ("E999", LearnersError)


def test_an_answer_holds_objects_up_to_some_number() -> None:
    objects = [{"o": number, "n": "Sum"} for number in range(10_000)]
    assert len(taken(objects)) == 10_000
    with pytest.raises(EOFError, match="more than 10,000 objects"):
        taken([*objects, {"o": 1, "n": "Sum"}])


def test_what_a_declared_class_makes_has_operators_and_nothing_that_is_in_it() -> None:
    made = taken({"o": 1, "n": "Sum"}, objects=["sums.Sum"])
    inside = taken({"t": [{"o": 1, "n": "Sum"}]}, objects=["sums.Sum"])
    assert [each._assay_made for each in (made, *inside)] == [True, False]
