"""Requests to Kubernetes' API, of version 1 of what is at its core."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

from assay.domain.errors import CapacityExceeded, CreateTimeout, DriverUnavailable, RuntimeFailed
from assay.drivers.kubernetes.client import Clients, Query
from assay.drivers.kubernetes.options import Options
from assay.drivers.kubernetes.speech import VERSIONS

_SECONDS: Final = 30.0
_SECONDS_TO_CONNECT: Final = 5.0
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer; a list of 1,000 pods has some 8 MB."""
_PAGE: Final = "500"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_ATTEMPTS: Final = 5
_SECONDS_BETWEEN: Final = 0.5
_BUSY: Final = (429, 500, 503, 504)
"""Answers of a server that is told to be asked again; it starts, or has too much to do."""
RIGHTS: Final = (
    ("create", "pods", ""), ("get", "pods", ""), ("list", "pods", ""), ("watch", "pods", ""),
    ("delete", "pods", ""), ("get", "pods", "exec"), ("create", "pods", "exec"),
)  # fmt: skip
"""What a driver has to be allowed: verb, what, and which part of it."""


class NotThere(RuntimeFailed):
    """Kubernetes does not know what was asked for."""


class Outdated(RuntimeFailed):
    """What was asked to go on from is no longer known."""


class Kubernetes:
    """One cluster, asked from the event loop. What it says is taken for input."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._clients: Clients | None = None
        self._opening = asyncio.Lock()
        self._pods = f"/api/v1/namespaces/{options.namespace}/pods"

    async def _open(self) -> Clients:
        async with self._opening:
            if self._clients is None:
                self._clients = await Clients.open(self.options, VERSIONS)
            return self._clients

    async def aclose(self) -> None:
        """Let go of all connections."""
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.aclose()

    # --- requests ---------------------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, body: object = None, *, query: Query = ()
    ) -> Mapping[str, Any]:
        """Its answer. Raises NotThere, Outdated, RuntimeFailed, CapacityExceeded,
        DriverUnavailable where nobody listens, or CreateTimeout when there is no answer in time.

        All that is asked for may be asked for again: a pod's name is ours.
        """
        refreshed = False
        for attempt in range(1, _ATTEMPTS + 1):
            status, answer = await self._exchange(method, path, body, query)
            if status < 400:
                return _object(_parsed(answer))
            if status == 401 and not refreshed:  # a token has run out, perhaps
                refreshed = True
                await self.aclose()
                continue
            if status not in _BUSY or attempt == _ATTEMPTS:
                raise self._refusal(status, _message(answer))
            await asyncio.sleep(_SECONDS_BETWEEN * attempt)
        raise AssertionError

    async def _exchange(
        self, method: str, path: str, body: object, query: Query
    ) -> tuple[int, bytes]:
        async with self._answer(method, path, body, query, _timeout(_SECONDS)) as response:
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > _MOST_BYTES:
                    raise RuntimeFailed("Kubernetes' answer is too long", detail=path)
            return response.status, bytes(answer)

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: object, query: Query, timeout: aiohttp.ClientTimeout,
        accept: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        clients = await self._open()
        try:
            response = await clients.request(method, path, query, body, {"Accept": accept}, timeout)
            async with response:
                yield response
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(clients, error) from error
        except TimeoutError as error:
            raise CreateTimeout(
                f"Kubernetes at {clients.address} did not answer in time", detail=path
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise DriverUnavailable(
                f"Kubernetes at {clients.address} broke off", detail=f"{path}: {error!r}"
            ) from error

    def _unreachable(self, clients: Clients, error: Exception) -> DriverUnavailable:
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            return DriverUnavailable(
                f"Kubernetes at {clients.address} shows a certificate that the kubeconfig's"
                " authority does not vouch for",
                detail=str(error),
            )
        return DriverUnavailable(
            f"no Kubernetes listens at {clients.address}: start it, or say which one it is in"
            " KUBECONFIG",
            detail=str(error),
        )

    def _refusal(
        self, status: int, said: str
    ) -> RuntimeFailed | DriverUnavailable | CapacityExceeded:
        said = said[:500]
        if status == 404:
            return NotThere("Kubernetes does not know it", detail=said)
        if status == 410:
            return Outdated("Kubernetes has forgotten what came before", detail=said)
        if status == 401:
            return DriverUnavailable(
                "Kubernetes does not know who asks; renew the kubeconfig's token or certificate",
                detail=said,
            )
        if status == 403 and "exceeded quota" in said:
            return CapacityExceeded("the namespace's quota has no room for a sandbox", detail=said)
        if status == 403 and "PodSecurity" in said:
            return DriverUnavailable(
                f"the namespace {self.options.namespace} does not take such pods; label it"
                " pod-security.kubernetes.io/enforce=privileged (offline = false needs baseline)",
                detail=said,
            )
        if status == 403:
            return DriverUnavailable(
                "Kubernetes does not let this account do it; in the namespace"
                f" {self.options.namespace} it needs the Role of deploy/kubernetes/access.yaml:"
                " pods: create, get, list, watch, delete; pods/exec: create, get",
                detail=said,
            )
        return RuntimeFailed("Kubernetes could not do it", detail=f"{status}: {said}")

    # --- what is asked for ------------------------------------------------------------------------

    async def version(self) -> str:
        """Of the server that answers."""
        return str((await self.ask("GET", "/version")).get("gitVersion", "unknown"))[:64]

    async def denied(self) -> list[str]:
        """Which of the rights that a driver needs this account has not."""
        of = {"namespace": self.options.namespace}
        found = await asyncio.gather(*(self._may(*each, **of) for each in RIGHTS))
        return [
            f"{verb} {'/'.join(filter(None, (what, part)))}"
            for (verb, what, part), may in zip(RIGHTS, found, strict=True)
            if not may
        ]

    async def may_see_nodes(self) -> bool:
        """Whether this account may know which nodes there are; that is of no namespace."""
        return await self._may("list", "nodes", "")

    async def _may(self, verb: str, what: str, part: str, **where: str) -> bool:
        of = {"verb": verb, "resource": what, **where}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**of, **({"subresource": part} if part else {})}},
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return _object((await self.ask("POST", path, review)).get("status")).get("allowed") is True

    async def create(self, pod: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a pod, or find the one that an answer was lost of."""
        try:
            return await self.ask("POST", self._pods, pod)
        except RuntimeFailed as error:
            if not error.detail.startswith("409"):
                raise
            return await self.ask("GET", f"{self._pods}/{pod['metadata']['name']}")

    async def pod(self, name: str) -> Mapping[str, Any] | None:
        """A pod as it is, if there is one."""
        try:
            return await self.ask("GET", f"{self._pods}/{name}")
        except NotThere:
            return None

    async def pods(self, selector: str, *, node: str = "") -> list[Mapping[str, Any]]:
        """All pods with a label, as they are; with `node`, those that are there."""
        where = [("fieldSelector", f"spec.nodeName={node}")] if node else []
        return await self._all(self._pods, [("labelSelector", selector), *where])

    async def cordoned(self) -> list[str]:
        """Names of nodes that are to take no more pods. DriverUnavailable: none may be known."""
        query = [("fieldSelector", "spec.unschedulable=true")]
        found = await self._all("/api/v1/nodes", query)
        return [str(_object(each.get("metadata")).get("name", "")) for each in found]

    async def _all(self, path: str, query: Query) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        more = ""
        while True:
            part = [*query, ("limit", _PAGE), *_given(more)]
            answer = await self.ask("GET", path, query=part)
            found += [each for each in _list(answer.get("items")) if isinstance(each, dict)]
            more = str(_object(answer.get("metadata")).get("continue") or "")
            if not more:
                return found

    async def delete(self, name: str) -> None:
        """Have a pod ended and forgotten. One that is not there is no error."""
        with contextlib.suppress(NotThere):
            await self.ask("DELETE", f"{self._pods}/{name}")

    async def changes(self, selector: str, seconds: int) -> AsyncGenerator[str, None]:
        """Names of pods with a label, as they change from now on; first "", when now is.

        A hint to look, and no more: it may end, or leave something out. Raises what `ask` does.
        """
        head = await self.ask(
            "GET", self._pods, query=[("labelSelector", selector), ("limit", "1")]
        )
        version = str(_object(head.get("metadata")).get("resourceVersion", ""))
        query = [
            ("labelSelector", selector), ("watch", "true"), ("resourceVersion", version),
            ("timeoutSeconds", str(seconds)),
        ]  # fmt: skip
        timeout = _timeout(seconds + _SECONDS)
        async with self._answer("GET", self._pods, None, query, timeout, _METADATA) as response:
            if response.status >= 400:
                raise self._refusal(response.status, _message(await response.content.read(4096)))
            yield ""
            while line := await response.content.readline():
                yield _changed(line)

    async def run(self, name: str, container: str, command: tuple[str, ...]) -> (
        aiohttp.ClientWebSocketResponse
    ):  # fmt: skip
        """A connection to a program that is started in a pod."""
        clients = await self._open()
        query = [
            ("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true"),
            *(("command", word) for word in command),
        ]  # fmt: skip
        try:
            async with asyncio.timeout(_SECONDS):
                return await clients.socket(f"{self._pods}/{name}/exec", query)
        except aiohttp.WSServerHandshakeError as error:
            raise self._refusal(error.status, error.message) from error
        except TimeoutError as error:
            raise CreateTimeout("Kubernetes did not start a program in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(clients, error) from error


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=_SECONDS_TO_CONNECT)


def _given(more: str) -> Query:
    return [("continue", more)] if more else []


def _changed(line: bytes) -> str:
    """The pod that an event is of. Raises Outdated where it is of none."""
    event = _object(_parsed(line))
    changed = _object(event.get("object"))
    if event.get("type") == "ERROR":
        raise Outdated("Kubernetes' events have ended", detail=str(changed.get("message"))[:500])
    return str(_object(changed.get("metadata")).get("name", ""))


def _message(answer: bytes) -> str:
    """What a refusal says: a Status, or what something between has to say."""
    try:
        found = json.loads(answer)
    except ValueError:
        return answer.decode(errors="replace").strip()
    return str(_object(found).get("message", ""))


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise RuntimeFailed(
            "Kubernetes' answer is no JSON", detail=answer[:200].decode(errors="replace")
        ) from error


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
