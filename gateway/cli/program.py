"""The command line `dsn-gateway`: what each call takes, prints and returns.

Results go to standard output (`--json` for machines), everything else to standard error.
Exit codes: 0 done, 1 failed, 2 wrong call, 3 damage found, 75 data directory in use,
78 bad configuration, 130 and 143 ended by a second signal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.buckets import buckets_cli
from gateway.cli.common import Config, DataDir, Set, settings_of
from gateway.cli.config import config_cli
from gateway.cli.keys import keys_cli
from gateway.cli.quota import quota_cli
from gateway.cli.store import store_cli

if TYPE_CHECKING:
    from gateway.config import Settings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LOCKED = 75  # EX_TEMPFAIL
EXIT_CONFIG = 78  # EX_CONFIG

# By name, so that telling them apart imports nothing.
EXIT_CODES = {
    "ConfigError": EXIT_CONFIG,
    "DataDirLockedError": EXIT_LOCKED,
    "InvalidPolicyError": EXIT_USAGE,
    "RefusedError": EXIT_USAGE,
}

cli = typer.Typer(
    help="An S3-compatible gateway over permanent, content-addressed storage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    try:
        cli(prog_name="dsn-gateway")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Our own errors say what to do. Anything else is a bug, and shows where.
        if isinstance(error, OSError) or type(error).__module__.startswith(("gateway.", "dsn.")):
            for line in str(error).splitlines():
                print(f"dsn-gateway: {line}", file=sys.stderr)  # noqa: T201
            sys.exit(EXIT_CODES.get(type(error).__name__, EXIT_FAILED))
        raise
    sys.exit(0)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"dsn-gateway {version('dsn-gateway')}")
        except PackageNotFoundError:
            typer.echo("dsn-gateway (not installed)")
        raise typer.Exit


@cli.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@cli.command()
def serve(
    data_dir: DataDir = None,
    addr: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Where to listen, or unix:/path; repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.")] = None,
    config: Config = None,
    base_path: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Where S3 is mounted, / for the root; repeatable."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain in PEM, for https.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key in PEM.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="auto, json or console.")
    ] = None,
    options: Set = None,
) -> None:
    """Run the gateway. SIGTERM ends it and lets requests in flight finish.

    SIGHUP loads the configuration anew.
    """

    def load() -> Settings:
        return settings_of(
            config,
            options,
            data_dir=data_dir,
            addr=addr or None,
            workers=workers,
            base_path=base_path or None,
            tls_cert=tls_cert,
            tls_key=tls_key,
            log_level=log_level,
            log_format=log_format,
        )

    settings = load()
    from gateway import supervisor

    raise typer.Exit(supervisor.serve(settings, load))


cli.add_typer(store_cli)
cli.add_typer(keys_cli, name="keys")
cli.add_typer(buckets_cli, name="buckets")
cli.add_typer(quota_cli, name="quota")
cli.add_typer(config_cli, name="config")


@cli.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def bench(context: typer.Context) -> None:
    """Measure S3 endpoints side by side; `bench --help` says how."""
    from benchmarks.cli import main as benchmarks

    benchmarks(context.args, "dsn-gateway bench")
