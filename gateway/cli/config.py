"""`config`: what is configured, and whether it can be."""

from __future__ import annotations

import typer

from gateway.cli.common import Config, DataDir, Json, Set, answer, settings_of

config_cli = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)


@config_cli.command("show")
def config_show(
    data_dir: DataDir = None, config: Config = None, options: Set = None, as_json: Json = False
) -> None:
    """Print every option as it is in effect."""
    settings = settings_of(config, options, data_dir=data_dir)
    from gateway import config as configuration

    answer(as_json, configuration.as_plain(settings), configuration.show(settings).rstrip())


@config_cli.command("check")
def config_check(config: Config = None, options: Set = None) -> None:
    """Check file and environment; exit code 78 names what is wrong."""
    settings_of(config, options)
    typer.echo("ok")


@config_cli.command("example")
def config_example() -> None:
    """Print a configuration file with every option at its default."""
    from gateway import config as configuration

    typer.echo(configuration.example(), nl=False)
