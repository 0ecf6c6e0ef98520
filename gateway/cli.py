"""The command line `dsn-gateway`: what each call takes, prints and returns.

Results go to standard output (`--json` for machines), everything else to standard error.
Exit codes: 0 done, 1 failed, 2 wrong call, 3 damage found, 75 data directory in use,
78 bad configuration, 130 and 143 ended by a second signal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

# Whatever takes long to import waits until its command runs: `keys create` is called in loops.
if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.rights import Limits

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DAMAGED = 3
EXIT_LOCKED = 75  # EX_TEMPFAIL
EXIT_CONFIG = 78  # EX_CONFIG

# By name, so that telling them apart imports nothing.
EXIT_CODES = {
    "ConfigError": EXIT_CONFIG,
    "DataDirLockedError": EXIT_LOCKED,
    "InvalidPolicyError": EXIT_USAGE,
    "RefusedError": EXIT_USAGE,
}

Progress = Callable[[int, int], None]

cli = typer.Typer(
    help="An S3-compatible gateway over permanent, content-addressed storage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
keys_cli = typer.Typer(help="Create, list and revoke access keys.", no_args_is_help=True)
buckets_cli = typer.Typer(help="Say what DELETE does in a bucket.", no_args_is_help=True)
config_cli = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)
quota_cli = typer.Typer(
    help="Limit what accounts and buckets may hold; in force at once.", no_args_is_help=True
)
cli.add_typer(keys_cli, name="keys")
cli.add_typer(buckets_cli, name="buckets")
cli.add_typer(quota_cli, name="quota")
cli.add_typer(config_cli, name="config")

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
        return _settings(
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

    _check_buckets(bucket or ())
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
    keys = KeyStore(_data_dir(data_dir, config))
    if anonymous:
        created = keys.create_anonymous(limits, account=account)
        secret_text = "none: who sends no key at all is let in"
    else:
        created = keys.create(
            access_key=access_key, secret=secret, key_only=key_only, account=account, limits=limits
        )
        secret_text = created.secret or "none: the access key is the secret; clients may send any"
    shown = _shown_limits(created.limits)
    _answer(
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

    keys = KeyStore(_data_dir(data_dir, config)).listed()
    if not keys:
        typer.echo("no keys; create one with: dsn-gateway keys create", err=True)
    rows: list[dict[str, Any]] = [
        {
            "access_key": key.access_key,
            "key_only": key.secret is None and not key.is_anonymous,
            "anonymous": key.is_anonymous,
            "account": key.account,
            "created": _time(key.created_us),
            "revoked": key.revoked_us and _time(key.revoked_us),
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
    _answer(as_json, {"keys": rows}, *lines)


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

    revoked = KeyStore(_data_dir(data_dir, config)).revoke(access_key)
    _answer(
        as_json,
        {"access_key": revoked.access_key, "revoked": _time(revoked.revoked_us or 0)},
        f"revoked {revoked.access_key}",
    )


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

    _log_beside_the_answer()
    globs = {"scratch": scratch or [], "hide": hide or [], "deny": deny or []}
    changes = mode is not None or any(globs.values())
    if (preset is not None) + changes + reset > 1:
        raise typer.BadParameter("--preset, --reset and a policy of its own exclude each other")
    where = _data_dir(data_dir, config)
    if preset is not None or changes:
        maintenance.set_delete_policy(where, account, bucket, make_policy(preset, mode, globs))
    elif reset:
        maintenance.set_delete_policy(where, account, bucket, None)
    policy = maintenance.delete_policy(where, account, bucket)
    text = None if policy is None else encode_policy(policy)
    _answer(
        as_json,
        {"bucket": bucket, "account": account, "policy": text and json.loads(text)},
        f"{bucket}  {text or 'as configured'}",
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

    _check_buckets(() if bucket is None else (bucket,))
    quota = Quota(account, bucket, size(bytes_max), objects_max, size(bytes_warn), objects_warn)
    QuotaStore(_data_dir(data_dir, config)).set(quota)
    _answer(as_json, asdict(quota), _quota_line(asdict(quota)))


@quota_cli.command("show")
def quota_show(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Show all quotas and how much of each is used."""
    from gateway.maintenance import usage
    from gateway.quotas import QuotaStore

    where = _data_dir(data_dir, config)
    quotas = QuotaStore(where).listed()
    used = usage(where, [(quota.account, quota.bucket) for quota in quotas])
    rows = [
        {**asdict(quota), "bytes_used": each.bytes, "objects_used": each.objects}
        for quota, each in zip(quotas, used, strict=True)
    ]
    _answer(as_json, {"quotas": rows}, *map(_quota_line, rows))


@cli.command()
def verify(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Check every stored byte against its CID. Exit code 3 when something is damaged."""
    from gateway import maintenance

    _log_beside_the_answer()
    with _bar("verifying", as_json) as progress:
        report = maintenance.verify(_data_dir(data_dir, config), progress)
    damages = [
        {
            "bucket": _text(damage.bucket),
            "key": _text(damage.key),
            "version": damage.version,
            "reason": damage.reason,
        }
        for damage in report.damages
    ]
    state = f"{len(damages)} damaged" if damages else "healthy"
    _answer(
        as_json,
        {
            "healthy": not damages,
            "objects": report.objects,
            "bytes": report.bytes,
            "damages": damages,
        },
        *(
            f"damaged  {_printable(d['bucket'] + '/' + d['key'])}  version {d['version']}  "
            f"{d['reason']}"
            for d in damages
        ),
        f"{state}: {report.objects} objects, {report.bytes} bytes checked",
    )
    if report.damages:
        raise typer.Exit(EXIT_DAMAGED)


@cli.command()
def rebuild(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Make the catalog again from the segments alone."""
    from gateway import maintenance

    _log_beside_the_answer()
    with _bar("rebuilding", as_json) as progress:
        report = maintenance.rebuild(_data_dir(data_dir, config), progress)
    _answer(
        as_json,
        asdict(report),
        f"rebuilt {report.buckets} buckets, {report.objects} objects and {report.uploads} uploads "
        f"from {report.segments} segments in {report.seconds:.1f} s",
    )


@cli.command()
def cid(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stored name; that of the file unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the CID that the network would give to a file."""
    from gateway.file_cid import file_cid

    stored_name = file.name if name is None else name
    with _bar("hashing", as_json) as progress:
        text = file_cid(file, stored_name, progress)
    _answer(as_json, {"cid": text, "name": stored_name, "bytes": file.stat().st_size}, text)


@cli.command("export")
def export_(
    address: Annotated[str, typer.Argument(metavar="BUCKET/KEY")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F.car", help="CAR to write.")],
    data_dir: DataDir = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="Who owns the object.")] = "main",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write an object with its whole DAG into a CAR file."""
    bucket, key = _bucket_and_key(address)
    from gateway import maintenance

    _log_beside_the_answer()
    with _bar("exporting", as_json) as progress:
        maintenance.export_object(
            _data_dir(data_dir, config), bucket, key, output, progress, account
        )
    size = output.stat().st_size
    _answer(as_json, {"output": str(output), "bytes": size}, f"{output}  {size} bytes")


@cli.command("import")
def import_(
    car: Annotated[Path, typer.Argument(metavar="F.car", exists=True, dir_okay=False)],
    address: Annotated[str, typer.Argument(metavar="BUCKET/KEY")],
    data_dir: DataDir = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="Who owns the new object.")] = "main",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Store the file whose DAG is in a CAR as an object. Prints its CID."""
    bucket, key = _bucket_and_key(address)
    from gateway import maintenance

    _log_beside_the_answer()
    with _bar("importing", as_json) as progress:
        text = maintenance.import_car(
            _data_dir(data_dir, config), account, car, bucket, key, progress
        )
    _answer(as_json, {"cid": text, "bucket": bucket, "key": key}, text)


@config_cli.command("show")
def config_show(
    data_dir: DataDir = None, config: Config = None, options: Set = None, as_json: Json = False
) -> None:
    """Print every option as it is in effect."""
    settings = _settings(config, options, data_dir=data_dir)
    from gateway import config as configuration

    _answer(as_json, configuration.as_plain(settings), configuration.show(settings).rstrip())


@config_cli.command("check")
def config_check(config: Config = None, options: Set = None) -> None:
    """Check file and environment; exit code 78 names what is wrong."""
    _settings(config, options)
    typer.echo("ok")


@config_cli.command("example")
def config_example() -> None:
    """Print a configuration file with every option at its default."""
    from gateway import config as configuration

    typer.echo(configuration.example(), nl=False)


@cli.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def bench(context: typer.Context) -> None:
    """Measure S3 endpoints side by side; `bench --help` says how."""
    from benchmarks.cli import main as benchmarks

    benchmarks(context.args, "dsn-gateway bench")


def _settings(config: Path | None, options: list[str] | None, **flags: object) -> Settings:
    from gateway.config import load

    given = dict(flags)
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {option}: write OPTION=VALUE")
        given[name.strip().replace("-", "_")] = value
    return load(config, given)


def _data_dir(given: Path | None, config: Path | None) -> Path:
    if given is not None and config is None:
        return given
    return _settings(config, None, data_dir=given).data_dir


def _log_beside_the_answer() -> None:
    from gateway import logs

    logs.configure("warning")


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise typer.BadParameter(f"{address!r} is not BUCKET/KEY")
    return bucket, key


def _check_buckets(names: Iterable[str]) -> None:
    from gateway.s3.address import check_bucket_name
    from gateway.s3.errors import S3Error

    for name in names:
        try:
            check_bucket_name(name)
        except S3Error:
            raise typer.BadParameter(f"{name!r} can be no bucket's name") from None


@contextmanager
def _bar(label: str, as_json: bool) -> Iterator[Progress | None]:
    """A progress bar for people who watch; None for everybody else."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _answer(as_json: bool, document: dict[str, Any], *lines: str) -> None:
    for line in [json.dumps(document)] if as_json else lines:
        typer.echo(line)


def _time(microseconds: int) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return moment.isoformat().replace("+00:00", "Z")


# Later than what a date can show.
_YEAR_10000_US = 253_402_300_800 * 1_000_000

_LIMITS = ("rights", "buckets", "prefixes", "expires")


def _shown_limits(limits: Limits | None) -> dict[str, Any]:
    """The limits of a key as they are printed; nothing for a key without."""
    if limits is None:
        return {}
    shown = limits.to_plain()
    expires_us = shown.pop("expires_us", None)
    return shown if expires_us is None else {**shown, "expires": _time(expires_us)}


def _quota_line(row: dict[str, Any]) -> str:
    names = ("bytes_used", "bytes_max", "bytes_warn", "objects_used", "objects_max", "objects_warn")
    values = "  ".join(f"{name} {row[name]}" for name in names if row.get(name) is not None)
    bucket = f"/{row['bucket']}" if row["bucket"] else ""
    return f"{row['account']}{bucket}  {values or 'no quota'}"


def _listed(value: str | list[str]) -> str:
    return _printable(value if isinstance(value, str) else ",".join(value))


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


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _printable(text: str) -> str:
    # A key may hold what drives a terminal.
    return text if text.isprintable() else ascii(text)
