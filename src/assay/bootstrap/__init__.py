"""The only place that knits concrete parts together: drivers, images, environments.

drivers.py     names of drivers -> drivers, guarded and owned
choice.py      which driver to use when nobody named one
ownership.py   whose sandboxes are whose, and removing those of the dead
catalogue.py   environments, and whether they can be used here
"""

from assay.bootstrap.catalogue import Catalogue, Offer, root_filesystem
from assay.bootstrap.choice import choose_driver, forget_choice
from assay.bootstrap.drivers import (
    PREFERRED,
    driver_names,
    make_driver,
    open_driver,
    sweep_abandoned,
)

__all__ = [
    "PREFERRED",
    "Catalogue",
    "Offer",
    "choose_driver",
    "driver_names",
    "forget_choice",
    "make_driver",
    "open_driver",
    "root_filesystem",
    "sweep_abandoned",
]
