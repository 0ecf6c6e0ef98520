"""What all commands share: options that many take, and how answers are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

# Whatever takes long to import waits until its command runs: `keys create` is called in loops.
if TYPE_CHECKING:
    from gateway.config import Settings

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where everything is stored.")
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration in TOML.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="OPTION=VALUE", help="Any option of the configuration."),
]


def settings_of(config: Path | None, options: list[str] | None, **flags: object) -> Settings:
    """The configuration, with what `--set` and other flags say; ConfigError."""
    from gateway.config import load

    given = dict(flags)
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {option}: write OPTION=VALUE")
        given[name.strip().replace("-", "_")] = value
    return load(config, given)


def data_dir_of(given: Path | None, config: Path | None) -> Path:
    """The data directory that is given, else the configured one; ConfigError."""
    if given is not None and config is None:
        return given
    return settings_of(config, None, data_dir=given).data_dir


def log_beside_the_answer() -> None:
    """Have warnings go to standard error."""
    from gateway import logs

    logs.configure("warning")


def check_buckets(names: Iterable[str]) -> None:
    """Returns if all can be names of buckets; typer.BadParameter names one that cannot."""
    from gateway.s3.address import check_bucket_name
    from gateway.s3.errors import S3Error

    for name in names:
        try:
            check_bucket_name(name)
        except S3Error:
            raise typer.BadParameter(f"{name!r} can be no bucket's name") from None


def answer(as_json: bool, document: dict[str, Any], *lines: str) -> None:
    """Print the document for machines, or the lines for people."""
    for line in [json.dumps(document)] if as_json else lines:
        typer.echo(line)


def time_text(microseconds: int) -> str:
    """A time, given in microseconds since 1970, in ISO 8601."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def printable(text: str) -> str:
    """The text, or its escaped form where it is not fit for a terminal."""
    # A key may hold what drives a terminal.
    return text if text.isprintable() else ascii(text)
