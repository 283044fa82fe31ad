"""Only regular files are read: nothing that never ends, and no more bytes than are allowed."""

import os
import socket

import pytest

from pagbench.storage import files


def test_a_file_is_read_whole_up_to_its_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        files.read_regular(tmp_path / "a", 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_pipes_devices_sockets_and_folders_are_refused_without_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe")
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "to zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "to pipe", "to zero", "/dev/tty", "socket"):
            with pytest.raises(OSError):
                files.read_regular(name, 10)
            with pytest.raises(OSError):
                files.sha256_of(tmp_path / name)
    with pytest.raises(OSError, match="a folder, expected a file"):
        files.open_regular(tmp_path)
    with pytest.raises(OSError, match="a pipe, device or socket, expected a file"):
        files.open_regular("to pipe")
