"""Requests to a container engine, by the version of its API that all of today's know."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from assay.domain.errors import CreateTimeout, DiskFull, DriverUnavailable, RuntimeFailed
from assay.drivers.engine.endpoint import Endpoint, UnixSocket
from assay.drivers.engine.product import Product

API: Final = "v1.41"
_ALL_PROCESSORS: Final = {"cpu": {"quota": 100_000_000, "period": 100_000}}
_SECONDS: Final = 30.0
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of an answer; a list of 1,000 containers has 2 MB."""
_ATTEMPTS_TO_REMOVE: Final = 40
_SECONDS_BETWEEN_ATTEMPTS: Final = 0.25
_NOT_MODIFIED: Final = 304
_NOT_FOUND: Final = 404
_FULL: Final = ("no space left on device", "disk quota exceeded")
_NO_SYSTEMD: Final = "systemd not running"
_HEADER: Final = re.compile(r"[\0-\2]\0{3}.{4}", re.DOTALL)
"""Before each piece of a container's words: of which stream, and how long it is."""

Parameters = Mapping[str, str | int]


class NotThere(RuntimeFailed):
    """The engine does not know the container or image of that name."""


class Engine:
    """One engine, asked from the calling thread; a connection for each request.

    `seconds` is how long it may take to answer. What it says is taken for input: its size is
    limited, and so is the time; nothing of it is a path or a command.
    """

    def __init__(
        self, product: Product, place: Path | Endpoint, *, seconds: float = _SECONDS
    ) -> None:
        self.product = product
        self.endpoint = place if isinstance(place, Endpoint) else UnixSocket(place)
        self.seconds = seconds

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        parameters: Parameters | None = None,
    ) -> Any:
        """The engine's answer, parsed. `body` is data, or an archive: bytes, or pieces of them.

        Raises NotThere, DiskFull, RuntimeFailed, DriverUnavailable where nobody listens, or
        CreateTimeout when there is no answer in time.
        """
        target = f"/{API}{path}"
        if parameters:
            target += f"?{urlencode(parameters)}"
        content: bytes | Iterator[bytes]
        if isinstance(body, bytes | Iterator):
            content, kind = body, "application/x-tar"
        else:
            content = b"" if body is None else json.dumps(body).encode()
            kind = "application/json"
        with self.explained(method, path):
            status, answer = self._exchange(method, target, content, kind)
        if status >= 400:
            raise self._refusal(status, answer)
        return _parsed(answer) if status != _NOT_MODIFIED else None

    def _exchange(
        self, method: str, target: str, content: bytes | Iterator[bytes], kind: str
    ) -> tuple[int, bytes]:
        connection = _Connection(self.endpoint, self.seconds)
        try:
            headers = {"Content-Type": kind, "Connection": "close"}
            connection.connect()
            # Who refuses a long body answers before its end, and reads no more of it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, content, headers)
            response = connection.getresponse()
            answer = response.read(_MOST_BYTES + 1)
        finally:
            connection.close()
        if len(answer) > _MOST_BYTES or response.length:
            raise ValueError("its answer is too long, or not whole")
        return response.status, answer

    @contextlib.contextmanager
    def explained(self, method: str, path: str) -> Iterator[None]:
        """Turn what can go wrong with a connection into errors that say what to do."""
        name, place = self.product.name, self.endpoint.place
        try:
            yield
        except ssl.SSLError as error:
            raise DriverUnavailable(self.endpoint.refused(error), detail=str(error)) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DriverUnavailable(
                f"no {name} listens at {place}: {self.product.remedy}, or say where it does in"
                f" {self.product.variable}",
                detail=str(error),
            ) from error
        except PermissionError as error:
            raise DriverUnavailable(f"{place} is closed to this user; try sudo") from error
        except TimeoutError as error:
            raise CreateTimeout(
                f"{name} at {place} did not answer in {self.seconds:g} s; it may hang:"
                f" {self.product.start.replace(' start ', ' restart ')}",
                detail=f"{method} {path}",
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DriverUnavailable(
                f"{name} at {place} broke off; it was stopped{self.endpoint.doubt}",
                detail=f"{method} {path}: {error!r}\n{self.endpoint.said()}".strip(),
            ) from error

    def _refusal(self, status: int, answer: bytes) -> RuntimeFailed | DiskFull | DriverUnavailable:
        said = _message(answer)
        if _NO_SYSTEMD in said:
            return DriverUnavailable(
                f"{self.product.name} lets systemd make control groups, which does not run here:"
                f" say {self.product.without_systemd}, and start {self.product.name} anew",
                detail=said,
            )
        if any(words in said.lower() for words in _FULL):
            return DiskFull(f"{self.product.name} has no room left on its disk", detail=said)
        kind = NotThere if status == _NOT_FOUND else RuntimeFailed
        return kind(
            f"{self.product.name} could not do it; `assay doctor` looks for the cause",
            detail=f"{status}: {said}",
        )

    # --- what is asked for -----------------------------------------------------------------------

    def version(self) -> Mapping[str, Any]:
        """Its versions."""
        return _object(self.ask("GET", "/version"))

    def info(self) -> Mapping[str, Any]:
        """What it says of itself and its machine."""
        return _object(self.ask("GET", "/info"))

    def runtimes(self) -> frozenset[str]:
        """The names of the OCI runtimes that it is configured with; empty if it doesn't say."""
        found = self.info().get("Runtimes")
        return frozenset(found) if isinstance(found, dict) else frozenset()

    def has_image(self, name: str) -> bool:
        """Whether it has an image of this name."""
        try:
            self.ask("GET", f"/images/{quote(name, safe='')}/json")
        except NotThere:
            return False
        return True

    def import_image(self, name: str, archive: bytes | Iterator[bytes]) -> None:
        """Make an image of the files of an archive."""
        # Podman 4 takes no notice of `tag`.
        parameters = {"fromSrc": "-", "repo": name}
        self.ask("POST", "/images/create", archive, parameters=parameters)

    def images(self, repository: str) -> list[str]:
        """The names of its images of a repository, the newest first."""
        filters = json.dumps({"reference": [f"{repository}:*"]})
        found = self.ask("GET", "/images/json", parameters={"filters": filters})
        known = [each for each in found or () if isinstance(each, dict)]
        known.sort(key=lambda each: -int(each.get("Created") or 0))
        return [str(name) for each in known for name in each.get("RepoTags") or ()]

    def remove_image(self, name: str) -> None:
        """Remove an image. One that is not there, or in use, is no error."""
        with contextlib.suppress(RuntimeFailed):
            self.ask("DELETE", f"/images/{quote(name, safe='')}")

    def create(self, name: str, configuration: Mapping[str, Any]) -> None:
        """Make a container."""
        self.ask("POST", "/containers/create", configuration, parameters={"name": name})

    def start(self, name: str) -> None:
        """Start it."""
        self.ask("POST", f"/containers/{quote(name)}/start")

    def inspect(self, name: str) -> Mapping[str, Any]:
        """All that the engine knows of a container."""
        return _object(self.ask("GET", f"/containers/{quote(name)}/json"))

    def forgive(self, name: str) -> None:
        """Give a container of Podman's all processors: killed programs that owe time to its share
        are held until that is paid, for seconds. What can't be had is no error."""
        with contextlib.suppress(RuntimeFailed):
            self.ask("POST", f"/libpod/containers/{quote(name)}/update", _ALL_PROCESSORS)

    def remove(self, name: str) -> None:
        """End a container and remove it. One that is not there is no error."""
        for attempt in range(1, _ATTEMPTS_TO_REMOVE + 1):
            try:
                self.ask("DELETE", f"/containers/{quote(name)}", parameters={"force": 1, "v": 1})
            except NotThere:
                return
            except RuntimeFailed:  # somebody else is at it, say
                if attempt == _ATTEMPTS_TO_REMOVE:
                    raise
            else:
                return
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)

    def named(self, label: str, value: str) -> list[str]:
        """The names of all containers with a label, running or not."""
        filters = json.dumps({"label": [f"{label}={value}"]})
        found = self.ask("GET", "/containers/json", parameters={"all": 1, "filters": filters})
        names = (each.get("Names") or [""] for each in found or () if isinstance(each, dict))
        return [str(first[0]).removeprefix("/") for first in names]

    def create_volume(
        self, name: str, driver: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Make a volume."""
        body = {"Name": name, "Driver": driver["Name"], "DriverOpts": driver["Options"]}
        self.ask("POST", "/volumes/create", {**body, "Labels": dict(labels)})

    def volumes(self, label: str, value: str) -> list[str]:
        """The names of all volumes with a label."""
        filters = json.dumps({"label": [f"{label}={value}"]})
        found = _object(self.ask("GET", "/volumes", parameters={"filters": filters}))
        known = found.get("Volumes") or ()
        return [str(each.get("Name", "")) for each in known if isinstance(each, dict)]

    def remove_volume(self, name: str) -> None:
        """Remove a volume. One that is not there is no error."""
        with contextlib.suppress(NotThere):
            self.ask("DELETE", f"/volumes/{quote(name)}")

    def prepare(self, name: str, command: Sequence[str]) -> str:
        """The number of a program that is to be started in a container as its root."""
        body = {
            "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False,
            "User": "0:0", "Cmd": list(command),
        }  # fmt: skip
        return str(_object(self.ask("POST", f"/containers/{quote(name)}/exec", body)).get("Id", ""))

    def close(self) -> None:
        """Let go of what leads there."""
        self.endpoint.close()

    def words(self, name: str) -> str:
        """The end of what a container's process 1 has said."""
        parameters = {"stdout": 1, "stderr": 1, "tail": 20}
        try:
            said = self.ask("GET", f"/containers/{quote(name)}/logs", parameters=parameters)
        except (RuntimeFailed, DriverUnavailable, CreateTimeout, DiskFull):
            return ""
        return _HEADER.sub("", said)[-4096:] if isinstance(said, str) else ""


class _Connection(http.client.HTTPConnection):
    """HTTP to an endpoint."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        super().__init__("engine", timeout=seconds)
        self._endpoint, self._most_seconds = endpoint, seconds

    def connect(self) -> None:
        self.sock = self._endpoint.connect(self._most_seconds)


def _parsed(answer: bytes) -> Any:
    """Data, where it is any; else text."""
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError:
        return answer.decode(errors="replace")


def _message(answer: bytes) -> str:
    said = _parsed(answer)
    if isinstance(said, dict):
        said = said.get("message") or said.get("cause")
    return str(said)[:500]


def _object(answer: Any) -> Mapping[str, Any]:
    return answer if isinstance(answer, dict) else {}
