"""The page about compatibility says what the code does."""

from __future__ import annotations

from gateway.web.dispatch import HANDLERS
from tests.conformance.compatibility import NOTES, PAGE, UNSUPPORTED, described_operations, page


def test_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: make docs"


def test_every_operation_has_a_sentence() -> None:
    assert [name for name, text in described_operations().items() if not text] == []


def test_notes_and_refusals_are_about_what_is_there() -> None:
    supported = {operation.name for operation in HANDLERS}
    assert NOTES.keys() <= supported
    assert not supported & set(UNSUPPORTED)
