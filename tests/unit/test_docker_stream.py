"""The attach stream is cut back into what the script wrote, however it arrives."""

import fcntl
import resource
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from controller.engines.docker_stream import Attachment, Demultiplexer


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=20),
    cuts=st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=40),
)
def test_every_byte_comes_out_once_in_order_whatever_the_pieces(frames, cuts):
    """Cutting the stream anywhere changes neither the bytes nor which stream they belong to."""
    wire = b"".join(frame(stream, data) for stream, data in frames)
    demultiplexer, out, at = Demultiplexer(), [], 0

    for n in range(len(wire)):
        piece = wire[at : at + cuts[n % len(cuts)]]
        at += len(piece)
        out += demultiplexer.feed(piece)

    got = [(stream, byte) for stream, data in out for byte in data]
    assert got == [(stream, byte) for stream, data in frames for byte in data]


def test_a_descriptor_above_1023_can_be_read():
    """A server with many clients has such; select() would fail there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    near, far = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD_CLOEXEC, 2000))
    near.close()
    attachment = Attachment(high)

    far.sendall(frame(1, b"hello"))
    arrived = attachment.read(5)

    attachment.close()
    far.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert arrived == [(1, b"hello")]


def test_a_header_in_two_pieces_is_put_together():
    """A header may be cut in its middle."""
    wire = frame(2, b"oops")
    demultiplexer = Demultiplexer()

    first, second = list(demultiplexer.feed(wire[:3])), list(demultiplexer.feed(wire[3:]))

    assert first == []
    assert second == [(2, b"oops")]
