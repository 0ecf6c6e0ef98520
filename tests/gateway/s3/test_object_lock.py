from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.notes import note_headers, parse_notes
from gateway.s3.object_lock import (
    COMPLIANCE,
    GOVERNANCE,
    LOCK_CONFIGURATION,
    Retention,
    check_retention_change,
    intrinsic_retention,
    parse_lock_headers,
    read_legal_hold,
    read_lock_configuration,
    read_retention,
    write_legal_hold,
    write_retention,
)

NOW = 1_800_000_000
FUTURE = "2030-01-01T00:00:00Z"
FUTURE_US = 1_893_456_000_000_000


def lock(mode: str | None = None, until: str | None = None, hold: str | None = None):
    given = {"mode": mode, "retain-until-date": until, "legal-hold": hold}
    return {f"x-amz-object-lock-{name}": text for name, text in given.items() if text is not None}


@pytest.mark.parametrize(
    ("until", "until_us", "shown"),
    [
        (FUTURE, FUTURE_US, "2030-01-01T00:00:00.000Z"),
        ("2030-01-01T01:00:00+01:00", FUTURE_US, "2030-01-01T00:00:00.000Z"),
        ("2030-01-01T00:00:00.1234567Z", FUTURE_US + 123_000, "2030-01-01T00:00:00.123Z"),
        ("2030-01-01T00:00:00", FUTURE_US, "2030-01-01T00:00:00.000Z"),
    ],
)
def test_dates_of_iso_8601(until: str, until_us: int, shown: str) -> None:
    retention, hold = parse_lock_headers(lock(GOVERNANCE, until), now_seconds=NOW)
    assert (retention, hold) == (Retention(GOVERNANCE, until_us), None)
    assert retention is not None
    assert retention.until == shown
    assert Retention.from_note(retention.to_note()) == retention
    assert read_retention(write_retention(retention), now_seconds=NOW) == retention


@pytest.mark.parametrize(
    "headers",
    [
        lock(GOVERNANCE),
        lock(until=FUTURE),
        lock("governance", FUTURE),
        lock(COMPLIANCE, "tomorrow"),
        lock(COMPLIANCE, ""),
        lock(COMPLIANCE, "2020-01-01T00:00:00Z"),
        lock(COMPLIANCE, "9999-12-31T23:59:59-12:00"),
        lock(COMPLIANCE, "0001-01-01T00:00:00+12:00"),
        lock(hold="on"),
        lock(hold=""),
    ],
)
def test_headers_that_make_no_lock_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(S3Error) as caught:
        parse_notes(headers, now_seconds=NOW)
    assert caught.value.code is ErrorCode.InvalidArgument


def test_what_was_put_is_what_is_shown() -> None:
    headers = {**lock(COMPLIANCE, FUTURE, "ON"), "x-amz-tagging": "a=b&c=d"}
    notes = parse_notes(headers, now_seconds=NOW)
    assert notes.keys() == {"tagging", "retention", "legal-hold"}
    assert note_headers(notes) == {
        **lock(COMPLIANCE, "2030-01-01T00:00:00.000Z", "ON"),
        "x-amz-tagging-count": "2",
    }
    assert note_headers(parse_notes({"x-amz-tagging": ""}, now_seconds=NOW)) == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Retention><Mode>GOVERNANCE</Mode></Retention>", "MalformedXML"),
        (f"<Retention><RetainUntilDate>{FUTURE}</RetainUntilDate></Retention>", "MalformedXML"),
        (
            f"<Retention><Mode>abc</Mode><RetainUntilDate>{FUTURE}</RetainUntilDate></Retention>",
            "MalformedXML",
        ),
        (
            "<Retention><Mode>GOVERNANCE</Mode>"
            "<RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate></Retention>",
            "InvalidArgument",
        ),
    ],
)
def test_retention_is_refused(body: bytes | str, code: str) -> None:
    body = body.encode() if isinstance(body, str) else body
    with pytest.raises(S3Error) as caught:
        read_retention(body, now_seconds=NOW)
    assert caught.value.code is ErrorCode[code]


def test_empty_retention_removes() -> None:
    assert read_retention(b"<Retention/>", now_seconds=NOW) is None


LATER_US = FUTURE_US + 1_000_000


@pytest.mark.parametrize(
    ("current", "wanted", "bypass", "allowed"),
    [
        (None, (GOVERNANCE, FUTURE_US), False, True),
        (None, None, False, True),
        ((GOVERNANCE, FUTURE_US), (GOVERNANCE, FUTURE_US), False, True),
        ((GOVERNANCE, FUTURE_US), (GOVERNANCE, LATER_US), False, True),
        ((GOVERNANCE, LATER_US), (GOVERNANCE, FUTURE_US), False, False),
        ((GOVERNANCE, LATER_US), (GOVERNANCE, FUTURE_US), True, True),
        ((GOVERNANCE, FUTURE_US), (COMPLIANCE, LATER_US), False, False),
        ((GOVERNANCE, FUTURE_US), (COMPLIANCE, LATER_US), True, True),
        ((GOVERNANCE, FUTURE_US), None, False, False),
        ((GOVERNANCE, FUTURE_US), None, True, True),
        ((COMPLIANCE, FUTURE_US), (COMPLIANCE, LATER_US), False, True),
        ((COMPLIANCE, LATER_US), (COMPLIANCE, FUTURE_US), True, False),
        ((COMPLIANCE, FUTURE_US), (GOVERNANCE, LATER_US), True, False),
        ((COMPLIANCE, FUTURE_US), None, True, False),
        ((COMPLIANCE, 1), None, False, True),
    ],
)
def test_retention_is_only_ever_extended(current, wanted, bypass: bool, allowed: bool) -> None:
    def change() -> None:
        check_retention_change(
            current and Retention(*current),
            wanted and Retention(*wanted),
            bypass=bypass,
            now_seconds=NOW,
        )

    if allowed:
        change()
        return
    with pytest.raises(S3Error) as caught:
        change()
    assert caught.value.code is ErrorCode.AccessDenied


def test_permanence_is_the_longest_retention_that_can_be_said() -> None:
    retention = intrinsic_retention(FUTURE_US)
    assert (retention.mode, retention.until) == (COMPLIANCE, "2129-12-08T00:00:00.000Z")


@pytest.mark.parametrize("status", ["ON", "OFF"])
def test_legal_hold_survives(status: str) -> None:
    assert read_legal_hold(write_legal_hold(status)) == status


@pytest.mark.parametrize(
    "body", [b"", b"<LegalHold/>", b"<LegalHold><Status>abc</Status></LegalHold>"]
)
def test_legal_hold_is_on_or_off(body: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        read_legal_hold(body)
    assert caught.value.code is ErrorCode.MalformedXML


def configuration(rule: str = "", enabled: str = "Enabled") -> bytes:
    rule = f"<Rule><DefaultRetention>{rule}</DefaultRetention></Rule>" if rule else ""
    enabled = f"<ObjectLockEnabled>{enabled}</ObjectLockEnabled>"
    return f"<ObjectLockConfiguration>{enabled}{rule}</ObjectLockConfiguration>".encode()


@pytest.mark.parametrize(
    "rule",
    ["", "<Mode>GOVERNANCE</Mode><Days>1</Days>", "<Mode>COMPLIANCE</Mode><Years>100</Years>"],
)
def test_lock_configuration_is_kept(rule: str) -> None:
    kept = read_lock_configuration(configuration(rule))
    assert rule in kept
    assert read_lock_configuration(kept.encode()) == kept
    assert (kept == LOCK_CONFIGURATION) == (not rule)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<ObjectLockConfiguration/>", "MalformedXML"),
        (configuration(enabled="Disabled"), "MalformedXML"),
        (configuration("<Mode>abc</Mode><Days>1</Days>"), "MalformedXML"),
        (configuration("<Mode>GOVERNANCE</Mode>"), "MalformedXML"),
        (configuration("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"), "MalformedXML"),
        (configuration("<Mode>GOVERNANCE</Mode><Days>x</Days>"), "MalformedXML"),
        (configuration(f"<Mode>GOVERNANCE</Mode><Days>{'9' * 5000}</Days>"), "MalformedXML"),
        (configuration("<Mode>GOVERNANCE</Mode><Days>0</Days>"), "InvalidRetentionPeriod"),
        (configuration("<Mode>GOVERNANCE</Mode><Years>-1</Years>"), "InvalidRetentionPeriod"),
        (configuration("<Mode>GOVERNANCE</Mode><Years>101</Years>"), "InvalidRetentionPeriod"),
    ],
)
def test_lock_configuration_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_lock_configuration(body)
    assert caught.value.code is ErrorCode[code]
