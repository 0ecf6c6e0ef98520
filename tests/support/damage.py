"""Well-formed texts with a few things wrong, for readers that must refuse and not fall over."""

from __future__ import annotations

from hypothesis import strategies as st

# Lone surrogates stand for bytes that are no UTF-8; others than these cannot come over the wire.
NASTY = [
    *"\0\t\r\n \"'%&+,-./0:;<=>?@[]{}é\udcff\U0001f642１",
    *("%00", "%zz", "%2F", "%C3", "&amp;", "&#0;", "<![CDATA[", "<!DOCTYPE a>", "&&", "==", "--"),
    *("bytes=", "99999999999999999999", "-1", "1e9", "T", "Z", "0000", "*", "W/"),
]


@st.composite
def damaged(draw: st.DrawFn, specimens: list[str]) -> str:
    """One of the specimens with up to four pieces cut out, put in or doubled."""
    text = draw(st.sampled_from(specimens))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        stop = min(len(text), at + draw(st.integers(0, 8)))
        piece = draw(
            st.one_of(st.sampled_from(["", text[at:stop] * 2, *NASTY]), st.text(max_size=3))
        )
        text = text[:at] + piece + text[stop:]
    return text
