"""Keys are made, found at once, revoked within a second, and their file never tears."""

from __future__ import annotations

import json
import multiprocessing
import stat
import time
from pathlib import Path

import pytest

from gateway.keys import CHECK_SECONDS, AccessKey, KeyStore, KeyStoreError
from gateway.rights import Limits, Right


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> KeyStore:
    return KeyStore(tmp_path, clock=clock, now_us=lambda: 1_700_000_000_000_000)


def test_created_key_is_found(store: KeyStore) -> None:
    created = store.create()
    assert len(created.access_key) == 20
    assert created.secret is not None
    assert len(created.secret) == 40
    assert created.account == "main"
    assert created.created_us == 1_700_000_000_000_000
    assert store.lookup(created.access_key) == created


def test_given_values_are_kept(store: KeyStore) -> None:
    store.create(access_key="a.b-c_1", secret="s+/=", account="team")
    assert store.lookup("a.b-c_1") == AccessKey("a.b-c_1", "s+/=", "team", 1_700_000_000_000_000)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(frozenset({Right.READ, Right.LIST})),
        Limits(buckets=("a", "b"), prefixes=("x/", "ü")),
        Limits(expires_us=1_800_000_000_000_000),
    ],
)
@pytest.mark.parametrize("key_only", [True, False])
def test_limits_are_kept(store: KeyStore, limits: Limits, key_only: bool) -> None:
    created = store.create(limits=limits, key_only=key_only)
    found = store.lookup(created.access_key)
    assert found is not None
    assert found.limits == limits


def test_a_key_without_limits_has_none(store: KeyStore, tmp_path: Path) -> None:
    assert store.create(limits=Limits()).limits is None
    entry = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
    assert set(entry) == {"access_key", "secret", "account", "created_us", "revoked_us"}


def test_a_file_with_an_unknown_right_lets_nobody_in(store: KeyStore, tmp_path: Path) -> None:
    key = store.create(limits=Limits(frozenset({Right.READ})))
    file = tmp_path / "keys.json"
    file.write_text(file.read_text().replace('"read"', '"fly"'))
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path).lookup(key.access_key)


def test_unknown_key_is_none(store: KeyStore) -> None:
    assert store.lookup("nobody") is None
    assert store.lookup("\ud800") is None
    assert store.lookup("") is None


def test_key_only_key_has_128_bits_and_is_not_in_the_file(store: KeyStore, tmp_path: Path) -> None:
    created = store.create(key_only=True)
    assert len(created.access_key) == 32
    int(created.access_key, 16)
    assert created.access_key not in (tmp_path / "keys.json").read_text()


def test_key_only_key_is_found_under_a_label_that_opens_nothing(store: KeyStore) -> None:
    created = store.create(key_only=True, account="team")
    found = store.lookup(created.access_key)
    assert found is not None
    assert (found.secret, found.account) == (None, "team")
    assert found.access_key.startswith(created.access_key[:4] + "~")
    assert found.access_key in [key.access_key for key in store.listed()]
    assert store.lookup(found.access_key) is None


def test_short_key_only_key_shows_nothing_of_itself(store: KeyStore) -> None:
    store.create(access_key="abcd", key_only=True)
    assert store.listed()[0].access_key.startswith("~")
    assert store.lookup("abcd") is not None


def test_secret_is_in_no_repr(store: KeyStore) -> None:
    created = store.create()
    assert created.secret is not None
    assert created.secret not in f"{created!r} {created} {[created]}"


@pytest.mark.parametrize("access_key", ["ab", "a" * 129, "a/b", "a b", "é-é", "a\n", "a:b", "~a~a"])
def test_access_key_of_other_characters_is_refused(store: KeyStore, access_key: str) -> None:
    with pytest.raises(KeyStoreError, match="3 to 128"):
        store.create(access_key=access_key)


@pytest.mark.parametrize("secret", ["", " ", "a b", "é", "a\n", "a" * 257])
def test_unusable_secret_is_refused(store: KeyStore, secret: str) -> None:
    with pytest.raises(KeyStoreError, match="secret"):
        store.create(secret=secret)


def test_unusable_account_is_refused(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="account"):
        store.create(account="a/b")


def test_key_only_with_a_secret_is_refused(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError):
        store.create(key_only=True, secret="s")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_access_key_is_given_once(store: KeyStore, first: bool, second: bool) -> None:
    store.create(access_key="same", key_only=first)
    with pytest.raises(KeyStoreError, match="exists already"):
        store.create(access_key="same", key_only=second)
    assert len(store.listed()) == 1


def test_revoked_access_key_is_not_given_again(store: KeyStore) -> None:
    store.create(access_key="same")
    store.revoke("same")
    with pytest.raises(KeyStoreError, match="exists already"):
        store.create(access_key="same")


@pytest.mark.parametrize("key_only", [True, False])
def test_revoked_key_is_refused_and_stays_listed(
    store: KeyStore, tmp_path: Path, key_only: bool
) -> None:
    created = store.create(key_only=key_only)
    assert store.has_active()
    revoked = store.revoke(created.access_key)
    assert revoked.revoked_us == 1_700_000_000_000_000
    assert KeyStore(tmp_path).lookup(created.access_key) is None
    assert store.listed() == [revoked]
    assert not store.has_active()
    assert store.revoke(created.access_key) == revoked


def test_key_only_key_is_revoked_by_its_label(store: KeyStore) -> None:
    created = store.create(key_only=True)
    store.revoke(store.listed()[0].access_key)
    assert store.lookup(created.access_key) is None


def test_revoking_an_unknown_key_is_an_error(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="no such"):
        store.revoke("nobody")


def test_running_server_sees_a_new_key_at_once(store: KeyStore, tmp_path: Path) -> None:
    assert store.lookup("later") is None
    KeyStore(tmp_path).create(access_key="later")
    assert store.lookup("later") is not None


def test_running_server_sees_a_revoked_key_in_time(
    store: KeyStore, tmp_path: Path, clock: Clock
) -> None:
    store.create(access_key="leaver")
    assert store.lookup("leaver") is not None
    KeyStore(tmp_path).revoke("leaver")
    clock.seconds += CHECK_SECONDS
    assert store.lookup("leaver") is None


def test_file_is_not_read_again_while_it_stays(store: KeyStore, tmp_path: Path) -> None:
    store.create(access_key="stays")
    assert store.lookup("stays") is not None
    store._read = None  # type: ignore[method-assign,assignment]
    assert store.lookup("stays") is not None
    assert store.lookup("nobody") is None


def test_lookup_is_fast(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.create(access_key="quick")
    started = time.perf_counter()
    for _ in range(10_000):
        store.lookup("quick")
    assert (time.perf_counter() - started) / 10_000 < 20e-6


def test_files_are_for_the_owner_only(store: KeyStore, tmp_path: Path) -> None:
    store.create()
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_key_is_created_before_the_data_directory_exists(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "new" / "data")
    assert store.lookup("nobody") is None
    store.create(access_key="first")
    assert store.lookup("first") is not None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{}]}', '{"keys": 5}', "\0"])
def test_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    store = KeyStore(tmp_path)
    for attempt in (lambda: store.lookup("a"), store.listed, store.create):
        with pytest.raises(KeyStoreError, match="damaged; restore"):
            attempt()
    assert (tmp_path / "keys.json").read_text() == text


def test_failed_change_leaves_the_old_file(store: KeyStore, tmp_path: Path) -> None:
    store.create(access_key="old")
    before = (tmp_path / "keys.json").read_bytes()
    with pytest.raises(KeyStoreError):
        store.create(access_key="old")
    assert (tmp_path / "keys.json").read_bytes() == before


def _create_some(data_dir: Path, name: str) -> None:
    store = KeyStore(data_dir)
    for number in range(10):
        store.create(access_key=f"{name}-{number}")


def test_processes_that_create_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_create_some, args=(tmp_path, f"process{n}")) for n in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(KeyStore(tmp_path).listed()) == 30


def test_file_is_readable_json(store: KeyStore, tmp_path: Path) -> None:
    store.create(access_key="readable", secret="s")
    document = json.loads((tmp_path / "keys.json").read_text())
    assert document["version"] == 1
    assert document["keys"][0]["access_key"] == "readable"


def test_an_anonymous_key_is_found_by_its_buckets_and_opens_nothing_else(
    store: KeyStore, clock: Clock
) -> None:
    reads = frozenset({Right.READ})
    first = store.create_anonymous(Limits(reads, ("a", "b")), account="team")
    second = store.create_anonymous(Limits(reads, ("c",)))
    assert first.is_anonymous
    assert [store.lookup_anonymous(bucket) for bucket in "abcd"] == [first, first, second, None]
    assert store.lookup(first.access_key) is None
    store.revoke(first.access_key)
    clock.seconds += CHECK_SECONDS
    assert [store.lookup_anonymous(bucket) for bucket in "abc"] == [None, None, second]
    assert [key.is_anonymous for key in store.listed()] == [True, True]


def test_a_bucket_is_open_once_until_that_ends(tmp_path: Path) -> None:
    now = [1_700_000_000_000_000]
    store = KeyStore(tmp_path, now_us=lambda: now[0])
    reads = frozenset({Right.READ})
    first = store.create_anonymous(Limits(reads, ("a", "b"), expires_us=now[0] + 10))
    with pytest.raises(KeyStoreError, match=first.access_key):
        store.create_anonymous(Limits(reads, ("c", "b")), account="team")
    now[0] += 10
    assert store.lookup_anonymous("b") is None
    second = store.create_anonymous(Limits(reads, ("c", "b")), account="team")
    assert store.lookup_anonymous("b") == second


def test_an_anonymous_key_is_a_key_only_key_to_earlier_versions(
    store: KeyStore, tmp_path: Path
) -> None:
    """They take an entry without a secret and without a hash for damage, and let nobody in."""
    store.create_anonymous(Limits(frozenset({Right.READ}), ("a",)))
    (entry,) = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert entry["secret"] is None
    assert len(entry["access_key_sha256"]) == 64


@pytest.mark.parametrize(
    "limits",
    [
        Limits(frozenset({Right.READ})),
        Limits(frozenset({Right.READ, Right.CREATE}), ("a",)),
        Limits(buckets=("a",)),
    ],
)
def test_an_anonymous_key_reads_and_lists_named_buckets_and_no_more(
    store: KeyStore, limits: Limits
) -> None:
    with pytest.raises(KeyStoreError, match="anonymous"):
        store.create_anonymous(limits)
    assert store.listed() == []
