"""Options come from flags, environment, file and defaults, and nothing unknown slips through."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from gateway import config
from gateway.config import ConfigError, TcpAddress, UnixAddress, load, parse_address

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(config.ENV_PREFIX):
            monkeypatch.delenv(name)


def toml(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_flag_wins_over_environment_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, "workers = 2")
    assert load().workers == 1
    assert load(file).workers == 2
    monkeypatch.setenv("DSN_GATEWAY_WORKERS", "3")
    assert load(file).workers == 3
    assert load(file, {"workers": 4}).workers == 4


def test_flag_of_none_was_not_given(tmp_path: Path) -> None:
    assert load(toml(tmp_path, "workers = 2"), {"workers": None}).workers == 2


def test_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN_GATEWAY_CONFIG", str(toml(tmp_path, 'region = "eu-west-1"')))
    assert load().region == "eu-west-1"


def test_unknown_key_in_the_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: unknown option worker; .*mean workers"):
        load(toml(tmp_path, "worker = 2"))


def test_unknown_table_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option server"):
        load(toml(tmp_path, "[server]\nworkers = 2"))


def test_unknown_key_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN_GATEWAY_ADR", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"unknown option DSN_GATEWAY_ADR; .* DSN_GATEWAY_ADDR"):
        load()


def test_unknown_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown option colour"):
        load(flags={"colour": "red"})


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(toml(tmp_path, "workers = 0\nlog_level = 'loud'"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("workers = 0", "workers"),
        ("workers = 'many'", "workers"),
        ("addr = []", "addr"),
        ("addr = ['3000']", "addr"),
        ("addr = ['127.0.0.1:70000']", "addr"),
        ("base_path = ['s3']", "base_path"),
        ("base_path = ['/a//b']", "base_path"),
        ("base_path = ['/a%20b']", "base_path"),
        ("log_level = 'loud'", "log_level"),
        ("body_idle_seconds_max = 0", "body_idle_seconds_max"),
        ("upload_buffer_bytes_max = 1", "upload_buffer_bytes_max"),
        ("tls_cert = '/x.pem'", "tls_key"),
    ],
)
def test_bad_value_names_its_option(tmp_path: Path, line: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        load(toml(tmp_path, line))


def test_broken_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(toml(tmp_path, "workers ="))
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml")


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN_GATEWAY_ADDR", "127.0.0.1:3000, unix:/run/gateway")
    monkeypatch.setenv("DSN_GATEWAY_BASE_PATH", "/s3,/")
    settings = load()
    assert settings.addr == (TcpAddress("127.0.0.1", 3000), UnixAddress(Path("/run/gateway")))
    assert settings.base_path == ("/s3", "/")


def test_empty_variable_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN_GATEWAY_TLS_CERT", "")
    assert load().tls_cert is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3000", TcpAddress("127.0.0.1", 3000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        (":3000", TcpAddress("0.0.0.0", 3000)),
        ("[::1]:3000", TcpAddress("::1", 3000)),
        ("unix:/run/gateway", UnixAddress(Path("/run/gateway"))),
        ("unix:///run/gateway", UnixAddress(Path("/run/gateway"))),
    ],
)
def test_address_forms(text: str, address: config.Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "3000", "localhost", "::1:3000", "a:b", "a:-1", "unix:"])
def test_other_address_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


def test_base_paths_are_normal_and_unique() -> None:
    assert load(flags={"base_path": ["/s3/", "/s3", "/"]}).base_path == ("/s3", "/")


def test_domains_are_host_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSN_GATEWAY_DOMAINS", "S3.Example.org., localhost,s3.example.org")
    assert load().domains == ("s3.example.org", "localhost")
    for wrong in ("", "s3.example.org:3000", "*.example.org", "127.0.0.1", ".example.org", "a/b"):
        with pytest.raises(ConfigError, match="host name without a port"):
            load(flags={"domains": [wrong]})


def test_data_dir_is_in_the_xdg_data_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert load().data_dir == Path("/srv/data/dsn-gateway")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert load().data_dir == Path("~/.local/share/dsn-gateway").expanduser()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().workers = 2  # type: ignore[misc]


def test_example_file_is_what_the_code_says() -> None:
    assert EXAMPLE.read_text() == config.example(), "run: dsn-gateway config example"


def test_example_file_uncommented_is_the_default(tmp_path: Path) -> None:
    lines = (line.removeprefix("# ") for line in config.example().splitlines())
    options = [line for line in lines if line.split(" = ")[0] in config.Settings.model_fields]
    assert {line.split(" = ")[0] for line in options} == set(config.Settings.model_fields)
    assert all(line.split(" = ")[0].isidentifier() for line in options)
    changed = [line for line in options if not line.startswith(("tls_", "data_dir"))]
    assert load(toml(tmp_path, "\n".join(changed))) == load()


def test_every_option_has_a_meaning_on_one_line() -> None:
    for name, field in config.Settings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description
        assert len(field.description) < 97, name


def test_shown_settings_are_read_back(tmp_path: Path) -> None:
    settings = load(flags={"addr": ["unix:/run/x"], "workers": 3, "data_dir": tmp_path})
    shown = config.show(settings)
    assert tomllib.loads(shown)["addr"] == ["unix:/run/x"]
    assert load(toml(tmp_path, shown)) == settings
