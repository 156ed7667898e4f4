"""The checksums of a directory."""

import os
import shutil
import socket

import pytest

from mmgen_jax.training import manifest


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "array").write_bytes(bytes(range(256)))
    (tmp_path / "config").write_bytes(b"{}")
    manifest.write(tmp_path)
    return tmp_path


def test_whole(directory):
    assert manifest.fault(directory) is None


def test_without_manifest(directory):
    (directory / manifest.NAME).unlink()
    assert manifest.fault(directory) == "MANIFEST.json is missing (the save did not finish)"


@pytest.mark.parametrize("bit", range(0, 8 * 256, 97))
def test_flipped_bit(directory, bit):
    array = directory / "state" / "d" / "array"
    content = bytearray(array.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    array.write_bytes(content)
    assert manifest.fault(directory) == "state/d/array is damaged (its SHA-256 differs)"


def test_every_flipped_bit_of_the_manifest(directory):
    path = directory / manifest.NAME
    whole = path.read_bytes()
    harmless = 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        harmless += manifest.fault(directory) is None
    # White space between the entries may turn into other white space, nothing else may change.
    assert harmless <= whole.count(b"\n") + whole.count(b" ")


def test_truncated(directory):
    (directory / "state" / "d" / "array").write_bytes(bytes(range(255)))
    assert "state/d/array is damaged" in manifest.fault(directory)


@pytest.mark.parametrize("kept", (0, 2, 40))
def test_truncated_manifest(directory, kept):
    path = directory / manifest.NAME
    path.write_bytes(path.read_bytes()[:kept])
    assert "MANIFEST.json cannot be read" in manifest.fault(directory)


def test_missing_file(directory):
    (directory / "config").unlink()
    assert manifest.fault(directory) == "config is missing"


def test_only_some_files(directory):
    (directory / "config").unlink()
    assert manifest.fault(directory, under="state/") is None


def test_more_files_are_no_fault(directory):
    (directory / ".DS_Store").write_bytes(b"a desktop was here")
    assert manifest.fault(directory) is None


def listen(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("name", ["state/d/more", "more", ".DS_Store", "state/.zarray", "a\nb"])
@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("it is a pipe, not a file", os.mkfifo),
        ("it is a socket, not a file", listen),
        ("it is a device, not a file", lambda path: path.symlink_to("/dev/zero")),
        ("it is a folder, not a file", lambda path: path.symlink_to(path.parent.absolute())),
        ("No such file or directory", lambda path: path.symlink_to("nothing")),
    ],
)
def test_what_is_neither_a_file_nor_a_folder_is_a_fault(
    directory, name, said, made, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    made(type(directory)(name))
    shown = repr(name) if "\n" in name else name
    assert manifest.fault(directory) == f"{shown}: {said}"
    with pytest.raises(OSError, match=said):
        manifest.write(directory)
    assert manifest.fault(directory, under="config") is None


def test_a_link_to_a_file_of_the_same_content_is_no_fault(directory, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    (directory / "config").rename(outside)
    (directory / "config").symlink_to(outside)
    assert manifest.fault(directory) is None


def vanish(directory):
    shutil.rmtree(directory)


def become_a_file(directory):
    shutil.rmtree(directory)
    directory.write_bytes(b"")


@pytest.mark.parametrize("change", [vanish, become_a_file])
@pytest.mark.parametrize("part", [".", "state", "state/d"])
def test_what_vanishes_while_it_is_checked_is_not_whole(directory, monkeypatch, change, part):
    scandir, changed = os.scandir, []

    def deleting(path):
        if not changed and str(path) == str(directory / part):
            changed.append(path)
            monkeypatch.setattr(os, "scandir", scandir)
            change(directory / part)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deleting)
    found = manifest.fault(directory)
    assert changed and found is not None and "\n" not in found
    assert found.startswith("it cannot be read ([Errno ")
