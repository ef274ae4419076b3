"""What layers may do: their files, owners and times, and what a layer hides of lower ones."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from making import END, Layout, entry, folder, gzipped, link, plain, records, same, zstd

from assay.domain.errors import InvalidImage
from assay.images import Images
from assay.images.store import Store

OURS = ("proc", "dev", "sys", "tmp", "workspace", ".assay", "etc", "etc/hosts")
NANOSECONDS = 1_000_000_000


def files(root: Path) -> dict[str, str]:
    """Every file with its content, every link with its target, every folder; not what is ours."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name in OURS:
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
        else:
            found[name] = "/"
    return found


def unpacked(images: Images, layout: Layout, *layers: list[bytes]) -> Path:
    layout.image(*layers)
    return images.pull(layout.reference).root.path


@pytest.mark.parametrize("pack", [plain, gzipped, zstd])
def test_layers_may_be_packed_in_any_usual_way(pack, layout, images):
    layout.image([entry("a", b"text" * 100_000)], pack=pack)
    root = images.pull(layout.reference).root.path
    assert (root / "a").read_bytes() == b"text" * 100_000


def test_a_gzip_stream_may_have_several_members(layout, images):
    archive = entry("a", b"1" * 9000) + END
    layout.image(archive, pack=lambda content: gzipped(content[:700]) + gzipped(content[700:]))
    assert (images.pull(layout.reference).root.path / "a").read_bytes() == b"1" * 9000


def test_owners_modes_and_times_are_kept(layout, images):
    root = unpacked(
        images,
        layout,
        [
            folder("d", mode=0o2750, owner=5, group=6, time=1000),
            entry("d/f", b"x", mode=0o640, owner=7, group=8, time=2000),
            entry("d/g", b"x", mode=0o640, owner=65535, extended={"mtime": "2000.123456789"}),
        ],
    )
    facts = (root / "d").stat()
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid) == (0o2750, 5, 6)
    assert facts.st_mtime == 1000
    facts = (root / "d/f").stat()
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid) == (0o640, 7, 8)
    assert facts.st_mtime == 2000
    assert (root / "d/g").stat().st_mtime_ns == 2000 * NANOSECONDS + 123456789
    assert (root / "d/g").stat().st_uid == 65535


def test_ids_that_no_sandbox_has_become_nobody(layout, images):
    root = unpacked(images, layout, [entry("f", owner=65536, group=1_000_660_000)])
    assert ((root / "f").stat().st_uid, (root / "f").stat().st_gid) == (65534, 65534)


def test_an_offset_is_added_to_every_owner(layout, tmp_path):
    layout.image([folder("d"), entry("d/f", owner=10), link("l", "d")])
    root = Images(tmp_path / "images", owner_offset=1).pull(layout.reference).root.path
    assert (root / "d/f").stat().st_uid == 11
    assert {(root / name).lstat().st_uid for name in (".", "d", "l")} == {1}


def test_set_user_id_and_capabilities_are_taken_away(layout, images):
    capability = {"SCHILY.xattr.security.capability": b"\1\0\0\2\xff\0\0\0" + bytes(12)}
    root = unpacked(
        images, layout, [entry("su", mode=0o6755), entry("ping", extended=capability, mode=0o755)]
    )
    assert (root / "su").stat().st_mode & 0o7777 == 0o755
    assert os.listxattr(root / "ping") == []


def test_folders_that_nobody_names_are_made(layout, images):
    root = unpacked(images, layout, [entry("a/b/c", b"x")])
    assert (root / "a/b").stat().st_mode & 0o7777 == 0o755
    assert files(root)["a/b/c"] == "x"


def test_links_between_folders_are_followed_within_the_root(layout, images):
    root = unpacked(
        images,
        layout,
        [folder("usr/lib"), link("lib", "usr/lib"), link("lib64", "/usr/lib")],
        [entry("lib/a", b"1"), entry("lib64/b", b"2")],
    )
    assert files(root)["usr/lib/a"] == "1"
    assert files(root)["usr/lib/b"] == "2"
    assert files(root)["lib64"] == "-> /usr/lib"


def test_a_whiteout_hides_what_lower_layers_have(layout, images):
    root = unpacked(
        images,
        layout,
        [entry("keep", b"k"), entry("gone", b"g"), entry("tree/deep/file", b"f")],
        [entry(".wh.gone"), entry(".wh.tree"), entry(".wh.never")],
    )
    assert files(root) == {"keep": "k"}


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_whiteout_spares_what_its_own_layer_has(order, layout, images):
    layer = [entry("d/new", b"n"), entry("f", b"new")]
    whiteouts = [entry(".wh.d"), entry(".wh.f")]
    root = unpacked(
        images,
        layout,
        [entry("d/old", b"o"), entry("f", b"old")],
        whiteouts + layer if order == "first" else layer + whiteouts,
    )
    assert files(root) == {"d": "/", "d/new": "n", "f": "new"}


@pytest.mark.parametrize("order", ["first", "last"])
def test_an_opaque_whiteout_hides_all_that_a_folder_had(order, layout, images):
    layer = [entry("d/new", b"n"), entry("d/sub/new", b"s")]
    whiteouts = [entry("d/.wh..wh..opq")]
    root = unpacked(
        images,
        layout,
        [entry("d/old", b"o"), entry("d/sub/old", b"o"), link("d/link", "x")],
        whiteouts + layer if order == "first" else layer + whiteouts,
    )
    assert files(root) == {"d": "/", "d/new": "n", "d/sub": "/", "d/sub/new": "s"}


def test_a_later_layer_may_hide_what_an_earlier_one_made(layout, images):
    layers = [[entry("f", b"1")], [entry(".wh.f")], [entry("f", b"3")], [entry(".wh.f")]]
    assert files(unpacked(images, layout, *layers)) == {}


def test_a_layer_may_put_one_kind_of_thing_in_the_place_of_another(layout, images):
    root = unpacked(
        images,
        layout,
        [
            folder("a"),
            entry("a/x"),
            entry("b", b"file"),
            link("c", "b"),
            folder("e"),
            link("l", "e"),
        ],
        [entry("a", b"now a file"), folder("b"), entry("c", b"no link"), folder("l"), entry("l/n")],
    )
    assert files(root) == {
        "a": "now a file", "b": "/", "c": "no link", "e": "/", "l": "/", "l/n": "",
    }  # fmt: skip


def test_what_comes_twice_is_what_came_last(layout, images):
    root = unpacked(images, layout, [entry("f", b"1"), folder("f"), entry("f", b"2")])
    assert files(root) == {"f": "2"}


def test_hard_links_are_one_file(layout, images):
    root = unpacked(
        images, layout, [entry("a", b"x"), same("b", "a"), same("c", "./b"), link("l", "a")],
        [same("d/e", "c"), same("m", "l")],
    )  # fmt: skip
    assert len({(root / name).stat().st_ino for name in ("a", "b", "c", "d/e")}) == 1
    assert files(root)["m"] == "-> a"


def test_long_names_and_odd_ones_are_kept(layout, images):
    long = "/".join(["d" * 200] * 5)
    odd = "a b\n\t'\"\\é"
    root = unpacked(
        images,
        layout,
        [
            entry("x", b"1", extended={"path": long}),
            entry("long", long.encode() + b"2\0", kind=b"L") + entry("x", b"2"),
            link("to", "x"),
            entry("y", kind=b"2", extended={"path": "link", "linkpath": long}),
            entry(odd, b"odd"),
            entry(b"\xff\xfe", b"not UTF-8"),
        ],
    )
    found = files(root)
    assert (found[long], found[long + "2"], found["link"]) == ("1", "2", f"-> {long}")
    assert found[odd] == "odd"
    assert (os.fsencode(root) + b"/\xff\xfe").decode("utf-8", "surrogateescape")
    assert Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")).read_text() == "not UTF-8"


def test_devices_in_dev_and_pipes_are_passed_over(layout, images):
    root = unpacked(
        images, layout,
        [folder("dev"), entry("dev/null", kind=b"3"), entry("./dev/sda", kind=b"4"),
         entry("run/initctl", kind=b"6")],
    )  # fmt: skip
    assert list((root / "dev").iterdir()) == []
    assert not (root / "run/initctl").exists()


def test_remarks_for_all_entries_are_passed_over(layout, images):
    layer = [records({"comment": "a commit", "path": "elsewhere"}, b"g"), entry("f", b"x")]
    assert files(unpacked(images, layout, layer)) == {"f": "x"}


def test_years_before_1970_and_beyond_reason_are_no_reason_to_refuse(layout, images):
    root = unpacked(
        images,
        layout,
        [entry("a", extended={"mtime": "-62135596800"}), entry("b", extended={"mtime": "9" * 18})],
    )
    assert (root / "a").stat().st_mtime == 0
    assert (root / "b").stat().st_mtime > 0


def test_every_root_has_what_drivers_need(layout, images):
    root = unpacked(images, layout, [link("var/tmp", "/etc"), entry("etc/hosts", b"")])
    for name in ("proc", "dev", "sys", "tmp", "workspace", ".assay", "var/tmp"):
        assert stat.S_ISDIR((root / name).lstat().st_mode), name
    assert (root / "etc/hosts").read_text().startswith("127.0.0.1 localhost\n")
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_a_hosts_file_of_the_image_is_left_alone(layout, images):
    root = unpacked(images, layout, [entry("etc/hosts", b"127.0.0.1 mine\n")])
    assert (root / "etc/hosts").read_text() == "127.0.0.1 mine\n"


def test_files_are_on_disk_once_whatever_the_layers_are(layout, images, tmp_path):
    base = [entry(f"f{number}", bytes([number]) * 5000, owner=number) for number in range(50)]
    big = entry("big", os.urandom(3 << 20))
    one = unpacked(images, layout, [*base, big])
    other = Layout(tmp_path / "other")
    other.image([big], base[:25], [*base[25:], entry("own", b"x")])
    two = images.pull(other.reference).root.path
    assert one != two
    for name in ("big", *(f"f{number}" for number in range(50))):
        assert (one / name).samefile(two / name)
    assert not (one / "big").samefile(one / "f1")


def test_other_owners_modes_or_times_are_other_files(layout, images):
    root = unpacked(
        images, layout,
        [entry("a", b"x"), entry("b", b"x", owner=1), entry("c", b"x", mode=0o755),
         entry("d", b"x", time=5), entry("e", b"x")],
    )  # fmt: skip
    assert len({(root / name).stat().st_ino for name in "abcd"}) == 4
    assert (root / "a").samefile(root / "e")


def test_a_file_with_as_many_links_as_there_can_be_is_made_again(layout, on_disk):
    images = Images(on_disk / "images")
    root = unpacked(images, layout, [entry("a", b"x")])
    (on_disk / "links").mkdir()
    for number in range(200_000):
        try:
            os.link(root / "a", on_disk / f"links/{number}")
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            break
    layout.image([entry("b", b"x"), entry("c", b"x"), same("d", "c")], tag="two")
    other = images.pull(f"{layout.reference}:two").root.path
    assert (other / "b").samefile(other / "c")
    assert (other / "b").samefile(other / "d")
    assert not (root / "a").samefile(other / "b")


def test_what_was_being_written_at_a_power_cut_is_not_shared(layout, images, tmp_path):
    root = unpacked(images, layout, [entry("a", b"x")])
    (tmp_path / "images/unpacking").write_text("another boot")
    os.utime(tmp_path / "images/unpacking", (0, 0))
    layout.image([entry("b", b"x")], tag="two")
    other = images.pull(f"{layout.reference}:two").root.path
    assert not (root / "a").samefile(other / "b")
    assert (other / "b").read_text() == "x"
    assert not (tmp_path / "images/unpacking").exists()


def test_a_pull_that_fails_leaves_nothing(layout, images, tmp_path):
    layout.image([entry("a", b"x" * 100), entry("..", b"y")])
    with pytest.raises(InvalidImage):
        images.pull(layout.reference)
    store = tmp_path / "images"
    assert list((store / "drafts").iterdir()) == []
    assert not (store / "roots").exists()
    assert images.all() == []
    images.collect_garbage(list)
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_a_store_says_nothing_of_what_it_cannot_read(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/x").write_text("{")
    assert store.pins() == []
