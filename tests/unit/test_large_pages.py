"""Memory in large pages: the same memory."""

from controller.large_pages import collapse


def test_what_is_in_memory_stays_as_it_is():
    """Whether or not this kernel has large pages, what was written is read."""
    kept = [bytes([number]) * (1 << 20) for number in range(16)]

    made = collapse()

    assert made >= 0
    assert kept == [bytes([number]) * (1 << 20) for number in range(16)]
