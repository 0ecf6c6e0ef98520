"""`quota`: what accounts and buckets may hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from gateway.cli.common import Config, DataDir, Json, answer, check_buckets, data_dir_of

quota_cli = typer.Typer(
    help="Limit what accounts and buckets may hold; in force at once.", no_args_is_help=True
)


@quota_cli.command("set")
def quota_set(
    data_dir: DataDir = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="Whose quota it is.")] = "main",
    bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this bucket alone.")
    ] = None,
    bytes_max: Annotated[
        str | None, typer.Option("--bytes", metavar="SIZE", help="Refuse more, as 500GiB.")
    ] = None,
    objects_max: Annotated[
        int | None, typer.Option("--objects", min=0, metavar="N", help="Refuse more versions.")
    ] = None,
    bytes_warn: Annotated[
        str | None, typer.Option("--warn-bytes", metavar="SIZE", help="Warn of more.")
    ] = None,
    objects_warn: Annotated[
        int | None, typer.Option("--warn-objects", min=0, metavar="N", help="Warn of more.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Set the quota of an account or a bucket. It replaces the old one; no limits remove it.

    Every version that was committed counts, because every one is kept.
    """
    from gateway.quotas import Quota, QuotaStore, parse_size

    def size(text: str | None) -> int | None:
        try:
            return None if text is None else parse_size(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    check_buckets(() if bucket is None else (bucket,))
    quota = Quota(account, bucket, size(bytes_max), objects_max, size(bytes_warn), objects_warn)
    QuotaStore(data_dir_of(data_dir, config)).set(quota)
    answer(as_json, asdict(quota), _quota_line(asdict(quota)))


@quota_cli.command("show")
def quota_show(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Show all quotas and how much of each is used."""
    from gateway.maintenance import usage
    from gateway.quotas import QuotaStore

    where = data_dir_of(data_dir, config)
    quotas = QuotaStore(where).listed()
    used = usage(where, [(quota.account, quota.bucket) for quota in quotas])
    rows = [
        {**asdict(quota), "bytes_used": each.bytes, "objects_used": each.objects}
        for quota, each in zip(quotas, used, strict=True)
    ]
    answer(as_json, {"quotas": rows}, *map(_quota_line, rows))


def _quota_line(row: dict[str, Any]) -> str:
    names = ("bytes_used", "bytes_max", "bytes_warn", "objects_used", "objects_max", "objects_warn")
    values = "  ".join(f"{name} {row[name]}" for name in names if row.get(name) is not None)
    bucket = f"/{row['bucket']}" if row["bucket"] else ""
    return f"{row['account']}{bucket}  {values or 'no quota'}"
