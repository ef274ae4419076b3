"""The one place that knows the library kubernetes-asyncio: how to get in, and its two clients.

Answers are taken as bytes: its models would cost more time than all else, and trust what they read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import yarl
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config.config_exception import ConfigException
from kubernetes_asyncio.stream import WsApiClient
from kubernetes_asyncio.stream.ws_client import get_websocket_url
from yaml import YAMLError

from assay.domain.errors import DriverUnavailable
from assay.drivers.kubernetes.options import Options

__all__ = ["Clients", "Query", "address_of"]

Query = Sequence[tuple[str, str]]
_MOST_MESSAGE: Final = 4 * 1024 * 1024
_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
_AUTHENTICATION: Final = ["BearerToken"]
_LET_GO: Final = {"Connection": "close"}
"""The library would keep as many connections as were ever used at one time, and take them in turn,
so that none is idle for long enough to be closed; and one that the server, or what is between,
closes just then fails a request to make a pod."""
_REMEDY: Final = "say where its kubeconfig is in KUBECONFIG, or in kubeconfig of [kubernetes]"

# What it warns of is in the errors that it raises; on a terminal it stood between other lines.
logging.getLogger("kubernetes_asyncio").setLevel(logging.ERROR)


class _Sockets(WsApiClient):
    """As the library has it, but that a version of the protocol is agreed on."""

    protocols: Sequence[str] = ()

    async def request(  # type: ignore[override]
        self, method: str, url: str, **more: Any
    ) -> aiohttp.ClientWebSocketResponse:
        query = more.get("query_params") or ()
        return await self.rest_client.pool_manager.ws_connect(
            yarl.URL(get_websocket_url(url)).with_query(list(query)),
            headers=more.get("headers"), protocols=self.protocols, max_msg_size=_MOST_MESSAGE,
        )  # fmt: skip


class Clients:
    """Connections to one API server, as whom the kubeconfig or the pod's account says."""

    def __init__(self, configuration: Configuration, protocols: Sequence[str]) -> None:
        configuration.connection_pool_maxsize = 0  # a session of a sandbox keeps one for its life
        self.address = str(configuration.host)
        self._requests = ApiClient(configuration)
        self._sockets = _Sockets(configuration)
        self._sockets.protocols = protocols

    @classmethod
    async def open(cls, options: Options, protocols: Sequence[str]) -> Clients:
        """Raises DriverUnavailable, with the remedy."""
        configuration = await _configuration(options)
        try:
            return cls(configuration, protocols)
        except (OSError, ValueError) as error:  # ssl.SSLError is the first of them, too
            raise _no_way(error) from error

    async def request(
        self, method: str, path: str, query: Query, body: object, headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        """An answer whose body was not read. Raises aiohttp's errors and OSError."""
        answer: aiohttp.ClientResponse = await self._requests.call_api(
            path, method, query_params=list(query), header_params={**headers, **_LET_GO}, body=body,
            auth_settings=_AUTHENTICATION, _preload_content=False, _request_timeout=timeout,
        )  # fmt: skip
        return answer

    async def socket(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        """A connection to a program. Raises aiohttp's errors and OSError."""
        found: aiohttp.ClientWebSocketResponse = await self._sockets.call_api(
            path, "GET", query_params=list(query), header_params={},
            auth_settings=_AUTHENTICATION, _preload_content=False,
        )  # fmt: skip
        return found

    async def aclose(self) -> None:
        """Let go of all connections."""
        await self._requests.close()
        await self._sockets.close()


async def address_of(options: Options) -> str:
    """Where the API server is, as far as is said. Raises DriverUnavailable."""
    return str((await _configuration(options)).host)


async def _configuration(options: Options) -> Configuration:
    configuration = Configuration()
    try:
        if not options.kubeconfig and os.environ.get(_IN_CLUSTER):
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        else:
            await config.load_kube_config(
                config_file=options.kubeconfig or None,
                context=options.context or None,
                client_configuration=configuration,
            )
    # A kubeconfig is a file of anybody's, and the library looks into it as it comes.
    except (ConfigException, YAMLError, OSError, ValueError, TypeError, LookupError,
            AttributeError) as error:  # fmt: skip
        raise _no_way(error) from error
    return configuration


def _no_way(error: Exception) -> DriverUnavailable:
    return DriverUnavailable(f"no way to a Kubernetes is known: {_REMEDY}", detail=str(error))
