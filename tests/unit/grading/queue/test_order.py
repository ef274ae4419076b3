"""The fair order: shares follow weights, nobody starves, a higher priority goes first."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.line import Line, LineKey, Newcomer, Timing
from assay.grading.queue.order import UNKNOWN_SECONDS, admit, choose, joined, learn
from assay.grading.queue.outlook import outlook

Waiting = tuple[int, int, LineKey, str]
"""Turn, number, line, learner."""


class Queue:
    """The store's part, in memory: it keeps lines and waiting submissions."""

    def __init__(self, courses: Iterable[Line] = ()) -> None:
        self.courses = {line.course: line for line in courses}
        self.lines: dict[LineKey, Line] = {}
        self.waiting: list[Waiting] = []
        self.number = 0

    def add(self, course: str, learner: str, *, priority: int = 0, count: int = 1) -> None:
        key = LineKey(priority, course)
        if key not in self.lines and course in self.courses:
            self.lines[key] = replace(self.courses[course], priority=priority)
        comer = Newcomer(key, learner)
        turns = [each[0] for each in self.waiting if each[2:] == (key, learner)]
        served = {priority: max((each.served for each in self.of(priority)), default=0.0)}
        last = {comer: max(turns)} if turns else {}
        admission = admit([comer] * count, self.lines, served, last)
        for line in admission.lines:
            self.lines[LineKey(line.priority, line.course)] = line
        for turn in admission.turns:
            self.number += 1
            self.waiting.append((turn, self.number, key, learner))

    def of(self, priority: int) -> list[Line]:
        return [line for line in self.lines.values() if line.priority == priority]

    def take(self, count: int = 1) -> list[Waiting]:
        taken: list[Waiting] = []
        for share in choose(list(self.lines.values()), count):
            key = LineKey(share.line.priority, share.line.course)
            those = sorted(each for each in self.waiting if each[2] == key)[: share.take]
            assert len(those) == share.take
            self.lines[key] = replace(share.line, turn=those[-1][0])
            taken += those
            self.waiting = [each for each in self.waiting if each not in those]
        return taken

    def courses_of(self, taken: Sequence[Waiting]) -> Counter[str]:
        return Counter(each[2].course for each in taken)


WEIGHTS = st.sampled_from([0.5, 1.0, 2.0, 3.0, 8.0])
SECONDS = st.sampled_from([None, 0.25, 1.0, 30.0])


@given(
    st.lists(st.tuples(WEIGHTS, st.sampled_from([0.1, 1.0, 7.0])), min_size=2, max_size=6),
    st.integers(1, 16),
)
def test_shares_of_the_workers_time_follow_the_weights(
    courses: list[tuple[float, float]], batch: int
) -> None:
    lines = [
        Line(course=f"c{n}", priority=0, waiting=10_000, weight=weight, seconds=seconds)
        for n, (weight, seconds) in enumerate(courses)
    ]
    got: Counter[str] = Counter()
    for _ in range(2000 // batch):
        shares = {share.line.course: share for share in choose(lines, batch)}
        got.update({course: share.take for course, share in shares.items()})
        lines = [shares[line.course].line if line.course in shares else line for line in lines]
    time_of_weight = [got[each.course] * (each.seconds or 0) / each.weight for each in lines]
    most_step = max((each.seconds or 0) / each.weight for each in lines)
    assert max(time_of_weight) - min(time_of_weight) <= most_step + 1e-6


@given(st.data())
def test_who_has_one_waits_for_two_at_most_of_each_other_learner(data: st.DataObject) -> None:
    queue = Queue()
    learners = ["a", "b", "c"]
    for _ in range(data.draw(st.integers(0, 8))):
        learner = data.draw(st.sampled_from(learners))
        queue.add("course", learner, count=data.draw(st.integers(1, 40)))
        queue.take(data.draw(st.integers(0, 20)))
    queue.add("course", "single")
    before: Counter[str] = Counter()
    for _ in range(500):
        # Whatever comes while it waits, even at each step.
        queue.add("course", data.draw(st.sampled_from([*learners, f"new {queue.number}"])))
        ((_, _, _, served),) = queue.take()
        if served == "single":
            break
        before[served] += 1
    assert served == "single"
    assert max(before.values(), default=0) <= 2


def test_who_comes_anew_all_the_time_does_not_starve_who_has_two() -> None:
    queue = Queue()
    queue.add("course", "patient", count=2)
    served = []
    for number in range(20):
        queue.add("course", f"new {number}")
        served += [each[3] for each in queue.take()]
    assert served.count("patient") == 2
    assert served.index("patient", 1) < 5


@given(st.integers(1, 400), st.integers(1, 4))
def test_five_thousand_of_one_learner_cost_another_one_turn(already: int, batch: int) -> None:
    queue = Queue()
    queue.add("course", "many", count=500)
    for _ in range(already // batch):
        queue.take(batch)
    queue.add("course", "one")
    order = [each[3] for _ in range(3) for each in queue.take()]
    assert "one" in order


@given(st.data())
def test_a_higher_priority_goes_first_strictly(data: st.DataObject) -> None:
    queue = Queue()
    for _ in range(30):
        priority = data.draw(st.integers(0, 2))
        queue.add(data.draw(st.sampled_from("xyz")), "l", priority=priority)
    priorities = [each[2].priority for _ in range(10) for each in queue.take(3)]
    assert len(priorities) == 30
    assert priorities == sorted(priorities)


@given(st.data())
def test_nothing_is_lost_and_nothing_is_handed_out_twice(data: st.DataObject) -> None:
    queue = Queue()
    taken: list[Waiting] = []
    for _ in range(data.draw(st.integers(1, 15))):
        queue.add(
            data.draw(st.sampled_from("xyz")),
            data.draw(st.sampled_from("abcd")),
            priority=data.draw(st.integers(0, 1)),
            count=data.draw(st.integers(1, 9)),
        )
        taken += queue.take(data.draw(st.integers(0, 7)))
    while queue.waiting:
        taken += queue.take(5)
    assert sorted(each[1] for each in taken) == list(range(1, queue.number + 1))
    assert all(line.waiting == 0 for line in queue.lines.values())
    for learner in "abcd":  # what one learner hands in to one line is graded in that order
        for key in queue.lines:
            mine = [each[1] for each in taken if each[2:] == (key, learner)]
            assert mine == sorted(mine)


def test_a_course_that_was_empty_saves_nothing_up() -> None:
    queue = Queue()
    queue.add("busy", "a", count=300)
    queue.take(100)
    queue.add("late", "b", count=300)
    assert queue.courses_of([each for _ in range(100) for each in queue.take()]) == {
        "busy": 50,
        "late": 50,
    }


def test_nor_does_one_that_was_busy_alone_pay_for_it_when_all_was_quiet_meanwhile() -> None:
    queue = Queue()
    queue.add("busy", "a", count=100)
    while queue.waiting:
        queue.take(10)
    queue.add("other", "b", count=50)
    queue.add("busy", "a", count=50)
    got = queue.courses_of([each for _ in range(20) for each in queue.take()])
    assert abs(got["other"] - got["busy"]) <= 2


def test_a_course_without_gradings_so_far_is_taken_to_be_like_the_others() -> None:
    lines = [
        Line(course="known", priority=0, waiting=50, seconds=4.0),
        Line(course="new", priority=0, waiting=50),
    ]
    assert {each.line.course: each.take for each in choose(lines, 20)} == {"known": 10, "new": 10}
    assert choose(lines[1:], 1)[0].line.due == UNKNOWN_SECONDS


def test_a_mean_follows_what_changes_and_forgets() -> None:
    mean = learn(None, Timing(gradings=2, seconds=4.0))
    assert mean == 2.0
    for _ in range(100):
        mean = learn(mean, Timing(gradings=1, seconds=8.0))
    assert mean == pytest.approx(8.0, abs=0.01)
    together = learn(2.0, Timing(gradings=3, seconds=24.0))
    one_by_one = 2.0
    for _ in range(3):
        one_by_one = learn(one_by_one, Timing(gradings=1, seconds=8.0))
    assert together == pytest.approx(one_by_one)


def test_a_grading_that_took_no_time_is_not_free() -> None:
    assert learn(None, Timing(gradings=5, seconds=0.0)) > 0


@given(
    st.lists(
        st.tuples(st.sampled_from("wxyz"), st.integers(0, 1), st.integers(1, 12), WEIGHTS, SECONDS),
        min_size=1,
        max_size=6,
        unique_by=lambda each: each[:2],
    ),
    st.data(),
)
def test_the_position_is_what_is_handed_out_before(
    courses: list[tuple[str, int, int, float, float | None]], data: st.DataObject
) -> None:
    known = {course: (weight, seconds) for course, _, _, weight, seconds in courses}
    lines = [
        Line(
            course=course, priority=priority, waiting=waiting,
            weight=known[course][0], seconds=known[course][1],
        )
        for course, priority, waiting, _, _ in courses
    ]  # fmt: skip
    mine = data.draw(st.sampled_from(lines))
    before = data.draw(st.integers(0, mine.waiting - 1))
    found = outlook(mine, before, lines, leased=0, slots=1)
    left, handed_out, of_mine = lines, 0, 0
    while True:
        (share,) = choose(left, 1)
        key = (share.line.course, share.line.priority)
        if key == (mine.course, mine.priority):
            if of_mine == before:
                break
            of_mine += 1
        handed_out += 1
        left = [share.line if (x.course, x.priority) == key else x for x in left]
    # Sums of floats differ a little from products: at a draw, one of each other line.
    assert abs(found.ahead - handed_out) <= len(lines) - 1


def test_joining_a_line_counts() -> None:
    line = joined(Line(course="c", priority=0, due=2.0), 7.0)
    assert (line.waiting, line.due) == (1, 7.0)
    assert joined(line, 9.0).due == 7.0
