"""Every option of the gateway: its unit, its default and one line of meaning.

A flag wins over the environment (`DSN_GATEWAY_<OPTION>`), the environment over the TOML file,
the file over the default. A key that means nothing is an error that names it: a typing error
in an option would otherwise be found when it is needed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from gateway.delete_policy import parse_policy

ENV_PREFIX = "DSN_GATEWAY_"

# Names with our prefix that are no option: where the file is.
ENV_CONFIG = "DSN_GATEWAY_CONFIG"

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds one line for each fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class TcpAddress:
    """A host name or IP address and a port; port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """The path of a Unix domain socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Reads `HOST:PORT`, `[IPv6]:PORT`, `:PORT` (every IPv4 interface) or `unix:/path`.

    Raises ValueError with the forms that are accepted.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//")
        if not path:
            raise ValueError(f"{text!r} names no path; write unix:/path")
        return UnixAddress(Path(path))
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, [IPv6]:PORT, :PORT or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:3000")
    return TcpAddress(host or "0.0.0.0", int(port))


def _split(value: object) -> object:
    # The environment and a one-element TOML value give text where a list is meant.
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _addresses(value: object) -> object:
    items = _split(value)
    if not isinstance(items, (list, tuple)):
        return items
    return tuple(parse_address(item) if isinstance(item, str) else item for item in items)


def _base_paths(value: object) -> object:
    items = _split(value)
    if not isinstance(items, (list, tuple)):
        return items
    return tuple(dict.fromkeys(_base_path(item) for item in items))


def _base_path(item: object) -> object:
    if not isinstance(item, str):
        return item
    if not item.startswith("/"):
        raise ValueError(f"{item!r} must start with a slash")
    if "//" in item or "?" in item or "#" in item or "%" in item or not item.isprintable():
        raise ValueError(f"{item!r} must be plain path segments, as in /s3")
    return item.rstrip("/") or "/"


def _domains(value: object) -> object:
    items = _split(value)
    if not isinstance(items, (list, tuple)):
        return items
    return tuple(dict.fromkeys(_domain(item) for item in items))


def _domain(item: object) -> object:
    if not isinstance(item, str):
        return item
    name = item.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(name) or _IPV4.fullmatch(name):
        raise ValueError(f"{item!r} must be a host name without a port, as in s3.example.org")
    return name


_DOMAIN = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def _home(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, (str, Path)) and value != "" else value


def default_data_dir() -> Path:
    """`dsn-gateway` in the XDG data home (`~/.local/share` unless `XDG_DATA_HOME` says else)."""
    home = os.environ.get("XDG_DATA_HOME", "")
    # https://specifications.freedesktop.org/basedir-spec/latest/: relative paths are ignored.
    base = Path(home) if home.startswith("/") else Path("~/.local/share").expanduser()
    return base / "dsn-gateway"


def _policy(text: str) -> str:
    parse_policy(text)
    return text


def _bucket_policies(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        bucket, equals, policy = item.partition("=")
        if not bucket or not equals:
            raise ValueError(f"{item!r}: write BUCKET=POLICY")
        parse_policy(policy)
    return items


_Path = Annotated[Path, BeforeValidator(_home)]


class Settings(BaseSettings):
    """All options, checked; built by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    # Where things are
    data_dir: _Path = Field(
        default_factory=default_data_dir,
        description="Directory of everything that is stored, of the catalog and of the keys.",
    )
    addr: Annotated[
        tuple[InstanceOf[TcpAddress] | InstanceOf[UnixAddress], ...],
        NoDecode,
        BeforeValidator(_addresses),
    ] = Field(
        default=(TcpAddress("127.0.0.1", 3000),),
        min_length=1,
        description="Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT or unix:/path.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that serve the same store; 1 serves without forking.",
    )
    base_path: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_base_paths)] = Field(
        default=("/s3",),
        min_length=1,
        description='Paths where S3 is mounted; "/" mounts it at the root (restic, minio-py).',
    )
    domains: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_domains)] = Field(
        default=(),
        description="Domains below which the host names the bucket, as in bucket.s3.example.org.",
    )
    tls_cert: _Path | None = Field(
        default=None,
        description="PEM file with the certificate chain; with tls_key it turns on https.",
    )
    tls_key: _Path | None = Field(
        default=None,
        description="PEM file with the private key of tls_cert.",
    )
    region: str = Field(
        default="us-east-1",
        pattern=r"^[a-z0-9-]{1,64}$",
        description="Region that bucket answers report; signatures may name any.",
    )
    cid_header: str = Field(
        default="x-amz-meta-cid",
        pattern=r"^x-(amz-meta|dsn)-[a-z0-9-]{1,60}$",
        description="Header with an object's CID; x-dsn-cid keeps it out of the metadata.",
    )
    implicit_buckets: bool = Field(
        default=True,
        description="The first write to a bucket makes it; false: it must be there, as on AWS.",
    )
    global_buckets: bool = Field(
        default=False,
        description="One bucket name for all accounts, as on AWS; policies and lists may share it.",
    )
    object_ownership: Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] = (
        Field(
            default="BucketOwnerEnforced",
            description="With global_buckets: of buckets that set none; the others have ACLs.",
        )
    )

    # Storage
    segment_bytes_max: int = Field(
        default=GIB,
        ge=MIB,
        description="A shared segment is sealed at this length; a large body has its own segment.",
    )
    free_space_reserve_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        description="Writes are refused with 507 when less than this is free on the data disk.",
    )

    # Limits of S3
    part_bytes_min: int = Field(
        default=5 * MIB,
        ge=0,
        description="Smallest part of a multipart upload, the last one excepted.",
    )
    object_bytes_max: int = Field(
        default=5 * TIB,
        ge=1,
        description="Largest object, however it was uploaded.",
    )
    put_bytes_max: int = Field(
        default=5 * TIB,
        ge=1,
        description="Largest body of one PutObject or UploadPart (5 GiB on AWS).",
    )

    # What DELETE does
    delete_policy: Annotated[str, AfterValidator(_policy)] = Field(
        default="deny",
        description="What DELETE does: deny, hide, a preset, or JSON; see docs/deleting.md.",
    )
    bucket_delete_policies: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_bucket_policies)
    ] = Field(
        default=(),
        description="BUCKET=POLICY each; what `dsn-gateway buckets` set comes before.",
    )
    lifecycle_day_seconds: int = Field(
        default=86_400,
        ge=1,
        description="Length of a day to lifecycle rules; shorter ones are for trying rules out.",
    )

    # Limits of connections
    upload_buffer_bytes_max: int = Field(
        default=160 * MIB,
        ge=8 * MIB,
        description="Memory of a worker for all uploads in flight; when spent, 503 SlowDown.",
    )
    download_buffer_bytes_max: int = Field(
        default=64 * MIB,
        ge=4 * MIB,
        description="Memory of a worker to read ahead for downloads; when spent, they go slower.",
    )
    header_seconds_max: float = Field(
        default=20,
        gt=0,
        description="Time to receive the header section of a request.",
    )
    body_idle_seconds_max: float = Field(
        default=30,
        gt=0,
        description="Longest silence inside a body before the connection is cut.",
    )
    keepalive_seconds_max: float = Field(
        default=75,
        gt=0,
        description="How long an idle connection is kept for the next request.",
    )
    drain_seconds_max: float = Field(
        default=30,
        ge=0,
        description="How long SIGTERM waits for requests in flight before it cuts them.",
    )
    clock_skew_seconds_max: float = Field(
        default=900,
        gt=0,
        description="Largest difference between the time in a signature and ours.",
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severe log line that is written: debug, info, warning or error.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="json: one object a line; console: for people; auto: console on a terminal.",
    )
    access_log: bool = Field(
        default=True,
        description="One log line for each request.",
    )

    @model_validator(mode="after")
    def _tls_is_a_pair(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; only one is set")
        return self

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.tls_cert else "http"


def load(config: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings from flags, environment, file and defaults, in this precedence.

    `config` is the TOML file; without it `DSN_GATEWAY_CONFIG` may name one. Of `flags`, options
    whose value is None were not given. Raises ConfigError with every fault found.
    """
    if config is None and os.environ.get(ENV_CONFIG):
        config = Path(os.environ[ENV_CONFIG])
    given: dict[str, Any] = {
        key: value for key, value in (flags or {}).items() if value is not None
    }
    in_file = _read(config) if config else {}
    problems = [
        *(f"{config}: {_unknown(key)}" for key in in_file if key not in Settings.model_fields),
        *(f"environment: {_unknown(key)}" for key in _unknown_in_environment()),
    ]
    if problems:
        raise ConfigError(problems)

    in_environment = EnvSettingsSource(Settings)()
    try:
        return Settings(**{**in_file, **in_environment, **given})
    except ValidationError as error:
        raise ConfigError(
            [_problem(fault, given, in_file, config) for fault in error.errors()]
        ) from None


RELOADABLE = frozenset(
    {
        *("access_log", "log_format", "log_level", "tls_cert", "tls_key"),
        *("body_idle_seconds_max", "object_bytes_max", "put_bytes_max"),
    }
)
"""Options that a running server takes over on SIGHUP."""


def reloaded(current: Settings, fresh: Settings) -> tuple[Settings, list[str]]:
    """The settings with what can change while running taken over from newly loaded ones.

    Beside them the names of the options that changed and need a restart.
    """
    changed = [
        name for name in Settings.model_fields if getattr(current, name) != getattr(fresh, name)
    ]
    taken = {name: getattr(fresh, name) for name in changed if name in RELOADABLE}
    if (current.tls_cert is None) != (fresh.tls_cert is None):
        # Whether there is TLS at all is a matter of the sockets.
        taken = {name: taken[name] for name in taken if name not in ("tls_cert", "tls_key")}
    return current.model_copy(update=taken), [name for name in changed if name not in taken]


def example() -> str:
    """The text of `config.example.toml`: every option at its default, as comments."""
    lines = [
        "# Every option of dsn-gateway at its default. Remove the # of a line to change it.",
        "#",
        "# A flag (--data-dir) wins over the environment (DSN_GATEWAY_DATA_DIR), the environment",
        "# over this file, this file over the default. An unknown key is an error.",
    ]
    for name, field in Settings.model_fields.items():
        note = " SIGHUP takes a change over." if name in RELOADABLE else ""
        lines += ["", *textwrap.wrap(f"{field.description}{note}", 96, **_COMMENT)]
        default = field.get_default(call_default_factory=False)
        if name == "data_dir":
            lines += ["# By default dsn-gateway in the XDG data home."]
            default = "~/.local/share/dsn-gateway"
        if name.startswith("tls_"):
            lines += [f'# {name} = "/etc/dsn-gateway/{name}.pem"']
            continue
        lines += [f"# {name} = {_toml(default)}{_human(name, default)}"]
    return "\n".join(lines) + "\n"


def show(settings: Settings) -> str:
    """The settings as TOML; an option that is not set is left out."""
    values = as_plain(settings)
    return "".join(f"{k} = {_toml(v)}{_human(k, v)}\n" for k, v in values.items() if v is not None)


def as_plain(settings: Settings) -> dict[str, Any]:
    """The settings as values that JSON and TOML know."""

    def plain(value: object) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        if isinstance(value, (Path, TcpAddress, UnixAddress)):
            return str(value)
        return value

    return {name: plain(getattr(settings, name)) for name in Settings.model_fields}


_COMMENT: dict[str, Any] = {"initial_indent": "# ", "subsequent_indent": "# "}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _unknown_in_environment() -> Iterable[str]:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | {ENV_CONFIG}
    # pydantic-settings reads names in any case, so an unknown one is unknown in any case.
    return sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )


def _unknown(key: str) -> str:
    bare = key.upper().removeprefix(ENV_PREFIX).lower()
    close = difflib.get_close_matches(bare, Settings.model_fields, n=1)
    hint = f"; did you mean {_like(key, close[0])}?" if close else ""
    return f"unknown option {key}{hint}"


def _like(key: str, option: str) -> str:
    return ENV_PREFIX + option.upper() if key.upper().startswith(ENV_PREFIX) else option


def _problem(
    fault: Mapping[str, Any],
    given: Mapping[str, object],
    in_file: Mapping[str, object],
    config: Path | None,
) -> str:
    meaning = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:
        return meaning
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return _unknown(name)
    env = ENV_PREFIX + name.upper()
    if name in given:
        place = f"--{name.replace('_', '-')}"
    elif any(key.upper() == env for key in os.environ):
        place = f"environment: {env}"
    elif name in in_file:
        place = f"{config}: {name}"
    else:
        place = name
    return f"{place}: {meaning}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:_}" if value >= 1_000_000 else str(value)
    # A JSON string is a TOML basic string.
    return json.dumps(str(value), ensure_ascii=False)


def _human(name: str, value: object) -> str:
    if "_bytes" not in name or not isinstance(value, int) or not value:
        return ""
    for unit, size in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value % size == 0:
            return f"  # {value // size} {unit}"
    return ""
