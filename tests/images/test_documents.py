"""References, indexes, manifests, configurations and accounts: what they mean, and which lie."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import ARCHITECTURE, CONFIGURATION, INDEX, LAYER, MANIFEST, Layout, entry, folder, link

from assay.domain.errors import AssayError, ImageUnavailable, InvalidImage, InvalidInput
from assay.images import Images
from assay.images.manifest import read_configuration, read_manifest
from assay.images.reference import FromRegistry, parse
from assay.images.store import Store

HEX = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("debian", "debian:latest"),
        ("debian:12", "debian:12"),
        ("docker://debian:12", "debian:12"),
        ("registry:5000/a/b", "registry:5000/a/b:latest"),
        (f"registry:5000/a/b@{HEX}", f"registry:5000/a/b@{HEX}"),
        (f"debian:12@{HEX}", f"debian@{HEX}"),
        ("[::1]:5000/a:b", "[::1]:5000/a:b"),
        ("oci:/a/../b", "oci:/b"),
        ("oci:/a:tag", "oci:/a:tag"),
        ("oci:/a:b/c", "oci:/a:b/c"),
        ("docker-archive:/a.tar:x/y:1", "docker-archive:/a.tar:x/y:1"),
        ("/etc/hostname", "/etc/hostname"),
    ],
)
def test_a_reference_is_understood(reference, text):
    assert parse(reference).text == text
    assert parse(text).text == text


@pytest.mark.parametrize(
    "reference",
    [
        "", "Debian", "a b", "-x", "--help", "debian:", "debian:-x", "a//b", "a/../b", "a@md5:1",
        "debian@sha256:0", "ftp://x", "oci:", "oci:/a:!", "docker-archive:", "docker-archive:a:!B",
        "a" * 300, "a\nb", "a\0b", "docker://", "host:port:1/a", "ä", "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(reference, images):
    with pytest.raises(InvalidInput):
        parse(reference)
    with pytest.raises(InvalidInput):
        images.find(reference)


@given(st.text())
def test_any_text_is_a_reference_or_a_clear_error(text):
    try:
        source = parse(text)
    except InvalidInput:
        return
    assert parse(source.text) == source
    assert not source.text.startswith("-")


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:80"])
def test_plain_http_is_for_this_machine(host):
    source = parse(f"{host}/a")
    assert isinstance(source, FromRegistry)
    assert source.loopback


@pytest.mark.parametrize(
    "host", ["example.org", "127.example.org:5000", "localhost.evil.org", "10.0.0.1:5"]
)
def test_plain_http_is_for_no_other(host):
    source = parse(f"{host}/a")
    assert isinstance(source, FromRegistry)
    assert not source.loopback


def test_a_dockerfile_may_be_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "Dockerfile").touch()
    monkeypatch.chdir(tmp_path)
    for reference in (".", "./", "./Dockerfile", str(tmp_path)):
        assert parse(reference).text == str(tmp_path / "Dockerfile")


def a_manifest(**changes: object) -> bytes:
    config = {"mediaType": CONFIGURATION, "digest": HEX, "size": 2}
    layers = [{"mediaType": LAYER, "digest": HEX, "size": 2}]
    right = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    return json.dumps({**right, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b"{}", "neither"),
        (b"\xff", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"a":' * 100_000, "damaged"),
        (b" " * (5 << 20), "larger"),
        (a_manifest(schemaVersion=1), "before 2016"),
        (a_manifest(manifests=[]), "neither"),
        (a_manifest(mediaType=INDEX), "calls itself"),
        (a_manifest(mediaType=None), "damaged"),
        (a_manifest(layers=[{"digest": HEX, "size": 1}]), "layer 1 calls itself"),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": HEX, "size": -1}]), "damaged"),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": HEX, "size": 1e300}]), "damaged"),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": HEX, "size": "1"}]), "damaged"),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": "x", "size": 1}]), "no sha256"),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": HEX, "size": 1 << 40}]), "64 GiB"),
        (
            a_manifest(layers=[{"mediaType": LAYER, "digest": "sha256:../../../etc", "size": 1}]),
            "no sha256",
        ),
        (
            a_manifest(layers=[{"mediaType": LAYER, "digest": "sha512:" + "a" * 128, "size": 1}]),
            "no sha256",
        ),
        (a_manifest(layers=[{"mediaType": LAYER, "digest": HEX, "size": 1}] * 300), "300 layers"),
        (a_manifest(config={"mediaType": LAYER, "digest": HEX, "size": 1}), "configuration calls"),
        (
            a_manifest(
                layers=[{"mediaType": LAYER, "digest": HEX, "size": 1, "urls": ["http://10.0.0.1"]}]
            ),
            "kept elsewhere",
        ),
    ],
)
def test_a_manifest_that_lies_is_one_clear_error(content, message):
    with pytest.raises(InvalidImage, match=message):
        read_manifest(content, "it")


def a_configuration(**changes: object) -> dict[str, object]:
    return {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [HEX]},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "riscv64"}, "for linux/riscv64; this machine is"),
        ({"os": "windows"}, "for windows/"),
        ({"architecture": ""}, "no architecture"),
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "0 layers, the manifest of 1"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "no sha256"),
        ({"rootfs": {"type": "other", "diff_ids": [HEX]}}, "speaks of"),
        ({"rootfs": None}, "damaged"),
        ({"config": {"Env": ["A"]}}, "no NAME=VALUE"),
        ({"config": {"Env": ["=x"]}}, "no NAME=VALUE"),
        ({"config": {"Env": ["A=\0"]}}, "no NAME=VALUE"),
        ({"config": {"Env": [f"A{n}=x" for n in range(2000)]}}, "larger than programs"),
        ({"config": {"Env": ["A=" + "x" * 100_000]}}, "larger than programs"),
        ({"config": {"Env": "A=b"}}, "damaged"),
        ({"config": {"User": "x" * 5000}}, "USER is too long"),
        ({"config": {"WorkingDir": "/\0"}}, "WORKDIR is too long, or"),
        ({"config": {"Entrypoint": ["a\0b"]}}, "ENTRYPOINT is too long, or"),
        ({"config": {"Cmd": "sh"}}, "damaged"),
        ({"config": {"Entrypoint": [""] * 100_000}}, "ENTRYPOINT is too long"),
        ({"config": {"Env": ["A=" + "€" * 30_000]}}, "larger than programs"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_clear_error(changes, message):
    manifest = read_manifest(a_manifest(), "it")
    content = json.dumps(a_configuration(**changes)).encode()
    with pytest.raises(InvalidImage, match=message):
        read_configuration(content, manifest, "it")  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(HEX),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["config", "layers", "manifests", "mediaType", "digest", "size", "rootfs", "diff_ids",
             "platform", "os", "architecture", "annotations", "Env", "User", "schemaVersion"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_any_document_is_read_or_refused(document):
    content = json.dumps(document).encode()
    for read in (
        lambda: read_manifest(content, "it"),
        lambda: read_configuration(content, read_manifest(a_manifest(), "it"), "it"),
    ):
        with suppress(InvalidImage):
            read()


def test_what_an_author_says_is_known(layout, images):
    layout.image(
        [entry("etc/passwd", b"app:x:1000:1001::/:\n"), entry("etc/group", b"staff:x:50:\n")],
        config={
            "User": "app:staff", "Env": ["PATH=/bin", "A=b=c", "A=d"], "WorkingDir": "/srv/app",
            "Entrypoint": ["/bin/app"], "Cmd": ["--help"],
        },
    )  # fmt: skip
    image = images.pull(layout.reference)
    assert (image.root.user, image.root.group) == (1000, 50)
    assert dict(image.root.environment) == {"PATH": "/bin", "A": "d"}
    assert image.root.working_folder == "/srv/app"
    assert (image.root.path / "srv/app").is_dir()
    assert image.configuration.entrypoint == ("/bin/app",)
    assert image.configuration.command == ("--help",)
    assert image.root.owners
    assert images.find(layout.reference) == image


PASSWD = b"root:x:0:0::/:\napp:x:1000:1001::/:\n# odd\nbroken:x\nzero:x:1002:0::/:\n" + b"\xff:::\n"


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("", (10001, 10001)),
        ("root", (10001, 10001)),
        ("0:0", (10001, 10001)),
        ("nobody", None),
        ("65534", (10001, 10001)),
        ("app", (1000, 1001)),
        ("1000", (1000, 1001)),
        ("app:5", (1000, 5)),
        ("app:staff", (1000, 50)),
        ("2000", (2000, 2000)),
        ("2000:3000", (2000, 3000)),
        ("zero", (1002, 1002)),
        ("1002:root", (1002, 1002)),
        ("65533", (65533, 65533)),
        ("65535", None),
        ("99999999999", None),
        ("-1", None),
        ("app:nogroup", None),
        (":staff", (10001, 10001)),
        ("broken", None),
    ],
)
def test_a_user_is_the_images_own(user, found, layout, images):
    layout.image(
        [entry("etc/passwd", PASSWD), entry("etc/group", b"root:x:0:\nstaff:x:50:\n")],
        config={"User": user},
    )
    if found is None:
        with pytest.raises(InvalidImage, match="USER"):
            images.pull(layout.reference)
    else:
        root = images.pull(layout.reference).root
        assert (root.user, root.group) == found


@pytest.mark.parametrize(
    ("passwd", "message"),
    [
        ([link("etc/passwd", "/dev/zero")], "not in its /etc/passwd"),
        ([link("etc/passwd", "../../../../etc/passwd")], "not in its /etc/passwd"),
        ([folder("etc/passwd")], "no file of a sensible size"),
        ([entry("etc/passwd", b"x" * (2 << 20))], "no file of a sensible size"),
        ([entry("etc/passwd", bytes(range(256)) * 100)], "not in its /etc/passwd"),
        ([], "not in its /etc/passwd"),
    ],
)
def test_hostile_accounts_are_one_clear_error(passwd, message, layout, images):
    layout.image(passwd, config={"User": "daemon"})
    with pytest.raises(InvalidImage, match=message):
        images.pull(layout.reference)
    assert images.all() == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", "/workspace"),
        ("/", "/workspace"),
        ("/app", "/app"),
        ("/app/./x/", "/app/x"),
        ("/link", "/app"),
        ("//app", "/app"),
        ("app", None),
        ("/a/../b", None),
        ("/proc/x", None),
        ("/dev", None),
        ("/.assay", None),
        ("/sys/x", None),
        ("/toproc", None),
        ("/file", None),
        ("/nowhere", None),
        ("/notext", None),
        ("/a\nb", None),
        ("/\x1b[2J", None),
        ("/" + "a" * 300, None),
    ],
)
def test_a_working_folder_is_a_folder_of_the_image(wanted, found, layout, images, tmp_path):
    layout.image(
        [folder("app"), link("link", "app"), link("toproc", "/proc"), entry("file"),
         folder("\udcff"), link("notext", b"\xff"),
         link("nowhere", str(tmp_path / "elsewhere"))],
        config={"WorkingDir": wanted},
    )  # fmt: skip
    if found is None:
        with pytest.raises(InvalidImage, match="WORKDIR"):
            images.pull(layout.reference)
        assert images.all() == []
    else:
        root = images.pull(layout.reference).root
        assert root.working_folder == found
        assert (root.path / found[1:]).is_dir()


def test_of_several_architectures_the_machines_own_is_taken(layout, images):
    other = layout.image([entry("other")], whole={"architecture": "s390x"})
    own = layout.image([entry("own")])
    layout.manifests.clear()
    attestation = {**other, "platform": {"os": "unknown", "architecture": "unknown"}}
    newer = {**other, "platform": {"os": "linux", "architecture": ARCHITECTURE, "variant": "v9"}}
    right = {**own, "platform": {"os": "linux", "architecture": ARCHITECTURE}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, newer, right]}
    layout.list(layout.document(index, INDEX))
    assert (images.pull(layout.reference).root.path / "own").exists()


def test_an_image_for_another_machine_is_one_clear_error(layout, images):
    other = layout.image([entry("other")], whole={"architecture": "s390x"})
    with pytest.raises(InvalidImage, match="for linux/s390x; this machine is linux/"):
        images.pull(layout.reference)
    layout.manifests.clear()
    layout.list({**other, "platform": {"os": "linux", "architecture": "s390x"}})
    with pytest.raises(InvalidImage, match="is for linux/s390x; this machine"):
        images.pull(layout.reference)


def test_indexes_without_end_are_one_clear_error(layout, images):
    inner = layout.image([entry("f")])
    for _ in range(10):
        index = {"schemaVersion": 2, "manifests": [inner]}
        inner = layout.document(index, INDEX)
    layout.manifests.clear()
    layout.list(inner)
    with pytest.raises(InvalidImage, match="without end"):
        images.pull(layout.reference)


def test_tags_choose_and_a_missing_one_is_named(layout, images):
    layout.image([entry("one")], tag="1")
    layout.image([entry("two")], tag="2")
    assert (images.pull(f"{layout.reference}:2").root.path / "two").exists()
    with pytest.raises(InvalidImage, match="several images; add one of the tags: 1, 2"):
        images.pull(layout.reference)
    with pytest.raises(InvalidImage, match="no tag '3'; tags: 1, 2"):
        images.pull(f"{layout.reference}:3")


def test_what_is_no_layout_is_one_clear_error(images, tmp_path):
    with pytest.raises(ImageUnavailable, match="no OCI layout"):
        images.pull(f"oci:{tmp_path}")
    (tmp_path / "index.json").mkdir()
    with pytest.raises(InvalidImage, match="no file of a sensible size"):
        images.pull(f"oci:{tmp_path}")


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["gone", "short", "other"])
def test_a_layout_that_is_not_whole_is_one_clear_error(which, how, layout, images):
    found = layout.image([entry("f", b"x" * 100)])
    blob = layout.path / "blobs" / found["digest"].replace(":", "/")
    if which != "manifest":
        manifest = json.loads(blob.read_bytes())
        part = manifest["config"] if which == "config" else manifest["layers"][0]
        blob = layout.path / "blobs" / part["digest"].replace(":", "/")
    content = blob.read_bytes()
    blob.unlink()
    if how != "gone":
        blob.write_bytes(content[:-1] if how == "short" else bytes(len(content)))
    with pytest.raises(InvalidImage):
        images.pull(layout.reference)
    assert images.all() == []


def test_a_pin_stays_until_it_is_pulled_again(layout, images):
    layout.image([entry("old")])
    old = images.pull(layout.reference)
    layout.manifests.clear()
    layout.image([entry("new")])
    assert images.find(layout.reference) == old
    assert images.get(layout.reference) == old
    new = images.pull(layout.reference)
    assert images.find(layout.reference) == new
    assert new.digest != old.digest
    assert [image.digest for image in images.all()] == [new.digest, old.digest]


def test_an_image_that_nobody_has_pulled_is_not_found(images, layout):
    assert images.find("debian:12") is None
    assert images.find("./nowhere") is None
    assert images.all() == []
    assert images.collect_garbage(list).images == 0


def test_a_root_that_lost_its_record_is_made_again(layout, images):
    layout.image([entry("f", b"x")])
    image = images.pull(layout.reference)
    (image.root.path.parent / "image").write_text("{")
    assert images.find(layout.reference) is None
    assert images.get(layout.reference) == image


def test_garbage_is_what_nobody_keeps_or_uses(layout, images, tmp_path):
    for tag in "abc":
        layout.image([entry("common", b"x" * 9000), entry(tag, tag.encode() * 9000)], tag=tag)
    kept, used, gone = (images.pull(f"{layout.reference}:{tag}") for tag in "abc")
    with images.using(used):
        assert images.collect_garbage(lambda: [kept.digest]).images == 1
    assert [image.digest for image in images.all()] == [kept.digest, used.digest]
    assert images.find(gone.reference) is None
    assert (kept.root.path / "common").read_bytes() == b"x" * 9000
    files = [path for path in (tmp_path / "images/files").rglob("*") if path.is_file()]
    assert len(files) == 3
    with pytest.raises(ImageUnavailable, match="has just been removed"), images.using(gone):
        pass
    assert images.collect_garbage(list).images == 2
    left = [path for path in (tmp_path / "images").rglob("*") if not path.is_dir()]
    assert left == []


def test_what_was_pulled_while_garbage_waited_is_asked_about(layout, images, tmp_path):
    layout.image([entry("f", b"x")])
    removed = []

    def collect() -> None:
        known = images.collect_garbage(lambda: [image.digest for image in images.all()])
        removed.append(known.images)

    collector = Thread(target=collect)
    with Store(tmp_path / "images").reading():  # as somebody who pulls
        collector.start()
        collector.join(0.2)
        assert removed == []
        image = images.pull(layout.reference)
    collector.join()
    assert removed == [0]
    assert images.find(layout.reference) == image


def test_an_ordinary_user_may_be_told_where_it_cannot_be_kept(layout, tmp_path):
    layout.image([entry("f")])
    (tmp_path / "file").touch()
    with pytest.raises(AssayError, match="can't be kept in"):
        Images(tmp_path / "file/images").pull(layout.reference)


def test_progress_is_told_to_the_end(layout, images):
    layout.image([entry("f", os.urandom(2 << 20))])
    told = []
    images.pull(layout.reference, on_progress=told.append)
    assert told[-1].done == told[-1].total
    assert {progress.step for progress in told} == {f"unpacking {layout.reference}"}
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


def test_who_gives_up_while_unpacking_leaves_nothing(layout, images, tmp_path):
    layout.image([entry("f", os.urandom(2 << 20)), entry("g", os.urandom(2 << 20))])

    def give_up(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images.pull(layout.reference, on_progress=give_up)
    assert list((tmp_path / "images/drafts").iterdir()) == []
    assert images.all() == []


def test_finding_takes_milliseconds(layout, images):
    layout.image([entry("f")])
    images.pull(layout.reference)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        assert images.find(layout.reference)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005


def test_paths_of_a_layout_are_not_taken_from_its_documents(layout: Layout, images, tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    layout.image([entry("f")])
    evil = {"mediaType": MANIFEST, "digest": "sha256:" + "../" * 10 + "etc", "size": 6}
    layout.manifests.clear()
    layout.list(evil)
    with pytest.raises(InvalidImage, match="no sha256 digest"):
        images.pull(layout.reference)
