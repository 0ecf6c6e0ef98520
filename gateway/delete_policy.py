"""What a DELETE may do to a key: nothing, hide it, or remove it; by bucket, prefix and glob.

Permanence is the default. `hide` puts a delete marker over what stays stored and readable by its
version id. `scratch` is for locks and other passing things, which tools must be able to remove.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache

SETTING_NAME = "delete-policy"
"""The name of a bucket's setting whose document `encode_policy` writes."""


class DeleteMode(Enum):
    """What a DELETE does.

    DENY: 403, always. HIDE: a delete marker over the key; versions stay, and are refused 403.
    SCRATCH: the key and its versions are removed.
    """

    DENY = "deny"
    HIDE = "hide"
    SCRATCH = "scratch"


class InvalidPolicyError(ValueError):
    """A delete policy that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    """The mode for whatever is not named, and globs of the keys that have another one.

    A key has the mode of the first glob that fits: `scratch` before `hide` before `deny`. In a
    glob `*` is anything but a slash, `**` anything, `**/` any folders or none, `?` one character;
    one that ends in a slash means everything below it.
    """

    mode: DeleteMode = DeleteMode.DENY
    scratch: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @property
    def denies_all(self) -> bool:
        """Whether there is no key that could be deleted."""
        return self.mode is DeleteMode.DENY and not self.scratch and not self.hide

    def mode_of(self, key: bytes) -> DeleteMode:
        """What a DELETE does to this key."""
        for mode in (DeleteMode.SCRATCH, DeleteMode.HIDE, DeleteMode.DENY):
            globs: tuple[str, ...] = getattr(self, mode.value)
            if any(_compiled(glob).fullmatch(key) for glob in globs):
                return mode
        return self.mode

    def denies_below(self, prefix: str) -> bool:
        """Whether it may deny a key that starts with this prefix; in doubt it does."""
        if any(_covers(glob, prefix) for glob in (*self.scratch, *self.hide)):
            return False
        if self.mode is DeleteMode.DENY:
            return True
        return any(_states(glob, prefix) for glob in self.deny)


PRESETS = {
    # Nothing is ever deleted.
    "archive": DeletePolicy(),
    # `forget` hides snapshots. Packs, indexes and keys stay: `prune` and `key remove` are refused.
    "restic": DeletePolicy(scratch=("**/locks/*",), hide=("**/snapshots/*",)),
    # `expire` and the clean-up after an interrupted backup hide; the `latest` link comes and goes.
    "pgbackrest": DeletePolicy(DeleteMode.HIDE),
    # Locks go for good. Removing a workspace hides its state.
    "terraform": DeletePolicy(DeleteMode.HIDE, scratch=("**/*.tflock",)),
    # A push is moved out of `_uploads`; garbage collection hides layers and manifests.
    "registry": DeletePolicy(DeleteMode.HIDE, scratch=("**/_uploads/**",)),
    # Everything a file system does: sync, move, delete and purge all hide.
    "rclone": DeletePolicy(DeleteMode.HIDE),
}
"""Policies that tools run clean with, by the name of the tool."""


def parse_policy(text: str) -> DeletePolicy:
    """Read a preset's name, a mode, or the JSON that `encode_policy` writes.

    Raises InvalidPolicyError.
    """
    if text in PRESETS:
        return PRESETS[text]
    if not text.lstrip().startswith("{"):
        try:
            return DeletePolicy(_mode(text))
        except InvalidPolicyError as error:
            raise InvalidPolicyError(f"{error}, nor a preset: {', '.join(PRESETS)}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidPolicyError(f"not valid JSON: {error}") from None
    known = {field.name for field in fields(DeletePolicy)}
    if unknown := sorted(document.keys() - known):
        raise InvalidPolicyError(
            f"unknown member {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )
    globs = {}
    for mode in DeleteMode:
        given = document.get(mode.value, [])
        if not isinstance(given, list) or not all(isinstance(glob, str) and glob for glob in given):
            raise InvalidPolicyError(f"{mode.value}: a list of globs is needed")
        globs[mode.value] = tuple(given)
    return DeletePolicy(_mode(document.get("mode", DeleteMode.DENY.value)), **globs)


def make_policy(
    preset: str | None, mode: str | None, globs: Mapping[str, Sequence[str]]
) -> DeletePolicy:
    """The preset, or a policy of its own from a mode (deny if not given) and globs by mode.

    Raises InvalidPolicyError.
    """
    if preset is None:
        document = {"mode": mode or DeleteMode.DENY.value}
        return parse_policy(json.dumps(document | {name: list(globs[name]) for name in globs}))
    if preset not in PRESETS:
        raise InvalidPolicyError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]


def encode_policy(policy: DeletePolicy) -> str:
    """The policy as JSON; `parse_policy` reads it."""
    document: dict[str, object] = {"mode": policy.mode.value}
    for mode in DeleteMode:
        if globs := getattr(policy, mode.value):
            document[mode.value] = list(globs)
    return json.dumps(document, ensure_ascii=False)


def _mode(text: object) -> DeleteMode:
    try:
        # Scratch for all that is not named would be a store that forgets.
        if text != DeleteMode.SCRATCH.value:
            return DeleteMode(text)
    except ValueError:
        pass
    raise InvalidPolicyError(f"{text!r} is neither deny nor hide")


@lru_cache(256)
def _compiled(glob: str) -> re.Pattern[bytes]:
    """The glob as a pattern for whole keys."""
    pattern = "".join(_PIECES.get(piece) or re.escape(piece) for piece in _pieces(glob))
    return re.compile(pattern.encode(), re.DOTALL)


def _pieces(glob: str) -> list[str]:
    return _SPLIT.split(glob + "**" if glob.endswith("/") else glob)


def _covers(glob: str, prefix: str) -> bool:
    """Whether a glob fits every key that starts with this prefix, by ending in `**`."""
    steps = _steps(glob)
    return steps[-1] == "**" and len(steps) - 1 in _states(glob, prefix)


def _states(glob: str, prefix: str) -> set[int]:
    """At which steps of a glob a key that starts with this prefix may be; at none: it never fits.

    Whatever the step, there is a key that goes on from there to the end of the glob.
    """
    steps = _steps(glob)
    states = _with_skips(steps, {0})
    for character in prefix:
        if not states:
            break
        following = set()
        for at in states:
            step = steps[at] if at < len(steps) else ""
            if step in _LOOPS and (step != "*" or character != "/"):
                following.add(at)
            if step == character or (step == "?" and character != "/"):
                following.add(at + 1)
            if step == "**/" and character == "/":
                following.add(at + 1)
        states = _with_skips(steps, following)
    return states


def _with_skips(steps: Sequence[str], states: set[int]) -> set[int]:
    """The states, and those that are reached from them without another character."""
    reached, waiting = set(states), list(states)
    while waiting:
        at = waiting.pop()
        step = steps[at] if at < len(steps) else ""
        # Folders, once there is one, end in their slash: they are skipped as a whole or not at all.
        for further in {"*": (1,), "**": (1,), _FOLDERS: (1, 2)}.get(step, ()):
            if at + further not in reached:
                reached.add(at + further)
                waiting.append(at + further)
    return reached


@lru_cache(256)
def _steps(glob: str) -> tuple[str, ...]:
    """The glob as steps: single characters, `?`, loops, and a step before `**/` to skip it by."""
    steps: list[str] = []
    for piece in _pieces(glob):
        if piece == "**/":
            steps += (_FOLDERS, piece)
        elif piece in _PIECES:
            steps.append(piece)
        else:
            steps += piece
    return tuple(steps)


_LOOPS = frozenset({"*", "**", "**/"})
_FOLDERS = "folders"
_SPLIT = re.compile(r"(\*\*/|\*\*|\*|\?)")
# A character is up to four bytes of UTF-8.
_PIECES = {
    "**/": "(?:.*/)?",
    "**": ".*",
    "*": "[^/]*",
    "?": "(?:[^/\\x80-\\xff]|[\\xc2-\\xf4][\\x80-\\xbf]{1,3})",
}
