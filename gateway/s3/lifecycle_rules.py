"""What a lifecycle rule says of one upload or one object: whether it applies, and when it is due.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from gateway.s3.tagging import Tags, decode_tags
from gateway.s3.timestamps import http_date

DAY_US = 86_400_000_000
# The year 10000, which no date can show.
DATES_STOP_US = 2_932_897 * DAY_US

EXPIRATION_HEADER = "x-amz-expiration"


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Which objects a rule is about: those that meet all of its conditions.

    An object has every one of the `tags`, and a size between the two, in bytes, both exclusive.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-filters.html
    """

    prefix: bytes = b""
    tags: Tags = ()
    size_greater_than: int | None = None
    size_less_than: int | None = None

    @property
    def is_prefix_only(self) -> bool:
        """Whether it asks for nothing but the prefix, so that it is good for uploads, too."""
        return not self.tags and self.size_greater_than is None and self.size_less_than is None

    def fits_size(self, size: int) -> bool:
        """Whether an object of so many bytes is not ruled out."""
        return (self.size_greater_than is None or size > self.size_greater_than) and (
            self.size_less_than is None or size < self.size_less_than
        )

    def fits_tags(self, tagging: str | None) -> bool:
        """Whether an object with these tags, as its note has them, is not ruled out."""
        return not self.tags or set(self.tags) <= set(decode_tags(tagging))


@dataclass(frozen=True, slots=True)
class AbortRule:
    """Uploads below a prefix are aborted so many days after they were created."""

    prefix: bytes
    days: int
    name: str = ""
    day_us: int = DAY_US

    def created_us_max(self, now_us: int) -> int:
        """Uploads created up to this moment are due, both in microseconds since 1970."""
        return _created_us_max(now_us, self.days, self.day_us)

    def due_us(self, created_us: int) -> int:
        """When an upload that was created at this moment is due."""
        return _due_us(created_us, self.days, self.day_us)


@dataclass(frozen=True, slots=True)
class ExpirationRule:
    """What a key shows is hidden so many days after it was created, or on a date.

    Either `days` or `date_us`, in microseconds since 1970, is given.
    """

    name: str
    filter: ObjectFilter
    days: int | None = None
    date_us: int | None = None
    day_us: int = DAY_US

    def created_us_max(self, now_us: int) -> int:
        """Objects created up to this moment are due, both in microseconds since 1970.

        From its date on a rule is for every object, those that come later too.
        """
        if self.days is not None:
            return _created_us_max(now_us, self.days, self.day_us)
        assert self.date_us is not None, "a rule has days or a date"
        return now_us if now_us >= self.date_us else -1

    def due_us(self, created_us: int) -> int:
        """When an object that was created at this moment is due."""
        if self.days is not None:
            return _due_us(created_us, self.days, self.day_us)
        assert self.date_us is not None, "a rule has days or a date"
        return self.date_us

    def applies_to(self, key: bytes, size: int, tagging: str | None) -> bool:
        """Whether it is about an object; `tagging` is the note of its tags."""
        wanted = self.filter
        return (
            key.startswith(wanted.prefix) and wanted.fits_size(size) and wanted.fits_tags(tagging)
        )


def abort_headers(rules: Iterable[AbortRule], key: bytes, created_us: int) -> dict[str, str]:
    """The headers that say when an upload will be aborted, and by which rule; perhaps none.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    fitting = [rule for rule in rules if key.startswith(rule.prefix)]
    if not fitting:
        return {}
    first = min(fitting, key=lambda rule: rule.days)
    due_us = first.due_us(created_us)
    # A rule that waits for thousands of years has no date.
    headers = {"x-amz-abort-date": http_date(due_us)} if due_us < DATES_STOP_US else {}
    if first.name:
        headers["x-amz-abort-rule-id"] = " ".join(first.name.split())
    return headers


def expiration_text(
    rules: Iterable[ExpirationRule], key: bytes, size: int, tagging: str | None, created_us: int
) -> str | None:
    """What x-amz-expiration says of an object: the first date and its rule; None without one.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """
    fitting = [rule for rule in rules if rule.applies_to(key, size, tagging)]
    if not fitting:
        return None
    first = min(fitting, key=lambda rule: rule.due_us(created_us))
    due_us = first.due_us(created_us)
    if due_us >= DATES_STOP_US:
        return None
    return f'expiry-date="{http_date(due_us)}", rule-id="{quote(first.name, safe="")}"'


# S3 adds the days to the moment of creation and rounds up to the next midnight (UTC):
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
def _due_us(created_us: int, days: int, day_us: int) -> int:
    return -(-created_us // day_us) * day_us + days * day_us


def _created_us_max(now_us: int, days: int, day_us: int) -> int:
    return now_us // day_us * day_us - days * day_us
