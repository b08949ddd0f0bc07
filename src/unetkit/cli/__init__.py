"""The command line: words in, words out. Everything heavy is imported inside the verb that needs it."""

from unetkit.cli.app import main

__all__ = ["main"]
