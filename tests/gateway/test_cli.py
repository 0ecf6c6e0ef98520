"""The calls that scripts of operators rely on, with their output and exit codes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway import cli, config
from gateway.delete_policy import PRESETS
from gateway.keys import KeyStore

Run = Callable[..., int]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `dsn-gateway` in this process; returns the exit code."""
    for name in list(os.environ):
        if name.startswith(config.ENV_PREFIX):
            monkeypatch.delenv(name)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["dsn-gateway", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return call


@dataclass
class Damage:
    bucket: str
    key: str
    version: str
    reason: str


@dataclass
class VerifyReport:
    objects: int = 2
    bytes: int = 100
    damages: list[Damage] = field(default_factory=list)


@dataclass
class RebuildReport:
    buckets: int = 1
    objects: int = 2
    uploads: int = 3
    segments: int = 4
    seconds: float = 0.5


@pytest.fixture
def maintenance(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Stands for the store: what it is called with, and what it answers."""
    fake = types.SimpleNamespace(calls=[], verify_report=VerifyReport())

    def record(answer: Callable[[], object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            fake.calls.append([item for item in arguments if item is not None])
            return answer()

        return call

    fake.verify = record(lambda: fake.verify_report)
    fake.rebuild = record(RebuildReport)
    fake.import_car = record(lambda: "bafkr6itext")

    def export_object(*arguments: object) -> None:
        fake.calls.append([item for item in arguments if item is not None])
        Path(str(arguments[3])).write_bytes(b"car")

    fake.export_object = export_object
    monkeypatch.setitem(sys.modules, "gateway.maintenance", fake)  # type: ignore[arg-type]
    monkeypatch.setattr("gateway.maintenance", fake, raising=False)
    return fake


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert printed(capsys).startswith("dsn-gateway ")


def test_module_is_the_command() -> None:
    call = [sys.executable, "-m", "gateway", "--version"]
    done = subprocess.run(call, capture_output=True, cwd=ROOT)
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"], ["keys", "revoke"]])
def test_wrong_call_is_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments) == 2


@pytest.mark.parametrize("group", [[], ["keys"], ["buckets"], ["quota"], ["config"]])
def test_help_says_in_a_line_what_each_command_does(
    run: Run, capsys: pytest.CaptureFixture[str], group: list[str]
) -> None:
    assert run(*group, "--help") == 0
    _, *lines = printed(capsys).splitlines()
    assert [line for line in lines if line.endswith("...")] == []


def test_help_names_every_preset(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("buckets", "policy", "--help") == 0
    out = printed(capsys)
    assert [name for name in PRESETS if name not in out] == []


COMMAND_LINES = [
    line.strip()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line in page.read_text().splitlines()
    if line.lstrip().startswith("dsn-gateway ")
]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_pages_show_calls_that_exist(run: Run, line: str) -> None:
    # Options are read before --help answers.
    assert run(*shlex.split(line, comments=True)[1:], "--help") == 0


def test_created_key_is_printed_for_people(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "create", "--data-dir", tmp_path) == 0
    (key,) = KeyStore(tmp_path).listed()
    out = printed(capsys)
    assert f"access key  {key.access_key}" in out
    assert f"secret      {key.secret}" in out


def test_created_key_is_printed_for_machines(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--access-key", "K.1", "--secret", "S", "--account", "team", "--json")
    assert run("keys", "create", "--data-dir", tmp_path, *given) == 0
    assert json.loads(printed(capsys)) == {"access_key": "K.1", "secret": "S", "account": "team"}


def test_key_only_key_has_no_secret(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "create", "--data-dir", tmp_path, "--key-only", "--json") == 0
    answer = json.loads(printed(capsys))
    assert answer["secret"] is None
    assert KeyStore(tmp_path).lookup(answer["access_key"]) is not None


def test_secret_and_key_only_exclude_each_other(run: Run, tmp_path: Path) -> None:
    assert run("keys", "create", "--data-dir", tmp_path, "--secret", "S", "--key-only") == 2
    assert KeyStore(tmp_path).listed() == []


def test_a_bucket_is_opened_to_anybody_to_read(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", tmp_path]
    assert run("keys", "create", *where, "--anonymous", "--bucket", "films", "--json") == 0
    answer = json.loads(printed(capsys))
    assert (answer["rights"], answer["buckets"]) == (["read"], ["films"])
    assert KeyStore(tmp_path).lookup_anonymous("films") is not None
    assert run("keys", "list", *where) == 0
    assert f"{answer['access_key']}  anonymous  main" in printed(capsys)
    assert run("keys", "revoke", answer["access_key"], *where) == 0
    assert KeyStore(tmp_path).lookup_anonymous("films") is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], 1),
        (["--bucket", "films", "--rights", "read,write"], 1),
        (["--bucket", "films", "--secret", "S"], 2),
        (["--bucket", "films", "--key-only"], 2),
    ],
)
def test_no_more_than_reading_named_buckets_is_opened(
    run: Run, tmp_path: Path, given: list[str], code: int
) -> None:
    assert run("keys", "create", "--data-dir", tmp_path, "--anonymous", *given) == code
    assert KeyStore(tmp_path).listed() == []


def test_key_that_exists_is_1(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "create", "--data-dir", tmp_path, "--access-key", "same") == 0
    assert run("keys", "create", "--data-dir", tmp_path, "--access-key", "same") == 1
    assert "same exists already" in capsys.readouterr().err


def test_limits_are_made_and_shown(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--rights", "read,list", "--bucket", "bucket", "--prefix", "p/", "--prefix", "q/"]
    where = ["--data-dir", tmp_path]
    assert run("keys", "create", *where, *given, "--expires", "2999-01-31T12:00Z", "--json") == 0
    shown = {
        "rights": ["list", "read"],
        "buckets": ["bucket"],
        "prefixes": ["p/", "q/"],
        "expires": "2999-01-31T12:00:00Z",
    }
    assert json.loads(printed(capsys)).items() >= shown.items()
    assert run("keys", "list", *where, "--json") == 0
    assert json.loads(printed(capsys))["keys"][0].items() >= shown.items()
    assert run("keys", "list", *where) == 0
    assert "rights list,read  buckets bucket  prefixes p/,q/  expires 2999-" in printed(capsys)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rights", "read,fly"),
        ("--bucket", "Photos"),
        ("--bucket", "photos/"),
        ("--rights", ""),
        ("--expires", "soon"),
        ("--expires", "d"),
        ("--expires", "2001-01-01"),
        ("--expires", "0d"),
        ("--expires", "²d"),
        ("--expires", "99999999999d"),
        ("--expires", "9999-12-31T23:59-12:00"),
    ],
)
def test_limits_that_mean_nothing_are_refused(
    run: Run, tmp_path: Path, flag: str, value: str
) -> None:
    assert run("keys", "create", "--data-dir", tmp_path, flag, value) == 2
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("24h", 1), ("1440m", 1)])
def test_a_key_may_expire_from_now(run: Run, tmp_path: Path, text: str, days: int) -> None:
    before = time.time()
    assert run("keys", "create", "--data-dir", tmp_path, "--expires", text) == 0
    limits = KeyStore(tmp_path).listed()[0].limits
    assert limits is not None
    assert limits.expires_us is not None
    assert 0 <= limits.expires_us / 1e6 - before - days * 86_400 < 60


@pytest.mark.parametrize("as_json", [True, False])
def test_list_shows_no_secret(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    store = KeyStore(tmp_path)
    store.create(access_key="one", secret="SESAME")
    bearer = store.create(key_only=True)
    store.revoke("one")
    assert run("keys", "list", "--data-dir", tmp_path, *(["--json"] if as_json else [])) == 0
    out = printed(capsys)
    assert "one" in out
    assert "SESAME" not in out
    assert bearer.access_key not in out
    if as_json:
        one, other = json.loads(out)["keys"]
        assert (one["key_only"], other["key_only"]) == (False, True)
        assert one["revoked"] is not None
        assert other["revoked"] is None


def test_revoked_key_is_gone(run: Run, tmp_path: Path) -> None:
    KeyStore(tmp_path).create(access_key="one")
    assert run("keys", "revoke", "one", "--data-dir", tmp_path) == 0
    assert KeyStore(tmp_path).lookup("one") is None
    assert run("keys", "revoke", "two", "--data-dir", tmp_path) == 1


def test_data_dir_may_come_from_the_configuration(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'data_dir = "{tmp_path}/there"')
    assert run("keys", "create", "--config", file) == 0
    assert len(KeyStore(tmp_path / "there").listed()) == 1


def test_creating_a_key_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['dsn-gateway', 'keys', 'create', '--data-dir', sys.argv[1]]\n"
        "from gateway.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'pydantic_settings', 'structlog', 'lmdb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_healthy_store_is_0(
    run: Run, maintenance: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", "--data-dir", tmp_path) == 0
    assert printed(capsys) == "healthy: 2 objects, 100 bytes checked\n"
    assert maintenance.calls == [[tmp_path]]


def test_damage_is_3_and_named(
    run: Run, maintenance: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maintenance.verify_report.damages.append(Damage("b", "k/\x1b", "v1", "block missing"))
    assert run("verify", "--data-dir", tmp_path) == 3
    out = printed(capsys)
    assert r"damaged  'b/k/\x1b'  version v1  block missing" in out
    assert run("verify", "--data-dir", tmp_path, "--json") == 3
    report = json.loads(printed(capsys))
    assert report["healthy"] is False
    assert report["damages"] == [
        {"bucket": "b", "key": "k/\x1b", "version": "v1", "reason": "block missing"}
    ]


def test_rebuild_tells_what_it_found(
    run: Run, maintenance: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rebuild", "--data-dir", tmp_path) == 0
    assert printed(capsys).startswith("rebuilt 1 buckets, 2 objects and 3 uploads from 4 segments")
    assert run("rebuild", "--data-dir", tmp_path, "--json") == 0
    assert json.loads(printed(capsys))["segments"] == 4


def test_export_and_import(
    run: Run, maintenance: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = tmp_path / "f.car"
    assert run("export", "--data-dir", tmp_path, "bucket/a/key", "--output", car) == 0
    assert run("import", "--data-dir", tmp_path, car, "bucket/other") == 0
    assert printed(capsys).splitlines()[-1] == "bafkr6itext"
    assert maintenance.calls == [
        [tmp_path, "bucket", "a/key", car, "main"],
        [tmp_path, "main", car, "bucket", "other"],
    ]


@pytest.mark.parametrize("address", ["bucket", "bucket/", "/key", ""])
def test_address_without_bucket_and_key_is_2(
    run: Run, maintenance: types.SimpleNamespace, tmp_path: Path, address: str
) -> None:
    assert run("export", "--data-dir", tmp_path, address, "--output", tmp_path / "f") == 2


def test_bad_configuration_is_78_and_names_the_key(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("wrokers = 2\nadr = 1")
    for call in (["config", "check"], ["config", "show"], ["serve"]):
        assert run(*call, "--config", file) == 78
        err = capsys.readouterr().err
        assert "unknown option wrokers; did you mean workers?" in err
        assert "unknown option adr" in err


def test_configuration_is_shown_and_checked(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "check") == 0
    capsys.readouterr()
    assert run("config", "show", "--data-dir", tmp_path, "--set", "workers=3", "--json") == 0
    shown = json.loads(printed(capsys))
    assert (shown["workers"], shown["data_dir"]) == (3, str(tmp_path))


def test_set_takes_any_option(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", "--set", "access-log=false", "--set", "addr=:1,:2") == 0
    out = printed(capsys)
    assert "access_log = false" in out
    assert 'addr = ["0.0.0.0:1", "0.0.0.0:2"]' in out
    assert run("config", "show", "--set", "workers") == 2


def test_example_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "example") == 0
    assert printed(capsys) == config.example()


def test_cid_of_a_file(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hello.txt"
    file.write_bytes(b"hello")
    assert run("cid", file) == 0
    own = printed(capsys).strip()
    assert run("cid", file, "--name", "hello.txt", "--json") == 0
    assert json.loads(printed(capsys)) == {"cid": own, "name": "hello.txt", "bytes": 5}
    assert run("cid", file, "--name", "other.txt") == 0
    assert printed(capsys).strip() != own


def test_cid_of_no_file_is_2(run: Run, tmp_path: Path) -> None:
    assert run("cid", tmp_path / "absent") == 2


def test_cid_with_too_long_a_name_is_1(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 70_000)
    assert run("cid", file, "--name", "n" * 256) == 1
    assert "Filename is too long: 256 > 255" in capsys.readouterr().err


def test_quotas_are_set_shown_and_removed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", tmp_path]
    assert run("quota", "set", *where, "--bytes", "1KiB", "--warn-objects", "5") == 0
    assert run("quota", "set", *where, "--bucket", "bucket", "--objects", "3") == 0
    printed(capsys)
    assert run("quota", "show", *where, "--json") == 0
    whole, bucket = json.loads(printed(capsys))["quotas"]
    assert (whole["account"], whole["bucket"], whole["bytes_max"]) == ("main", None, 1024)
    assert (whole["objects_warn"], whole["bytes_used"], whole["objects_used"]) == (5, 0, 0)
    assert (bucket["bucket"], bucket["objects_max"]) == ("bucket", 3)
    assert run("quota", "set", *where, "--bucket", "bucket") == 0
    printed(capsys)
    assert run("quota", "show", *where) == 0
    assert printed(capsys) == "main  bytes_used 0  bytes_max 1024  objects_used 0  objects_warn 5\n"
    assert run("quota", "set", *where, "--bytes", "much") == 2
    assert run("quota", "set", *where, "--bucket", "Photos", "--bytes", "1") == 2
