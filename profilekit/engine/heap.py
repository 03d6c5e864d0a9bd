"""What the C library's allocator is told, so that no answer costs a page fault."""

__all__ = ["keep_pages"]

_LARGE = 1024 * 1024


def keep_pages() -> None:
    """Let freed memory of up to two megabytes stay with the process, for the next answers.

    glibc gives the top of the heap back to the system as soon as 128 KiB of it are free, which a batch
    of answers leaves behind each time, and faults it in again for the next. To have freed something
    large once raises that bound to twice its size. It touches no memory; elsewhere it does nothing.
    """
    bytearray(_LARGE)
