from __future__ import annotations

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import DAY_US, AbortRule, abort_headers, abort_rules, read_lifecycle


def abort(days: object = 3) -> str:
    return (
        "<AbortIncompleteMultipartUpload>"
        f"<DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    )


def rule(
    where: str = "<Filter/>", status: str = "Enabled", action: str = abort(), name: str = ""
) -> str:
    name = f"<ID>{name}</ID>" if name else ""
    return f"<Rule>{name}{where}<Status>{status}</Status>{action}</Rule>"


TAGGED = "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>"
EXPIRE = "<Expiration>{}</Expiration>"


def document(*rules: str) -> bytes:
    return f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()


@pytest.mark.parametrize(
    ("where", "prefix"),
    [
        ("<Filter/>", b""),
        ("<Filter><Prefix/></Filter>", b""),
        ("<Filter><Prefix>tmp/</Prefix></Filter>", b"tmp/"),
        ("<Prefix>a &amp; b</Prefix>", b"a & b"),
        ("<Prefix> spaced </Prefix>", b" spaced "),
        ("<Prefix/>", b""),
    ],
)
def test_rule_is_kept_and_read(where: str, prefix: bytes) -> None:
    kept = read_lifecycle(document(rule(where, name="one"), rule(where, status="Disabled")))
    assert read_lifecycle(kept.encode()) == kept
    assert abort_rules(kept) == (AbortRule(prefix, 3, "one"),)
    assert "<ID>one</ID>" in kept
    assert kept.count("<Rule>") == 2


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([], "MalformedXML"),
        ([rule("")], "MalformedXML"),
        ([rule("<Filter/><Prefix/>")], "MalformedXML"),
        ([rule(status="enabled")], "MalformedXML"),
        ([rule(action="")], "MalformedXML"),
        ([rule(action=abort() * 2)], "MalformedXML"),
        ([rule(action=abort("x"))], "MalformedXML"),
        ([rule(action=abort(""))], "MalformedXML"),
        ([rule(action="<AbortIncompleteMultipartUpload/>")], "MalformedXML"),
        ([rule(action=abort("9" * 5000))], "MalformedXML"),
        ([rule(action=abort(0))], "InvalidArgument"),
        ([rule(action=abort(-1))], "InvalidArgument"),
        ([rule(name="x" * 256)], "InvalidArgument"),
        ([rule(name="x"), rule(name="x")], "InvalidArgument"),
        ([rule(f"<Prefix>{'x' * 1025}</Prefix>")], "InvalidRequest"),
        ([rule(f"<Filter><Prefix>{'é' * 513}</Prefix></Filter>")], "InvalidRequest"),
        ([rule(f"<Prefix>{'>' * 1000}</Prefix>")] * 1000, "MalformedXML"),
        ([rule(TAGGED)], "InvalidRequest"),
        ([rule(action=abort() + "<Expiration><Days>1</Days></Expiration>")], "NotImplemented"),
        ([rule(action="<Transition><Days>1</Days></Transition>")], "NotImplemented"),
        ([rule(action="<NoncurrentVersionExpiration/>")], "NotImplemented"),
        ([rule(TAGGED, action=EXPIRE.format("<Days>1</Days>"))], "NotImplemented"),
        # What AWS refuses, too, is refused as on AWS.
        ([rule(action=EXPIRE.format("<Days>0</Days>"))], "InvalidArgument"),
        ([rule(action=EXPIRE.format(f"<Days>{'9' * 5000}</Days>"))], "InvalidArgument"),
        ([rule(action=EXPIRE.format("<Date>20200101</Date>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Date>2030-01-01T00:00:00Z</Date>"))], "NotImplemented"),
        ([rule(action=EXPIRE.format("<Days>1</Days>"), status="enabled")], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Days>1</Days>"), name="x" * 256)], "InvalidArgument"),
        ([rule(action=EXPIRE.format("<Days>1</Days>"), name="x")] * 2, "InvalidArgument"),
    ],
)
def test_rules_are_refused(rules: list[str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_lifecycle(document(*rules))
    assert caught.value.code is ErrorCode[code]


@pytest.mark.parametrize(
    ("created_days", "now_days", "due"),
    [
        (10.5, 13.4, False),
        (10.5, 13.6, False),
        (10.5, 13.99, False),
        (10.5, 14.0, True),
        (10.0, 13.0, True),
        (10.0, 12.99, False),
    ],
)
def test_upload_is_due_at_the_midnight_after_its_days(
    created_days: float, now_days: float, due: bool
) -> None:
    limit = AbortRule(b"", 3).created_us_max(int(now_days * DAY_US))
    assert (int(created_days * DAY_US) <= limit) is due


@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("created_us", [0, 1, DAY_US - 1, DAY_US, 5 * DAY_US + 7])
def test_upload_is_due_at_the_moment_that_is_announced(days: int, created_us: int) -> None:
    rule = AbortRule(b"", days)
    due_us = rule.due_us(created_us)
    assert rule.created_us_max(due_us) >= created_us
    assert rule.created_us_max(due_us - 1) < created_us


def test_first_rule_to_apply_is_announced() -> None:
    rules = (AbortRule(b"tmp/", 7, "late"), AbortRule(b"tmp/", 2, "a\nb"), AbortRule(b"x", 1))
    assert abort_headers(rules, b"tmp/k", DAY_US + 5) == {
        "x-amz-abort-date": "Mon, 05 Jan 1970 00:00:00 GMT",
        "x-amz-abort-rule-id": "a b",
    }
    assert abort_headers(rules, b"other", 0) == {}
    assert abort_headers((AbortRule(b"", 2**31 - 1),), b"k", 0) == {}
    assert abort_headers((AbortRule(b"", 2_932_896),), b"k", 0) == {
        "x-amz-abort-date": "Fri, 31 Dec 9999 00:00:00 GMT"
    }
