"""``python -m profilekit``, and the ``profilekit`` command."""

import sys


def main() -> int:
    """Run the command line; say how to get it where its libraries are missing."""
    try:
        from profilekit.cli import run  # noqa: PLC0415 - an extra
    except KeyboardInterrupt:
        # What is imported takes long enough for a Ctrl-C.
        return 130
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write("profilekit: the command line needs its extra: pip install 'profilekit[cli]'\n")
        return 2
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
