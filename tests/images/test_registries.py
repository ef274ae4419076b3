"""Pulling from registries: a real one, and those that answer slowly, wrongly or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import ARCHITECTURE, END, INDEX, Layout, digest, entry, gzipped, zstd
from registry import Answer, Request, a_bad_registry, honest, push, real_registry

from assay.domain.errors import AssayError, DiskFull, ImageUnavailable, InvalidImage
from assay.images import Images
from assay.images.program import Patience

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("CI")
        and not (shutil.which("skopeo") and shutil.which("docker-registry")),
        reason="needs skopeo and docker-registry",
    ),
]

IMPATIENT = Patience(seconds=6, silent_seconds=1.5)


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="assay-registry-", dir="/dev/shm"))
    try:
        with real_registry(folder) as host:
            yield host
    finally:
        shutil.rmtree(folder)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def assert_gone(images: Images, folder: Path) -> None:
    """After a failure there is no image, no draft; after gc, no file."""
    assert images.all() == []
    assert list((folder / "drafts").iterdir()) == []
    images.collect_garbage(list)
    assert everything(folder) == []


def test_an_image_is_pulled_and_found(registry, layout, images):
    made = layout.image([entry("a", b"1")], [entry("b", b"2")])
    push(f"{layout.reference}:latest", f"{registry}/some/image:1")
    reference = f"{registry}/some/image:1"
    assert images.find(reference) is None
    image = images.get(reference)
    assert image.digest == made["digest"]
    assert (image.root.path / "b").read_text() == "2"
    assert images.find(f"docker://{reference}") == image
    by_digest = images.pull(f"{registry}/some/image@{made['digest']}")
    assert by_digest.root == image.root


@pytest.mark.parametrize(("form", "pack"), [("oci", gzipped), ("v2s2", gzipped), ("oci", zstd)])
def test_the_digest_is_the_registrys_own_in_every_form(form, pack, registry, layout, images):
    layout.image([entry("a", os.urandom(900))], pack=pack)
    target = f"{registry}/form-{form}"
    push(f"{layout.reference}:latest", f"{target}:1", "--format", form)
    told = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{target}:1"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert images.pull(f"{target}:1").digest == told


def test_a_moved_tag_changes_nothing_until_it_is_pulled(registry, layout, images):
    layout.image([entry("old")], tag="old")
    layout.image([entry("new")], tag="new")
    reference = f"{registry}/moving:1"
    push(f"{layout.reference}:old", reference)
    old = images.get(reference)
    push(f"{layout.reference}:new", reference)
    assert images.get(reference) == old
    assert (images.pull(reference).root.path / "new").exists()
    assert (images.find(reference).root.path / "new").exists()


def test_layers_that_are_here_are_not_fetched_again(registry, layout, images, tmp_path):
    base = [entry("base", os.urandom(100_000))]
    layout.image(base, tag="base")
    layout.image(base, [entry("more")], tag="more")
    push(f"{layout.reference}:base", f"{registry}/base:1")
    push(f"{layout.reference}:more", f"{registry}/more:1")
    images.pull(f"{registry}/base:1")
    blobs = {path: path.stat().st_ino for path in (tmp_path / "images/blobs").rglob("*")}
    images.pull(f"{registry}/more:1")
    for path, number in blobs.items():
        assert path.stat().st_ino == number


def test_a_blob_that_was_damaged_on_disk_is_fetched_again(registry, layout, images, tmp_path):
    layout.image([entry("f", os.urandom(50_000))])
    push(f"{layout.reference}:latest", f"{registry}/damaged:1")
    image = images.pull(f"{registry}/damaged:1")
    shutil.rmtree(image.root.path.parent)
    for blob in (tmp_path / "images/blobs/sha256").iterdir():
        blob.write_bytes(bytes(blob.stat().st_size))
    assert images.pull(f"{registry}/damaged:1") == image


def test_several_architectures_are_one_name(registry, layout, images):
    other = layout.image([entry("other")], whole={"architecture": "s390x"}, tag="s390x")
    own = layout.image([entry("own")], tag="own")
    layout.manifests.clear()
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {**other, "platform": {"os": "linux", "architecture": "s390x"}},
            {**own, "platform": {"os": "linux", "architecture": ARCHITECTURE}},
        ],
    }
    layout.list(layout.document(index, INDEX))
    push(layout.reference, f"{registry}/several:1", "--all")
    image = images.pull(f"{registry}/several:1")
    assert image.digest == own["digest"]
    assert (image.root.path / "own").exists()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{registry}/nothing:1", "it isn't there; check the name and the tag"),
        ("{registry}/nothing@sha256:" + "0" * 64, "it isn't there"),
        ("127.0.0.1:1/a", "nobody answers"),
        ("no.such.host.invalid/a", "there is no such host"),
        ("oci:/nowhere", "no OCI layout"),
        ("docker-archive:/nowhere.tar", "there is no such file"),
        ("docker-archive:/etc/hostname", "damaged"),
    ],
)
def test_what_is_not_there_is_one_clear_error(reference, message, registry, images, tmp_path):
    with pytest.raises(AssayError, match=message):
        images.pull(reference.format(registry=registry))
    assert_gone(images, tmp_path / "images")


def test_an_archive_of_docker_save_is_an_image(layout, images, tmp_path):
    layout.image([entry("a", b"1")], [entry(".wh.a"), entry("b", b"2")])
    file = tmp_path / "saved.tar"
    subprocess.run(
        [
            "skopeo",
            "copy",
            "-q",
            f"{layout.reference}:latest",
            f"docker-archive:{file}:some/a:1",
        ],
        check=True,
    )
    image = images.pull(f"docker-archive:{file}")
    assert (image.root.path / "b").read_text() == "2"
    assert images.pull(f"docker-archive:{file}:some/a:1").root == image.root
    with pytest.raises(ImageUnavailable, match="isn't there"):
        images.pull(f"docker-archive:{file}:other:1")


def test_an_archive_that_becomes_too_large_is_stopped(images, tmp_path, monkeypatch):
    """Skopeo uncompresses what is in one, so the sizes of its layers say nothing."""
    monkeypatch.setattr("assay.images.manifest._ALWAYS_BYTES", 1 << 20)
    layer = entry("zeros", bytes(32 << 20)) + END
    rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
    configuration = {"architecture": ARCHITECTURE, "os": "linux", "rootfs": rootfs}
    names = [{"Config": "c.json", "RepoTags": ["a/b:1"], "Layers": ["l.tar"]}]
    parts = {"c.json": configuration, "manifest.json": names}
    file = tmp_path / "bomb.tar"
    file.write_bytes(
        entry("l.tar", gzipped(layer))
        + b"".join(entry(name, json.dumps(part).encode()) for name, part in parts.items())
        + END
    )
    with pytest.raises(InvalidImage, match="more bytes than are taken"):
        images.pull(f"docker-archive:{file}")
    assert_gone(images, tmp_path / "images")


def status(number: int, words: str) -> Answer:
    content = json.dumps({"errors": [{"code": words, "message": words}]}).encode()
    return lambda request: request.send(content, "application/json", status=number)


def never(request: Request) -> None:
    request.wait()


def a_page(request: Request) -> None:
    request.send(b"<html>Welcome to the hotel's network</html>", "text/html")


def old_form(request: Request) -> None:
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    request.send(b'{"schemaVersion": 1, "name": "a", "fsLayers": []}', media_type)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (never, "nothing came any more"),
        (a_page, "damaged"),
        (old_form, "before 2016|damaged"),
        (status(401, "UNAUTHORIZED"), "skopeo login"),
        (status(403, "DENIED"), "skopeo login"),
        (status(404, "MANIFEST_UNKNOWN"), "isn't there"),
        (status(429, "TOOMANYREQUESTS"), "asked too often|skopeo login|too slow"),
        (status(500, "UNKNOWN"), "a problem of its own|can't be had"),
    ],
)
def test_a_registry_without_a_manifest_is_one_clear_error(answer, message, tmp_path):
    images = Images(tmp_path / "images", patience=IMPATIENT)
    start = time.monotonic()
    with a_bad_registry(answer) as host, pytest.raises(AssayError, match=message):
        images.pull(f"{host}/a:1")
    assert time.monotonic() - start < 60
    assert_gone(images, tmp_path / "images")


def of_blobs(layout: Layout, bad: Answer) -> Answer:
    """Answer honestly, but for the layer."""
    layer = json.loads(
        (layout.path / "blobs" / layout.manifests[0]["digest"].replace(":", "/")).read_text()
    )["layers"][0]["digest"]

    def answer(request: Request) -> None:
        if request.path.endswith(layer) and request.command == "GET":
            bad(request)
        else:
            honest(layout, request)

    return answer


def stalls(request: Request) -> None:
    request.send(bytes(5000), "application/octet-stream", length=200_000)
    request.wait()


def drips(request: Request) -> None:
    request.send(b"", "application/octet-stream", length=200_000)
    while True:
        request.wfile.write(b"x" * 100)
        time.sleep(0.1)


def breaks_off(request: Request) -> None:
    request.send(bytes(5000), "application/octet-stream", length=200_000)
    request.close_connection = True


def wrong(request: Request) -> None:
    request.send(os.urandom(200_000), "application/octet-stream")


def endless(request: Request) -> None:
    request.send(b"", "application/octet-stream", length=1 << 40)
    while True:
        request.wfile.write(bytes(1 << 16))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (stalls, ImageUnavailable, "nothing came any more"),
        (drips, ImageUnavailable, "too slow"),
        (breaks_off, ImageUnavailable, "broke off"),
        (wrong, InvalidImage, "damaged"),
        (endless, InvalidImage, "sends more than"),
    ],
)
def test_a_registry_with_bad_layers_is_one_clear_error(bad, error, message, layout, tmp_path):
    layout.image([entry("f", os.urandom(200_000))])
    images = Images(tmp_path / "images", patience=IMPATIENT)
    start = time.monotonic()
    with a_bad_registry(of_blobs(layout, bad)) as host, pytest.raises(error, match=message):
        images.pull(f"{host}/a:1")
    assert time.monotonic() - start < 60
    assert_gone(images, tmp_path / "images")


def test_an_honest_stub_shows_that_the_bad_ones_are_what_fails(layout, images):
    layout.image([entry("f", os.urandom(200_000))])
    with a_bad_registry(lambda request: honest(layout, request)) as host:
        assert (images.pull(f"{host}/a:1").root.path / "f").exists()


def test_another_manifest_than_the_digest_says_is_one_clear_error(layout, tmp_path):
    layout.image([entry("f")])
    images = Images(tmp_path / "images", patience=IMPATIENT)

    def answer(request: Request) -> None:
        request.path = request.path.replace("sha256:" + "1" * 64, "latest")
        honest(layout, request)

    with a_bad_registry(answer) as host, pytest.raises(InvalidImage):
        images.pull(f"{host}/a@sha256:{'1' * 64}")
    assert_gone(images, tmp_path / "images")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=300", "tmpfs", place], check=True
    )
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("what", ["bytes", "files"])
@pytest.mark.parametrize("where", ["layout", "registry"])
def test_a_disk_that_fills_is_one_clear_error(what, where, registry, layout, small_disk):
    many = [entry(f"f{n}", str(n).encode()) for n in range(400)]
    layout.image([entry("f", os.urandom(6 << 20))] if what == "bytes" else many, tag="large")
    layout.image([entry("f", os.urandom(1 << 20))], tag="small")
    images = Images(small_disk / "images")
    name = f"{layout.reference}:{{}}"
    if where == "registry":
        name = f"{registry}/disk-{what}:{{}}"
        for tag in ("large", "small"):
            push(f"{layout.reference}:{tag}", name.format(tag))
    with pytest.raises(DiskFull, match="no room for"):
        images.pull(name.format("large"))
    assert_gone(images, small_disk / "images")
    assert images.pull(name.format("small")).size_bytes > 1 << 20


PULL = """
import sys
from pathlib import Path
from assay.images import Images
print(Images(Path(sys.argv[1])).pull(sys.argv[2]).digest)
"""


def pulling(folder: Path, reference: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL, str(folder), reference], stdout=subprocess.PIPE, text=True
    )


def test_two_who_pull_the_same_image_at_once_both_have_it(registry, layout, tmp_path):
    layout.image(*([entry(f"{n}/{m}", os.urandom(3000)) for m in range(200)] for n in range(4)))
    reference = f"{registry}/at-once:1"
    push(f"{layout.reference}:latest", reference)
    folder = tmp_path / "images"
    processes = [pulling(folder, reference) for _ in range(4)]
    digests = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert digests == {layout.manifests[0]["digest"]}
    assert len(list((folder / "roots").iterdir())) == 1
    assert list((folder / "drafts").iterdir()) == []


def test_killed_at_any_moment_the_next_pull_works_and_nothing_is_left(registry, layout, tmp_path):
    layers = [[entry(f"{n}/{m}", os.urandom(4000)) for m in range(300)] for n in range(4)]
    made = layout.image(*layers)
    reference = f"{registry}/killed:1"
    push(f"{layout.reference}:latest", reference)
    folder = tmp_path / "images"
    images = Images(folder)
    start = time.monotonic()
    assert pulling(folder, reference).communicate(timeout=60)[0]
    whole = time.monotonic() - start
    images.collect_garbage(list)
    for part in range(1, 9):
        process = pulling(folder, reference)
        time.sleep(whole * part / 9)
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 30
    while programs_about(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert programs_about(folder) == []
    assert images.pull(reference).digest == made["digest"]
    images.collect_garbage(list)
    assert everything(folder) == []
    assert list((folder / "drafts").iterdir()) == []


def test_a_program_that_we_started_ends_with_us(layout, tmp_path):
    folder = tmp_path / "images"
    with a_bad_registry(never) as host:
        process = pulling(folder, f"{host}/a:1")
        deadline = time.monotonic() + 20
        while not skopeo_for(host) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert skopeo_for(host)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 20
        while skopeo_for(host) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not skopeo_for(host)


def skopeo_for(host: str) -> list[str]:
    return [line for line in programs_about(Path(host)) if "inspect" in line]


def programs_about(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line and process.name != str(os.getpid()):
            found.append(line.replace(b"\0", b" ").decode())
    return found


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch, images):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AssayError, match="apt-get install skopeo"):
        images.pull("127.0.0.1:1/a")


def test_zstd_that_is_missing_is_named_with_its_package(monkeypatch, layout, images):
    layout.image([entry("f")], pack=zstd)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AssayError, match="apt-get install zstd"):
        images.pull(layout.reference)


def test_layers_named_as_dockers_are_layers(layout, images):
    blob = layout.blob(gzipped(entry("f", b"x") + bytes(1024)))
    layout.image(
        entry("f", b"x") + bytes(1024),
        manifest={
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **blob}]
        },
    )
    assert (images.pull(layout.reference).root.path / "f").read_text() == "x"
