"""What Moodle's CodeRunner does with a server of Jobe, request by request, and what it makes of it.

After its observable protocol: which fields it sends in which order, which header fields, when it
sends files, and how it reads an answer.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import aiohttp

HEADERS = {
    "User-Agent": "CodeRunner",
    "Content-Type": "application/json; charset=utf-8",
    "Accept-Charset": "utf-8",
    "Accept": "application/json",
    "X-CodeRunner-Job-Id": "5a3c1f07",
}
OVERLOAD, RUNTIME_ERROR, UNDERSTOOD = 21, 12, (200, 203)


@dataclass(frozen=True)
class Verdict:
    """What a question is graded by. `error` is the HTTP status that it could not understand."""

    error: int | None
    result: int | None = None
    output: str = ""
    stderr: str = ""
    cmpinfo: str = ""


class CodeRunner:
    """A client with a host name and perhaps a key, which is all that an administrator enters."""

    def __init__(
        self, session: aiohttp.ClientSession, host: str, *, key: str | None = None
    ) -> None:
        self._session = session
        self._url = f"{host}/jobe/index.php/restapi"
        self._headers = {**HEADERS, **({"X-API-KEY": key} if key else {})}
        self.sent: list[str] = []
        self.status = 0
        self.told: Any = None
        """Status and body of the last answer."""

    async def languages(self) -> list[str]:
        """The names alone; none from a server that answers otherwise."""
        status, body = await self._request("GET", "languages")
        return [pair[0] for pair in body] if status == 200 and isinstance(body, list) else []

    async def execute(
        self,
        source: str,
        language: str,
        stdin: str = "",
        *,
        files: dict[str, bytes] | None = None,
        parameters: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> Verdict:
        """Run a program. Files are sent only after a server has said that it lacks them."""
        language = language.lower()
        if stdin and not stdin.endswith("\n"):
            stdin += "\n"
        held = files or {}
        spec: dict[str, Any] = {
            "language_id": language,
            "sourcecode": source,
            "sourcefilename": name or f"__tester__.{language}",
            "input": stdin,
            "file_list": [[hashlib.md5(each).hexdigest(), key] for key, each in held.items()],
        }
        if parameters is not None:
            spec["parameters"] = parameters or []  # as PHP writes an empty array
            spec["sourcefilename"] = parameters.get("sourcefilename", spec["sourcefilename"])
        spec["jobeserver"] = "localhost"
        status, body = await self._request("POST", "runs", {"run_spec": spec})
        if status == 404:
            for content in held.values():
                if (status := await self._put(content)) != 204:
                    break
            if status == 204:
                status, body = await self._request("POST", "runs", {"run_spec": spec})
        return _verdict(status, body)

    async def _put(self, content: bytes) -> int:
        path = f"files/{hashlib.md5(content).hexdigest()}"
        contents = base64.b64encode(content).decode()
        return (await self._request("PUT", path, {"file_contents": contents}))[0]

    async def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.sent.append(f"{method} {path.split('/')[0]}")
        url = f"{self._url}/{path}"
        async with self._session.request(method, url, json=body, headers=self._headers) as answer:
            text = await answer.read()
            self.status = answer.status
            self.told = await answer.json(content_type=None) if text else ""
            return self.status, self.told


def _verdict(status: int, body: Any) -> Verdict:
    if status not in UNDERSTOOD or not isinstance(body, dict) or body["outcome"] == OVERLOAD:
        return Verdict(error=status)
    result = RUNTIME_ERROR if body["stderr"].strip() else body["outcome"]
    return Verdict(
        error=None,
        result=result,
        output=body["stdout"],
        stderr=body["stderr"],
        cmpinfo=body["cmpinfo"],
    )
