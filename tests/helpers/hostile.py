"""What a confined process might be made to do; each is run there by a test. Nothing here is a test."""

import os
import socket
import time
from pathlib import Path


def sleeps():
    yield "begun"
    time.sleep(60)


def computes():
    while True:
        pass
    yield


def eats():
    kept = []
    while True:
        kept.append(bytearray(1 << 24))
    yield


def floods():
    while True:
        yield "x" * 1000


def speaks_long():
    yield "x" * 100_000


def prints():
    os.write(1, b"not what was yielded")
    os.write(2, b"nor this")
    yield "said"


def connects(port):
    """By the C library."""
    import ctypes
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    address = struct.pack("<H", socket.AF_INET) + struct.pack(">H", int(port)) + bytes([127, 0, 0, 1]) + bytes(8)
    opened = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    yield libc.connect(opened, address, len(address)) == 0


def writes(path):
    Path(path).write_bytes(bytes(1 << 20))
    yield "written"


def crashes():
    os.abort()
    yield


def fails():
    raise ValueError("first line\nsecond line")
    yield


def environment():
    yield sorted(os.environ)
