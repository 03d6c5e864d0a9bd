"""``python -m profilekit``, and the ``profilekit`` command."""

import os
import select
import signal
import sys

_INTERRUPTED = 130


class _NoPandas:
    """Nothing here uses it, but where it is installed pyarrow imports it: 40 MB, and half a second."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def main() -> int:
    """Run the command line; say how to get it where its libraries are missing."""
    # Where a shell starts it in the background, Ctrl-C is ignored.
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, _end_now)
    from profilekit.stdio import protect  # noqa: PLC0415 - once a Ctrl-C is heard

    protect()
    sys.meta_path.insert(0, _NoPandas())
    try:
        from profilekit.cli import run  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write("profilekit: the command line needs its extra: pip install 'profilekit[cli]'\n")
        return 2
    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = run(sys.argv[1:])
    if is_heard:
        # All is done: a KeyboardInterrupt would only add a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


def _end_now(*_: object) -> None:
    """End while modules are imported: an exception could be lost there, or taken for a broken module."""
    try:
        # A write to a pipe that is full would block.
        if select.select([], [2], [], 0)[1]:
            os.write(2, b"profilekit: interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
