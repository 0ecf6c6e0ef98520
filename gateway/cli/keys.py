"""`keys`: who may call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import (
    Config,
    DataDir,
    Json,
    answer,
    check_buckets,
    data_dir_of,
    printable,
    time_text,
)

if TYPE_CHECKING:
    from gateway.rights import Limits

keys_cli = typer.Typer(help="Create, list and revoke access keys.", no_args_is_help=True)

# Later than what a date can show.
_YEAR_10000_US = 253_402_300_800 * 1_000_000
_LIMITS = ("rights", "buckets", "prefixes", "expires")


@keys_cli.command("create")
def keys_create(
    data_dir: DataDir = None,
    access_key: Annotated[
        str | None, typer.Option(metavar="K", help="Made up unless given.")
    ] = None,
    secret: Annotated[str | None, typer.Option(metavar="S", help="Made up unless given.")] = None,
    key_only: Annotated[
        bool, typer.Option("--key-only", help="The access key alone identifies, as on Auto Drive.")
    ] = False,
    anonymous: Annotated[
        bool,
        typer.Option("--anonymous", help="For anybody without a key: read, or list, --bucket."),
    ] = False,
    account: Annotated[
        str, typer.Option(metavar="NAME", help="Who owns what the key stores.")
    ] = "main",
    rights: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Of read, write, create (never supersedes), list and admin; all unless given, "
            "read for --anonymous.",
        ),
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="For this bucket only; repeatable."),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="For keys that begin with this only; repeatable."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="A time as 2027-01-31T12:00Z, or from now as 12h, 30d."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create an access key; running servers know it at once. Its secret is shown only now."""
    if key_only and secret is not None:
        raise typer.BadParameter("--secret and --key-only exclude each other")
    if anonymous and (access_key or secret or key_only):
        raise typer.BadParameter("--anonymous is without a key and without a secret")
    from gateway.keys import KeyStore
    from gateway.rights import ALL_RIGHTS, Limits, Right, parse_rights

    check_buckets(bucket or ())
    try:
        limits = Limits(
            parse_rights(rights.split(","))
            if rights is not None
            else (frozenset({Right.READ}) if anonymous else ALL_RIGHTS),
            tuple(bucket or ()),
            tuple(prefix or ()),
            None if expires is None else _expiry(expires),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    keys = KeyStore(data_dir_of(data_dir, config))
    if anonymous:
        created = keys.create_anonymous(limits, account=account)
        secret_text = "none: who sends no key at all is let in"
    else:
        created = keys.create(
            access_key=access_key, secret=secret, key_only=key_only, account=account, limits=limits
        )
        secret_text = created.secret or "none: the access key is the secret; clients may send any"
    shown = _shown_limits(created.limits)
    answer(
        as_json,
        {
            "access_key": created.access_key,
            "secret": created.secret,
            "account": created.account,
            **shown,
        },
        f"access key  {created.access_key}",
        f"secret      {secret_text}",
        f"account     {created.account}",
        *(f"{name:11} {_listed(value)}" for name, value in shown.items()),
    )
    if key_only and len(created.access_key) < 22:
        typer.echo("warning: a short access key without a secret can be guessed", err=True)


@keys_cli.command("list")
def keys_list(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """List all keys, revoked ones too, without their secrets."""
    from gateway.keys import KeyStore

    keys = KeyStore(data_dir_of(data_dir, config)).listed()
    if not keys:
        typer.echo("no keys; create one with: dsn-gateway keys create", err=True)
    rows: list[dict[str, Any]] = [
        {
            "access_key": key.access_key,
            "key_only": key.secret is None and not key.is_anonymous,
            "anonymous": key.is_anonymous,
            "account": key.account,
            "created": time_text(key.created_us),
            "revoked": key.revoked_us and time_text(key.revoked_us),
            **_shown_limits(key.limits),
        }
        for key in keys
    ]
    width = max((len(key.access_key) for key in keys), default=0)
    lines = (
        f"{row['access_key']:{width}}  {_kind(row):9}  "
        f"{row['account']}  created {row['created']}"
        + (f"  revoked {row['revoked']}" if row["revoked"] else "")
        + "".join(f"  {name} {_listed(row[name])}" for name in _LIMITS if name in row)
        for row in rows
    )
    answer(as_json, {"keys": rows}, *lines)


def _kind(row: Mapping[str, Any]) -> str:
    if row["anonymous"]:
        return "anonymous"
    return "key-only" if row["key_only"] else "secret"


@keys_cli.command("revoke")
def keys_revoke(
    access_key: Annotated[str, typer.Argument(metavar="K", help="Access key, or its label.")],
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Revoke a key; running servers refuse it within a second."""
    from gateway.keys import KeyStore

    revoked = KeyStore(data_dir_of(data_dir, config)).revoke(access_key)
    answer(
        as_json,
        {"access_key": revoked.access_key, "revoked": time_text(revoked.revoked_us or 0)},
        f"revoked {revoked.access_key}",
    )


def _shown_limits(limits: Limits | None) -> dict[str, Any]:
    """The limits of a key as they are printed; nothing for a key without."""
    if limits is None:
        return {}
    shown = limits.to_plain()
    expires_us = shown.pop("expires_us", None)
    return shown if expires_us is None else {**shown, "expires": time_text(expires_us)}


def _listed(value: str | list[str]) -> str:
    return printable(value if isinstance(value, str) else ",".join(value))


def _expiry(text: str) -> int:
    """Microseconds since 1970 of `--expires`; ValueError for what is no time, or in the past."""
    import time
    from datetime import UTC, datetime

    now_us = time.time_ns() // 1000
    units = {"m": 60, "h": 3600, "d": 86_400}
    if text[-1:] in units and text[:-1].isdecimal():
        expires_us = now_us + int(text[:-1]) * units[text[-1]] * 1_000_000
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"--expires {text}: write 2027-01-31T12:00Z, 45m, 12h or 30d"
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        expires_us = int(moment.timestamp() * 1_000_000)
    if expires_us <= now_us:
        raise ValueError(f"--expires {text} is not in the future")
    if expires_us >= _YEAR_10000_US:
        raise ValueError(f"--expires {text} is later than any date")
    return expires_us
