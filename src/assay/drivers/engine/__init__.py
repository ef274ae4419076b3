"""Sandboxes made by a container engine (Docker, Podman) that is asked over its API.

An engine of this machine, whose containers run on its kernel: `driver.py` has the port's methods
and `workshop.py` does, step by step, what they ask for:

    engine.py      requests to an engine             container.py   what it is told, as data
    seed.py        the one image that it needs       interior.py    what is made of a container
    product.py     which engines there are, as data

An engine elsewhere, or containers with kernels of their own: `distant.py` is all of the driver:

    address.py     what an engine's address means    endpoint.py    sockets, and TLS
    tunnel.py      SSH                               bridge.py      a byte stream through an engine
    image.py       a root as an engine's image       whole.py       what it is told, as data
    kind.py        what containers are like, as data
"""

from assay.drivers.engine.address import endpoint
from assay.drivers.engine.distant import DistantDriver
from assay.drivers.engine.driver import EngineDriver
from assay.drivers.engine.endpoint import Endpoint, TlsEndpoint, UnixSocket
from assay.drivers.engine.engine import Engine
from assay.drivers.engine.kind import KATA, NAMED_SOCKET, SHARED, Kind, is_gvisor, is_kata
from assay.drivers.engine.product import DOCKER, PODMAN, Product
from assay.drivers.engine.tunnel import SshTunnel

__all__ = [
    "DOCKER",
    "KATA",
    "NAMED_SOCKET",
    "PODMAN",
    "SHARED",
    "DistantDriver",
    "Endpoint",
    "Engine",
    "EngineDriver",
    "Kind",
    "Product",
    "SshTunnel",
    "TlsEndpoint",
    "UnixSocket",
    "endpoint",
    "is_gvisor",
    "is_kata",
]
