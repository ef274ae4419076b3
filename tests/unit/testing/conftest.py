from collections.abc import AsyncIterator

import pytest

from assay.driver.port import Driver
from assay.drivers.fake import FakeDriver


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    """Sandboxes in memory: what is tested here is the suite itself."""
    fake = FakeDriver()
    yield fake
    await fake.aclose()
