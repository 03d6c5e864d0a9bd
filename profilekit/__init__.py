"""profilekit: user profiles from Amplitude and UserFlux, fast, within their quotas.

A request is a value, a vendor is a value, and one engine interprets both::

    async with ProfileClient(amplitude.Account(secret_key="...")) as client:
        profile = await client.send(amplitude.GetProfile("user-1", get_amp_props=True))
"""

from importlib import import_module

# As of typing, which takes longer to import than all that the command line needs to hear a Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from profilekit._api import *  # noqa: F403 - its __all__ is the list
else:
    # Imported on first use, so that the command line can be interrupted while the engine is imported.
    def __getattr__(name: str) -> object:
        """Return a submodule, or a public name."""
        try:
            return import_module(f"profilekit.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"profilekit.{name}":
                raise
        public = import_module("profilekit._api")
        if name not in public.__all__ and name != "__all__":
            raise AttributeError(f"module 'profilekit' has no attribute {name!r}")
        value = globals()[name] = getattr(public, name)
        return value

    def __dir__() -> list[str]:
        """Return all names, imported or not."""
        return sorted({*globals(), *import_module("profilekit._api").__all__})
