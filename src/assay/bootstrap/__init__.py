"""The only place that knits concrete parts together: drivers, images, environments.

drivers.py     names of drivers -> drivers, guarded and owned
choice.py      which driver to use when nobody named one
ownership.py   whose sandboxes are whose, and removing those of the dead
trust.py       folders that nobody else can change
rootless.py    an ordinary user's process becomes root of a user namespace
catalogue.py   environments, and whether they can be used here
devices.py     devices of this machine that environments may have
images.py      the images of this machine, and which of them anybody needs
"""

from assay.bootstrap.catalogue import Catalogue, Offer, Ready, root_filesystem
from assay.bootstrap.choice import choose_driver, forget_choice
from assay.bootstrap.drivers import (
    OURS,
    PREFERRED,
    driver_names,
    every_technology,
    is_driver,
    make_driver,
    open_driver,
    orchestrators,
    sweep_abandoned,
)
from assay.bootstrap.images import holding, needed, open_images
from assay.bootstrap.rootless import prepare_process

__all__ = [
    "OURS",
    "PREFERRED",
    "Catalogue",
    "Offer",
    "Ready",
    "choose_driver",
    "driver_names",
    "every_technology",
    "forget_choice",
    "holding",
    "is_driver",
    "make_driver",
    "needed",
    "open_driver",
    "open_images",
    "orchestrators",
    "prepare_process",
    "root_filesystem",
    "sweep_abandoned",
]
