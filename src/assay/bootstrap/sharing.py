"""Which sandboxes all servers of a database have in common, and which are of one machine."""

from __future__ import annotations

from assay.bootstrap.drivers import make_driver
from assay.config import Settings
from assay.driver.port import Driver, Installation, Shared
from assay.storage.database import Storage


class Sharing:
    """Makes the drivers of a server; `installation` is its database's, or None with SQLite."""

    def __init__(self, settings: Settings, installation: Installation | None) -> None:
        self._settings = settings
        self._installation = installation

    @classmethod
    async def of(cls, settings: Settings, storage: Storage) -> Sharing:
        """As the database says. Raises StorageError."""
        key = await storage.installation()
        if key is None:
            return cls(settings, None)
        return cls(settings, Installation(key=key, epoch=lambda: storage.epoch))

    def make(self, name: str, *, stock: int = 0) -> Driver:
        """A driver whose sandboxes are this server's, as `make_driver` makes one."""
        return self.share(make_driver(self._settings, name, stock=stock))

    def share(self, driver: Driver) -> Driver:
        """Have a driver's sandboxes be the installation's, where that can be."""
        if self._installation is not None and isinstance(driver, Shared):
            driver.share(self._installation)
        return driver

    def applies_to(self, driver: Driver) -> bool:
        """Whether servers on other machines reach what this driver makes."""
        return self._installation is not None and isinstance(driver, Shared)
