"""run_student: its streams, its exit statuses, its limits, and what both sides share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from assay.bootstrap import Catalogue
from assay.bootstrap.places import DriverPlaces
from assay.config import Settings
from assay.driver.guard import Guard
from assay.grading.inginious import (
    Environments,
    Graded,
    Submission,
    grade_submission,
    load_task,
)
from assay.grading.joint import Seats
from assay.grading.places import Place
from assay.grading.script.rooms import Room, Rooms

HERE = Path(__file__).parent
Grade = Callable[..., Awaitable[Graded]]


async def case(grade: Grade, name: str) -> Mapping[str, object]:
    graded = await grade("students", answers={"q1": name})
    assert graded.result == "success", (graded.detail, graded.stdout, graded.stderr)
    return graded.custom


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("exits", 7),
        ("segfault", 256 - 11),
        ("fpe", 256 - 8),
        ("time", 253),
        ("hard", 253),
        ("memory", 252),
        ("missing", 127),
        ("quotes", 254),
        ("network", 251),
        ("disk", 252),
        ("root", 251),
    ],
)
async def test_exit_statuses(grade: Grade, name: str, status: int) -> None:
    assert (await case(grade, name))["status"] == status


async def test_streams_are_apart(grade: Grade) -> None:
    custom = await case(grade, "exits")
    assert (custom["out"], custom["err"]) == ("out\n", "err\n")


async def test_megabytes_go_both_ways_at_once(grade: Grade) -> None:
    assert await case(grade, "large") == {"same": True, "status": 0}


async def test_a_program_that_writes_before_it_reads_blocks_nobody(grade: Grade) -> None:
    custom = await case(grade, "flood_both")
    assert custom == {"length": 2_000_008, "status": 0}


async def test_input_that_comes_in_drops_is_all_there(grade: Grade) -> None:
    assert await case(grade, "drops") == {"out": "300\n", "status": 0}


async def test_input_may_be_bytes(grade: Grade) -> None:
    assert (await case(grade, "bytes"))["out"] == "abc"


async def test_output_in_no_encoding_stops_no_grader(grade: Grade) -> None:
    assert (await case(grade, "garbled"))["out"] == "\ufffdok"


async def test_what_a_program_leaves_in_the_shared_folder_is_the_graders(grade: Grade) -> None:
    custom = await case(grade, "shares")
    assert custom["out"] == "givenstudent\n" + "for students"
    assert (custom["made"], custom["given"], custom["inner"]) == ("made\n", False, "x\n")
    assert (custom["link"], custom["pipe"]) == (False, False)
    assert "secret" not in str(custom["out"])


async def test_what_is_removed_may_have_more_names_than_one_program_takes(grade: Grade) -> None:
    custom = await case(grade, "removes")
    assert (custom["status"], custom["left"]) == (0, []), custom
    assert int(str(custom["made"])) >= 300


async def test_signals_are_passed_on(grade: Grade) -> None:
    assert await case(grade, "signal") == {"out": "caught\n", "status": 3}
    assert await case(grade, "callback") == {"status": 256 - 15, "sent": 1}


async def test_several_at_once(grade: Grade) -> None:
    assert (await case(grade, "at_once"))["statuses"] == [0, 1, 2, 3, 4]


async def test_where_there_is_one_seat_for_students_they_come_one_after_the_other(
    settings: Settings, driver: Guard
) -> None:
    rooms, seats = Counted(DriverPlaces(driver, Catalogue(settings))), Seats(2)
    async with seats.take(2):
        graded = await grade_submission(
            rooms, load_task(HERE / "course/students"), Submission(answers={"q1": "at_once"}),
            Environments(), seats=seats,
        )  # fmt: skip
    assert graded.custom["statuses"] == [0, 1, 2, 3, 4], graded.detail
    assert rooms.most == 2


async def test_a_grader_whose_students_waited_for_one_another_is_graded_another_time(
    settings: Settings, driver: Guard
) -> None:
    seats = Seats(2)
    async with seats.take(2):
        graded = await grade_submission(
            DriverPlaces(driver, Catalogue(settings)), load_task(HERE / "course/students"),
            Submission(answers={"q1": "together"}), Environments(), seats=seats,
        )  # fmt: skip
    assert (graded.result, graded.grade) == ("error", None)
    assert "had waited" in graded.passing
    assert "--most-sandboxes" in graded.passing


class Counted:
    """Rooms, and how many there were at a time."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._there = 0
        self.most = 0

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        async with self._rooms.room(room) as place:
            self._there += 1
            self.most = max(self.most, self._there)
            try:
                yield place
            finally:
                self._there -= 1


async def test_one_that_is_killed_leaves_nothing_and_the_next_one_runs(grade: Grade) -> None:
    custom = await case(grade, "killed")
    assert (custom["out"], custom["status"]) == ("still here\n", 0)


async def test_a_login_is_refused_and_said_to_be_the_tasks_fault(grade: Grade) -> None:
    graded = await grade("students", answers={"q1": "ssh"})
    assert (graded.result, graded.grade) == ("error", None)
    assert "log in" in graded.detail


async def test_a_students_program_has_no_way_to_the_journal(grade: Grade) -> None:
    custom = await case(grade, "journal")
    assert custom["status"] in (0, 127)
    assert ".grading" not in str(custom["out"])
    graded = await grade("students", answers={"q1": "journal"})
    assert graded.grade == 100  # for what the grader said: success, and nothing of the forger's
    assert "grade" not in graded.custom


async def test_a_students_program_cannot_put_a_grader_in_the_graders_place(grade: Grade) -> None:
    custom = await case(grade, "poison")
    assert custom["run"] is True
