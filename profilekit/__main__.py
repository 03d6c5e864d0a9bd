"""``python -m profilekit``, and the ``profilekit`` command."""

import sys
from importlib.abc import MetaPathFinder


class _NoPandas(MetaPathFinder):
    """Nothing here uses it, but where it is installed pyarrow imports it: 40 MB, and half a second."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def main() -> int:
    """Run the command line; say how to get it where its libraries are missing."""
    sys.meta_path.insert(0, _NoPandas())
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
