import pytest

from assay.api.origin import Origin, networks, origin_of
from assay.domain.errors import InvalidInput

PROXIES = networks(["10.0.0.0/8", "::1"])


def seen(headers: dict[str, str], peer: str = "10.0.0.1") -> Origin:
    return origin_of(headers, scheme="http", peer=peer, proxies=PROXIES)


def test_the_address_is_what_the_caller_used() -> None:
    origin = seen({"Host": "assay.example:7200"})
    assert origin.websocket("/x?y=1") == "ws://assay.example:7200/x?y=1"
    assert origin.address == "10.0.0.1"


def test_a_trusted_proxy_says_what_the_caller_used() -> None:
    origin = seen(
        {
            "Host": "127.0.0.1:7200",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "assay.example",
            "X-Forwarded-For": "203.0.113.7, 10.0.0.9",
        }
    )
    assert origin.websocket("/x") == "wss://assay.example/x"
    assert origin.address == "203.0.113.7"


def test_nobody_else_can_say_so() -> None:
    told = {
        "Host": "assay.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-For": "127.0.0.1",
    }
    origin = seen(told, peer="192.0.2.1")
    assert origin == Origin(scheme="http", host="assay.example", address="192.0.2.1")


def test_what_a_caller_adds_in_front_of_the_proxys_words_is_not_believed() -> None:
    origin = seen(
        {
            "Host": "assay.example",
            "X-Forwarded-Proto": "ftp, http",
            "X-Forwarded-Host": "evil.example, assay.example",
            "X-Forwarded-For": "127.0.0.1, 203.0.113.7",
        }
    )
    assert origin == Origin(scheme="http", host="assay.example", address="203.0.113.7")


def test_words_that_are_no_addresses_end_the_search() -> None:
    origin = seen({"Host": "a", "X-Forwarded-For": "203.0.113.7, unknown, 10.0.0.2"})
    assert origin.address == "10.0.0.2"


@pytest.mark.parametrize(
    "host", ["", "a b", 'a"b', "a/b", "user@a", "a:b", "[::1", "a\r\nb", "é", "a:123456", "a?b"]
)
def test_what_is_no_host_never_becomes_part_of_a_url(host: str) -> None:
    with pytest.raises(InvalidInput):
        seen({"Host": host})


def test_proxies_that_are_no_networks_are_refused() -> None:
    with pytest.raises(InvalidInput, match="proxy"):
        networks(["proxy.example"])
