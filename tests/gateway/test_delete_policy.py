from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delete_policy import (
    PRESETS,
    DeleteMode,
    DeletePolicy,
    InvalidPolicyError,
    encode_policy,
    parse_policy,
)


@pytest.mark.parametrize(
    ("glob", "key", "fits"),
    [
        ("locks/*", "locks/a", True),
        ("locks/*", "locks/", True),
        ("locks/*", "locks/a/b", False),
        ("locks/*", "xlocks/a", False),
        ("locks/*", "a/locks/a", False),
        ("locks/", "locks/a/b", True),
        ("locks/", "locks", False),
        ("**/locks/*", "locks/a", True),
        ("**/locks/*", "a/b/locks/c", True),
        ("**/locks/*", "a/xlocks/c", False),
        ("**", "any/thing\n", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("*.tflock", "a.tflock", True),
        ("*.tflock", "a/b.tflock", False),
        ("**/*.tflock", "a/b.tflock", True),
        ("**/*.tflock", "atflock", False),
        ("a?", "aé", True),
        ("a?", "a/", False),
        ("a?", "a", False),
        ("a.b", "axb", False),
        ("[a]", "a", False),
        ("[a]", "[a]", True),
        ("é*", "é", True),
        ("a", "a\n", False),
    ],
)
def test_globs(glob: str, key: str, fits: bool) -> None:
    policy = DeletePolicy(hide=(glob,))
    expected = DeleteMode.HIDE if fits else DeleteMode.DENY
    assert policy.mode_of(key.encode()) is expected


def test_key_that_is_no_text_has_a_mode() -> None:
    assert DeletePolicy(hide=("a*",)).mode_of(b"a\xff") is DeleteMode.HIDE


def test_of_globs_that_fit_scratch_comes_first_and_deny_last() -> None:
    policy = DeletePolicy(DeleteMode.HIDE, scratch=("a/*",), hide=("a/b/**",), deny=("a/",))
    assert policy.mode_of(b"a/1") is DeleteMode.SCRATCH
    assert policy.mode_of(b"a/b/1") is DeleteMode.HIDE
    assert policy.mode_of(b"a/c/1") is DeleteMode.DENY
    assert policy.mode_of(b"b") is DeleteMode.HIDE


@pytest.mark.parametrize(
    ("preset", "key", "mode"),
    [
        ("archive", "anything", "deny"),
        ("restic", "locks/1f", "scratch"),
        ("restic", "snapshots/1f", "hide"),
        ("restic", "laptop/snapshots/1f", "hide"),
        ("restic", "data/1f/1f00", "deny"),
        ("restic", "index/1f", "deny"),
        ("restic", "keys/1f", "deny"),
        ("restic", "config", "deny"),
        ("pgbackrest", "archive/main/archive.info", "hide"),
        ("terraform", "env:/dev/terraform.tfstate", "hide"),
        ("terraform", "env:/dev/terraform.tfstate.tflock", "scratch"),
        ("registry", "docker/registry/v2/repositories/a/_uploads/1/data", "scratch"),
        ("registry", "docker/registry/v2/blobs/sha256/aa/aa/data", "hide"),
        ("rclone", "anything", "hide"),
    ],
)
def test_presets(preset: str, key: str, mode: str) -> None:
    assert PRESETS[preset].mode_of(key.encode()) is DeleteMode(mode)


@pytest.mark.parametrize(
    "policy",
    [
        *PRESETS.values(),
        DeletePolicy(DeleteMode.HIDE, scratch=("é*",), hide=("a",), deny=("b/", "c")),
    ],
)
def test_policy_comes_back_from_its_text(policy: DeletePolicy) -> None:
    assert parse_policy(encode_policy(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        *("", "Hide", "scratch", "keep", "{", '{"modes": "hide"}', '{"mode": "scratch"}'),
        *('{"mode": 1}', '{"hide": "a"}', '{"hide": [""]}', '{"hide": [1]}', '{"mode": "restic"}'),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidPolicyError):
        parse_policy(text)


def test_only_a_policy_without_exceptions_denies_all() -> None:
    assert DeletePolicy().denies_all
    assert DeletePolicy(deny=("a",)).denies_all
    assert not DeletePolicy(scratch=("a",)).denies_all
    assert not DeletePolicy(DeleteMode.HIDE, deny=("**",)).denies_all


@pytest.mark.parametrize(
    ("policy", "prefix", "denies"),
    [
        (DeletePolicy(), "", True),
        (DeletePolicy(DeleteMode.HIDE), "", False),
        (DeletePolicy(DeleteMode.HIDE), "tmp/", False),
        (DeletePolicy(DeleteMode.HIDE, deny=("ledger/",)), "", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("ledger/",)), "led", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("ledger/",)), "ledger/2026/", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("ledger/",)), "ledgers", False),
        (DeletePolicy(DeleteMode.HIDE, deny=("ledger/",)), "tmp/", False),
        (DeletePolicy(DeleteMode.HIDE, deny=("**/*.keep",)), "tmp/", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("*.keep",)), "tmp/", False),
        (DeletePolicy(DeleteMode.HIDE, deny=("*.keep",)), "tmp", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("a?c",)), "aé", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("a?c",)), "a/", False),
        (DeletePolicy(DeleteMode.HIDE, deny=("a/**/b/",)), "a/x/y/", True),
        (DeletePolicy(DeleteMode.HIDE, deny=("a/**/b/",)), "ab", False),
        (DeletePolicy(DeleteMode.HIDE, hide=("ledger/old/",), deny=("ledger/",)), "ledger/", True),
        (
            DeletePolicy(DeleteMode.HIDE, hide=("ledger/old/",), deny=("ledger/",)),
            "ledger/old/",
            False,
        ),
        (DeletePolicy(hide=("tmp/",)), "tmp/", False),
        (DeletePolicy(hide=("tmp/",)), "tmp/a", False),
        (DeletePolicy(hide=("tmp/",)), "tmp", True),
        (DeletePolicy(hide=("tmp/*",)), "tmp/", True),
        (DeletePolicy(hide=("**",)), "", False),
        (DeletePolicy(hide=("**/tmp/**",)), "a/b/tmp/", False),
        (DeletePolicy(hide=("**/tmp/**",)), "tmp/", False),
        (DeletePolicy(hide=("**/tmp/**",)), "a/b/tmp", True),
        (DeletePolicy(hide=("tmp/",), deny=("**",)), "tmp/", False),
        (DeletePolicy(scratch=("tmp/",)), "tmp/x", False),
        (PRESETS["restic"], "snapshots/", True),
        (PRESETS["rclone"], "", False),
        (PRESETS["terraform"], "", False),
    ],
)
def test_prefix_below_which_something_may_be_denied(
    policy: DeletePolicy, prefix: str, denies: bool
) -> None:
    assert policy.denies_below(prefix) is denies


GLOBS = st.lists(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), min_size=1, max_size=5).map(
        "".join
    ),
    max_size=2,
).map(tuple)
KEYS = st.text("ab/é", max_size=5)


@given(st.sampled_from([DeleteMode.DENY, DeleteMode.HIDE]), GLOBS, GLOBS, GLOBS, KEYS, KEYS)
def test_nothing_is_denied_below_a_prefix_that_denies_nothing(
    mode: DeleteMode,
    scratch: tuple[str, ...],
    hide: tuple[str, ...],
    deny: tuple[str, ...],
    prefix: str,
    rest: str,
) -> None:
    policy = DeletePolicy(mode, scratch, hide, deny)
    if policy.mode_of((prefix + rest).encode()) is DeleteMode.DENY:
        assert policy.denies_below(prefix)
