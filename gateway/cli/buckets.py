"""`buckets`: what DELETE does in a bucket."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli.common import Config, DataDir, Json, answer, data_dir_of, log_beside_the_answer

buckets_cli = typer.Typer(help="Say what DELETE does in a bucket.", no_args_is_help=True)


@buckets_cli.command("policy")
def buckets_policy(
    bucket: Annotated[str, typer.Argument(metavar="BUCKET")],
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="archive, restic, pgbackrest, terraform, registry or rclone."
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="deny or hide, for what no glob names.")
    ] = None,
    scratch: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Keys to remove; repeatable.")
    ] = None,
    hide: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Keys to hide; repeatable.")
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Keys to keep; repeatable.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Leave it to the configuration again.")
    ] = False,
    account: Annotated[str, typer.Option(metavar="NAME", help="Who owns the bucket.")] = "main",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show or set what DELETE does in a bucket. Running servers know it at once."""
    from gateway import maintenance
    from gateway.delete_policy import encode_policy, make_policy

    log_beside_the_answer()
    globs = {"scratch": scratch or [], "hide": hide or [], "deny": deny or []}
    changes = mode is not None or any(globs.values())
    if (preset is not None) + changes + reset > 1:
        raise typer.BadParameter("--preset, --reset and a policy of its own exclude each other")
    where = data_dir_of(data_dir, config)
    if preset is not None or changes:
        maintenance.set_delete_policy(where, account, bucket, make_policy(preset, mode, globs))
    elif reset:
        maintenance.set_delete_policy(where, account, bucket, None)
    policy = maintenance.delete_policy(where, account, bucket)
    text = None if policy is None else encode_policy(policy)
    answer(
        as_json,
        {"bucket": bucket, "account": account, "policy": text and json.loads(text)},
        f"{bucket}  {text or 'as configured'}",
    )
