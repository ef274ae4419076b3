"""Values of the port."""

import pytest

from assay.domain.errors import InvalidInput
from assay.driver.port import Driver, Secret
from assay.drivers.fake import FakeDriver


def test_a_secret_is_never_shown() -> None:
    secret = Secret(b"0123456789abcdef" * 2)
    assert "0123" not in f"{secret!r} {secret} {[secret]}"
    assert secret.reveal() == b"0123456789abcdef" * 2


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_secret_has_thirty_two_bytes(size: int) -> None:
    with pytest.raises(InvalidInput):
        Secret(bytes(size))


def test_the_fake_is_a_driver() -> None:
    assert isinstance(FakeDriver(), Driver)
