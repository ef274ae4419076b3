"""A server with courses, a database and tokens, over real HTTP; tests grade themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from api_server import served, services

from assay.api.auth import Authenticator
from assay.api.route import PREFIX
from assay.grading.courses import Courses
from assay.grading.desk import Desk
from assay.grading.joint import Seats
from assay.grading.results import Result, Verdict, kept
from assay.grading.submissions import Submissions
from assay.grading.versions import Versions
from assay.storage.database import Storage
from assay.storage.submissions.steps import Ending
from assay.storage.tokens import issue_token

TASK = """\
title = "Sum"
environment = "python"
files = ["sum.py"]
[[parts]]
id = "all"
kind = "cases"
cases = [{ name = "one", stdin = "1", expected = "1" }]
"""
COURSES = ("algebra", "logic")


@dataclass
class GradedServer:
    """What a test needs of it."""

    url: str
    courses: Courses
    storage: Storage
    submissions: Submissions
    desk: Desk
    http: aiohttp.ClientSession

    async def token(self, *scopes: str, courses: tuple[str, ...] = ()) -> dict[str, str]:
        text, record = issue_token(
            name="a test", scopes=scopes, now=self.storage.clock(), courses=courses
        )
        await self.storage.add_token(record)
        return {"Authorization": f"Bearer {text}"}

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: object = None
    ) -> tuple[int, Any]:
        """The status, and the answer's JSON or bytes."""
        url = f"{self.url}{PREFIX}{path}"
        async with self.http.request(method, url, headers=headers, json=body) as answer:
            content = await answer.read()
            is_json = "json" in answer.content_type
            return answer.status, await answer.json(content_type=None) if is_json else content

    async def hand_in(self, course: str, learner: str, headers: dict[str, str]) -> str:
        body = {"learner": learner, "files": {"sum.py": "print(1)"}}
        status, made = await self.ask(
            "POST", f"/courses/{course}/tasks/sum/submissions", headers, body
        )
        assert status == 202, made
        return str(made["id"])

    async def grade_all(
        self, grade: float | None = 50.0, verdict: Verdict = Verdict.PARTIAL, **more: Any
    ) -> None:
        result = Result(verdict=verdict, grade=grade, detail="for teachers", **more)
        for work in await self.submissions.store.claim("w", 100, {}):
            ending = Ending(
                holder="w", submission=work.submission, result=kept(result), seconds=0.1
            )
            assert await self.submissions.store.finish(ending)


@asynccontextmanager
async def graded_server(folder: Path, database: str) -> AsyncIterator[GradedServer]:
    """Serve the courses during the block."""
    for name in COURSES:
        (folder / name / "sum").mkdir(parents=True)
        (folder / name / "course.toml").write_text(f'title = "{name}"')
        (folder / name / "sum" / "task.toml").write_text(TASK)
    courses = Courses([folder / name for name in COURSES], Versions(folder / "versions"))
    await courses.load()
    storage = await Storage.open(database)
    submissions = await Submissions.open(database)
    places: Any = None
    desk = Desk(courses, submissions, places, parallel=1, seats=Seats(1))
    given = services(authenticator=Authenticator(storage), tokens=storage, desk=desk)
    try:
        async with served(given) as url, aiohttp.ClientSession() as http:
            yield GradedServer(
                url=url,
                courses=courses,
                storage=storage,
                submissions=submissions,
                desk=desk,
                http=http,
            )
    finally:
        await submissions.aclose()
        await storage.aclose()
