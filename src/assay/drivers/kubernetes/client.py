"""The one place that knows the library kubernetes-asyncio: how to get in, and its two clients.

Answers are taken as bytes: its models would cost more time than all else, and trust what they read.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import yarl
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.config.config_exception import ConfigException
from kubernetes_asyncio.stream import WsApiClient
from kubernetes_asyncio.stream.ws_client import get_websocket_url

from assay.domain.errors import DriverUnavailable
from assay.drivers.kubernetes.options import Options

__all__ = ["ApiException", "Clients", "Query"]

Query = Sequence[tuple[str, str]]
_MOST_MESSAGE: Final = 4 * 1024 * 1024
_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
_AUTHENTICATION: Final = ["BearerToken"]
_REMEDY: Final = "say where its kubeconfig is in KUBECONFIG, or in kubeconfig of [kubernetes]"


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
            return cls(configuration, protocols)
        except (ConfigException, OSError, ValueError, ssl.SSLError, TypeError, KeyError) as error:
            raise DriverUnavailable(
                f"no way to a Kubernetes is known: {_REMEDY}", detail=str(error)
            ) from error

    async def request(
        self, method: str, path: str, query: Query, body: object, headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        """An answer whose body was not read. Raises ApiException, aiohttp's errors and OSError."""
        answer: aiohttp.ClientResponse = await self._requests.call_api(
            path, method, query_params=list(query), header_params=headers, body=body,
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
