"""Sandboxes made by a container engine (Docker, Podman) that is asked over its API.

`driver.py` has the port's methods and `workshop.py` does, step by step, what they ask for:

    engine.py      requests to an engine's socket      container.py   what it is told, as data
    seed.py        the one image that it needs         interior.py    what is made of a container
    product.py     which engines there are, as data
"""

from assay.drivers.engine.driver import EngineDriver
from assay.drivers.engine.product import DOCKER, PODMAN, Product

__all__ = ["DOCKER", "PODMAN", "EngineDriver", "Product"]
