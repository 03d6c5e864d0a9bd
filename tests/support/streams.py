"""Standard streams that take nothing: a file descriptor for a child, or None to close it there."""

import os
from contextlib import contextmanager

CLOSED, FULL, UNREAD, LEFT = "closed", "full", "unread", "without a reader"
BROKEN = [CLOSED, FULL, UNREAD, LEFT]


@contextmanager
def broken(how):
    """Yield a stream that is broken in that way."""
    if how == CLOSED:
        yield None
        return
    if how == FULL:
        descriptors = [os.open("/dev/full", os.O_WRONLY)]
    else:
        descriptors = [*os.pipe()][::-1]
        if how == UNREAD:
            fill(descriptors[0])
        else:
            os.close(descriptors.pop())
    try:
        yield descriptors[0]
    finally:
        for each in descriptors:
            os.close(each)


def fill(descriptor):
    """Write to a pipe until it takes no more."""
    os.set_blocking(descriptor, False)
    try:
        for size in (4096, 1):
            try:
                while True:
                    os.write(descriptor, b"\n" * size)
            except BlockingIOError:
                continue
    finally:
        os.set_blocking(descriptor, True)


def with_closed(arguments, *numbers):
    """Return a command that closes descriptors, and becomes another."""
    return ["sh", "-c", f'exec "$@" {" ".join(f"{number}>&-" for number in numbers)}', "sh", *arguments]
