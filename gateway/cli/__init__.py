"""The command line `dsn-gateway`: `program` is all of it, each group of commands has a module."""

from gateway.cli.program import main

__all__ = ["main"]
