"""What skopeo and buildah were seen to write, and what users are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import AssayError, DiskFull, ImageUnavailable, InvalidImage
from assay.images.build import Recipe, _failure
from assay.images.words import explain

PING = 'pinging container registry r.example: Get "https://r.example/v2/": '

SEEN: dict[tuple[type[AssayError], str], list[str]] = {
    (ImageUnavailable, "isn't there"): [
        "reading manifest 1 in r.example/a: manifest unknown: manifest unknown",
    ],
    (ImageUnavailable, "skopeo login"): [
        "reading manifest 1 in r.example/a: unauthorized: authentication required",
        "requested access to the resource is denied",
    ],
    (ImageUnavailable, "too often"): [
        "toomanyrequests: You have reached your pull rate limit",
    ],
    (ImageUnavailable, "certs.d"): [
        PING + "x509: certificate signed by unknown authority",
        PING + "x509: certificate has expired or is not yet valid",
    ],
    (ImageUnavailable, "plain HTTP"): [
        PING + "http: server gave HTTP response to HTTPS client",
    ],
    (ImageUnavailable, "no such host"): [
        PING + "dial tcp: lookup r.example: no such host",
    ],
    (ImageUnavailable, "nobody answers"): [
        PING + "dial tcp 127.0.0.1:1: connect: connection refused",
    ],
    (ImageUnavailable, "broke off"): [
        PING + "dial tcp 10.0.0.1:443: i/o timeout",
        PING + "net/http: TLS handshake timeout",
    ],
    (DiskFull, "no room"): [
        "writing blob: write /x: no space left on device",
    ],
    (InvalidImage, "damaged"): [
        "loading tar component manifest.json: archive/tar: invalid tar header",
        "Digest did not match, expected sha256:a, got sha256:b",
    ],
    (ImageUnavailable, "a problem of its own"): [
        "received unexpected HTTP status: 503 Service Unavailable",
    ],
    (ImageUnavailable, "the detail has the reason"): [
        "something that nobody has seen before",
    ],
}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [(words, *told) for told, several in SEEN.items() for words in several],
)
def test_each_failure_is_told_with_its_remedy(words, error, message):
    found = explain("r.example/a:1", f'time="…" level=fatal msg="{words}"')
    assert type(found) is error
    assert "r.example/a:1" in found.message
    assert message in found.message
    assert words in found.detail


def test_a_folder_that_is_closed_to_buildah_is_named():
    recipe = Recipe(dockerfile=Path("/recipe/Dockerfile"), context=Path("/recipe"), arguments={})
    said = (
        'level=error msg="neither XDG_RUNTIME_DIR nor HOME was set non-empty"\n'
        'Error: building at STEP "RUN true": exit status 1'
    )
    assert "chmod 1777 /tmp" in _failure(recipe, 125, said).message
