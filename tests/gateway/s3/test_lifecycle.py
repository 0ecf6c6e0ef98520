from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from gateway.s3.errors import ErrorCode, S3Error
from gateway.s3.lifecycle import (
    abort_rules,
    expiration_rules,
    expiring_prefixes,
    marker_prefixes,
)
from gateway.s3.lifecycle import read_lifecycle as read_with_ids
from gateway.s3.lifecycle_rules import AbortRule, ExpirationRule, ObjectFilter


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


TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"
TAGGED = f"<Filter>{TAG.format('a', 'b')}</Filter>"
EXPIRE = "<Expiration>{}</Expiration>"
DAYS = EXPIRE.format("<Days>1</Days>")
MARKER = EXPIRE.format("<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>")


def document(*rules: str) -> bytes:
    return f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()


def read_lifecycle(body: bytes) -> str:
    numbers = itertools.count(1)
    return read_with_ids(body, lambda: f"made-{next(numbers)}")


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
    action = abort() + DAYS
    kept = read_lifecycle(
        document(rule(where, name="one", action=action), rule(where, status="Disabled"))
    )
    assert read_lifecycle(kept.encode()) == kept
    assert abort_rules(kept) == (AbortRule(prefix, 3, "one"),)
    assert expiration_rules(kept) == (ExpirationRule("one", ObjectFilter(prefix), 1),)
    assert "<ID>one</ID>" in kept
    assert "<ID>made-1</ID>" in kept
    assert kept.count("<Rule>") == 2


TAG_A, TAG_B = TAG.format("a", "b"), TAG.format("c", "x y")
ABOVE = "<ObjectSizeGreaterThan>{}</ObjectSizeGreaterThan>"
BELOW = "<ObjectSizeLessThan>{}</ObjectSizeLessThan>"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (TAG_A, ObjectFilter(tags=(("a", "b"),))),
        (TAG.format("empty", ""), ObjectFilter(tags=(("empty", ""),))),
        (ABOVE.format(0), ObjectFilter(size_greater_than=0)),
        (BELOW.format(7), ObjectFilter(size_less_than=7)),
        (f"<And>{TAG_B}{TAG_A}</And>", ObjectFilter(tags=(("c", "x y"), ("a", "b")))),
        (f"<And><Prefix>p</Prefix>{TAG_A}</And>", ObjectFilter(b"p", (("a", "b"),))),
        (
            f"<And><Prefix>p</Prefix>{TAG_A}{ABOVE.format(1)}{BELOW.format(3)}</And>",
            ObjectFilter(b"p", (("a", "b"),), 1, 3),
        ),
    ],
)
def test_filter_is_kept_and_read(conditions: str, expected: ObjectFilter) -> None:
    kept = read_lifecycle(document(rule(f"<Filter>{conditions}</Filter>", action=DAYS)))
    assert f"<Filter>{conditions}</Filter>" in kept
    assert read_lifecycle(kept.encode()) == kept
    assert [found.filter for found in expiration_rules(kept)] == [expected]
    assert expiring_prefixes(kept) == {expected.prefix}


@pytest.mark.parametrize(
    ("given", "kept_date"),
    [
        ("2030-01-31T00:00:00Z", "2030-01-31"),
        ("2030-01-31T00:00:00.000Z", "2030-01-31"),
        ("2030-01-31T02:00:00+02:00", "2030-01-31"),
        (" 2015-01-01T00:00:00Z ", "2015-01-01"),
        ("0001-01-01T00:00:00Z", "0001-01-01"),
    ],
)
def test_date_is_kept_and_read(given: str, kept_date: str) -> None:
    kept = read_lifecycle(document(rule(action=EXPIRE.format(f"<Date>{given}</Date>"))))
    assert EXPIRE.format(f"<Date>{kept_date}T00:00:00.000Z</Date>") in kept
    assert read_lifecycle(kept.encode()) == kept
    (found,) = expiration_rules(kept)
    moment = datetime.fromisoformat(kept_date).replace(tzinfo=UTC)
    assert found.date_us == int(moment.timestamp()) * 1_000_000
    assert found.days is None


@pytest.mark.parametrize("value", ["true", "false"])
def test_expiry_of_delete_markers_is_kept_and_hides_nothing(value: str) -> None:
    action = MARKER.replace("true", value)
    kept = read_lifecycle(document(rule("<Prefix>p</Prefix>", action=action)))
    assert action in kept
    assert expiration_rules(kept) == ()
    assert expiring_prefixes(kept) == {b"p"}
    assert marker_prefixes(kept) == ({b"p"} if value == "true" else set())
    assert marker_prefixes(kept.replace("Enabled", "Disabled")) == set()


def test_rules_that_were_kept_without_an_id_are_read() -> None:
    old = document(rule("<Prefix>p</Prefix>")).decode()
    assert abort_rules(old) == (AbortRule(b"p", 3),)


def test_day_has_the_length_that_is_asked_for() -> None:
    kept = read_lifecycle(document(rule(action=abort(2) + DAYS)))
    (aborting,), (expiring,) = abort_rules(kept, 5), expiration_rules(kept, 5)
    assert aborting.due_us(1) == 15
    assert expiring.due_us(1) == 10


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
        ([rule(action=abort(2**31))], "InvalidArgument"),
        ([rule(name="x" * 256)], "InvalidArgument"),
        ([rule(name="x"), rule(name="x")], "InvalidArgument"),
        ([rule(f"<Prefix>{'x' * 1025}</Prefix>")], "InvalidRequest"),
        ([rule(f"<Filter><Prefix>{'é' * 513}</Prefix></Filter>")], "InvalidRequest"),
        ([rule(f"<Prefix>{'>' * 1000}</Prefix>")] * 1000, "MalformedXML"),
        ([rule(TAGGED)], "InvalidRequest"),
        ([rule(f"<Filter>{ABOVE.format(1)}</Filter>")], "InvalidRequest"),
        # What would move objects or remove versions.
        ([rule(action=abort() + "<Transition><Days>1</Days></Transition>")], "NotImplemented"),
        ([rule(action="<Transition><Days>0</Days></Transition>" * 2)], "NotImplemented"),
        ([rule(action=DAYS + "<NoncurrentVersionExpiration/>")], "NotImplemented"),
        ([rule(action="<NoncurrentVersionTransition/>", status="Disabled")], "NotImplemented"),
        ([rule(action="<Transition><Date>20220927</Date></Transition>")], "MalformedXML"),
        # Expiration has one of its three forms.
        ([rule(action=EXPIRE.format(""))], "MalformedXML"),
        ([rule(action=DAYS * 2)], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Days>1</Days>" * 2))], "MalformedXML"),
        (
            [rule(action=EXPIRE.format("<Days>1</Days><Date>2030-01-01T00:00:00Z</Date>"))],
            "MalformedXML",
        ),
        ([rule(action=MARKER.replace("true", "yes"))], "MalformedXML"),
        ([rule(action=MARKER.replace("<Expired", "<Days>1</Days><Expired"))], "MalformedXML"),
        ([rule(TAGGED, action=MARKER)], "InvalidRequest"),
        ([rule(f"<Filter>{BELOW.format(1)}</Filter>", action=MARKER)], "InvalidRequest"),
        ([rule(action=EXPIRE.format("<Days>0</Days>"))], "InvalidArgument"),
        ([rule(action=EXPIRE.format("<Days>-1</Days>"))], "InvalidArgument"),
        ([rule(action=EXPIRE.format("<Days>1.5</Days>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format(f"<Days>{'9' * 5000}</Days>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Date>20200101</Date>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Date>2030-02-30T00:00:00Z</Date>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Date>0001-01-01T00:00:00+01:00</Date>"))], "MalformedXML"),
        ([rule(action=EXPIRE.format("<Date>2030-01-01T01:00:00Z</Date>"))], "InvalidArgument"),
        ([rule(action=EXPIRE.format("<Date>2030-01-01T00:00:00.1Z</Date>"))], "InvalidArgument"),
        ([rule(action=DAYS, status="enabled")], "MalformedXML"),
        ([rule(action=DAYS, name="x" * 256)], "InvalidArgument"),
        ([rule(action=DAYS, name="x")] * 2, "InvalidArgument"),
        # A Filter has one condition, an And one of each kind but for tags.
        ([rule(f"<Filter><Prefix>p</Prefix>{TAG_A}</Filter>", action=DAYS)], "MalformedXML"),
        ([rule(f"<Filter>{TAG_A}{TAG_B}</Filter>", action=DAYS)], "MalformedXML"),
        ([rule("<Filter><And/></Filter>", action=DAYS)], "MalformedXML"),
        ([rule(f"<Filter><And>{ABOVE.format(1) * 2}</And></Filter>", action=DAYS)], "MalformedXML"),
        ([rule(f"<Filter><And>{TAG_A * 2}</And></Filter>", action=DAYS)], "InvalidRequest"),
        ([rule("<Filter><Tag><Key>a</Key></Tag></Filter>", action=DAYS)], "MalformedXML"),
        ([rule(f"<Filter>{TAG.format('', 'b')}</Filter>", action=DAYS)], "InvalidTag"),
        ([rule(f"<Filter>{TAG.format('a', 'b' * 257)}</Filter>", action=DAYS)], "InvalidTag"),
        ([rule(f"<Filter>{ABOVE.format('x')}</Filter>", action=DAYS)], "MalformedXML"),
        ([rule(f"<Filter>{ABOVE.format(-1)}</Filter>", action=DAYS)], "InvalidRequest"),
        ([rule(f"<Filter>{BELOW.format(0)}</Filter>", action=DAYS)], "InvalidRequest"),
        (
            [rule(f"<Filter><And>{ABOVE.format(5)}{BELOW.format(5)}</And></Filter>", action=DAYS)],
            "InvalidRequest",
        ),
    ],
)
def test_rules_are_refused(rules: list[str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_lifecycle(document(*rules))
    assert caught.value.code is ErrorCode[code]
