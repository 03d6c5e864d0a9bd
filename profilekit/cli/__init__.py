"""The command line: ``profilekit demo``, ``get``, ``update``, ``enrich``, ``outbox`` and ``simulate``."""

from profilekit.cli.app import run

__all__ = ["run"]
