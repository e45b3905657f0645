"""Anchors: what an entry of the ledger was, kept where whoever can edit MLflow cannot edit it.

The chain of digests shows an edited entry, but neither a missing last one nor a chain that was computed anew. An
anchor, the number and digest of an entry, shows both for everything up to that entry. They are kept

* on each version that came into Production, as a tag that carries the ledger's key: only deleting it makes it useless,
* in Airflow: the audit log's rows of decisions and the events of the asset of a model's Production version,
* in the file that the environment's ``RETRAIN_LEDGER_ANCHORS`` names, by the command line, which also prints one with
  each confirmation.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from include.lifecycle.errors import BadInputError
from include.lifecycle.ledger.keys import Keyring
from include.lifecycle.ledger.state import LedgerState
from include.lifecycle.rules.decisions import utc_now
from include.lifecycle.untrusted_text import one_line

ANCHORS_ENV = "RETRAIN_LEDGER_ANCHORS"
SHOWN = 16
"""Hexadecimal digits of a digest that people copy: 64 bits, and the fewest that an anchor may have."""
_PLACE = "anchor"
_FORM = re.compile(r"(\d{1,8}):([0-9a-f]{16,64})")


class Anchor(NamedTuple):
    """An entry's number and its digest, or the beginning of that."""

    entry: int
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the anchor that ``12:3fa9...`` names.

        :raises BadInputError: when it does not
        """
        found = _FORM.fullmatch(text.strip().lower())
        if found is None:
            raise BadInputError(
                f"anchor {one_line(text, 80)!r}: give ENTRY:DIGEST with at least {SHOWN} digits of the digest,"
                " as the confirmation of a promotion shows them"
            )
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"ledger entry {self.entry}, digest {self.digest[:SHOWN]}"


def head_of(state: LedgerState) -> Anchor | None:
    """Return the anchor of the last entry, None when there is none."""
    return Anchor(state.entries[-1].number, state.entries[-1].digest) if state.entries else None


def compare(state: LedgerState, anchors: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Yield what does not agree with the anchors, one sentence each."""
    digests = {entry.number: entry.digest for entry in state.entries}
    last = state.next_number - 1
    for number, digest in sorted(set(anchors)):
        if number < state.judged_from:
            continue
        found = digests.get(number)
        if number > last:
            yield f"entry {number} was there once and is missing: the ledger was cut after entry {last}"
        elif found is None:
            yield f"entry {number} was there once and is missing"
        elif len(digest) < SHOWN or not found.startswith(digest):
            yield f"entry {number} is not what it was: its digest is {found[:SHOWN]}, the anchor says {digest[:SHOWN]}"


def sign(keyring: Keyring, model: str, anchor: Anchor, server: str = "") -> str:
    """Return an anchor as it is kept where people can write, signed where there is a key.

    :param server: tells the registry among several that have a model of this name, empty for what is kept in it
    """
    content = {**anchor._asdict(), "model": model, "server": server}
    return json.dumps(keyring.sign(content, _PLACE), sort_keys=True)


def signed(keyring: Keyring, model: str, texts: Iterable[object], server: str = "") -> Iterator[Anchor]:
    """Yield the anchors of a model and server among texts; where there is a key, those that it signed."""
    for text in texts:
        try:
            content = json.loads(text) if isinstance(text, str) else {}
            ours = (content["model"], content["server"]) == (model, server)
            if ours and (not keyring or keyring.accepts(content, _PLACE)):
                yield Anchor.parse(f"{content['entry']}:{content['digest']}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInputError):
            continue


def append(path: Path, model: str, ledger_id: str, anchor: Anchor) -> None:
    """Append an anchor to a file: one JSON object a line, written by one call, so that writers do not mix.

    :raises OSError: when the file cannot be written, or is a pipe or device, which keeps nothing
    """
    content = {"time": utc_now().isoformat(), "model": model, "ledger": ledger_id, **anchor._asdict()}
    line = json.dumps(content, ensure_ascii=False) + "\n"
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        # what a full disk cut short must not spoil this line too
        broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if broken else b"") + line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, model: str) -> list[Anchor]:
    """Return the anchors of a model that a file holds.

    :raises BadInputError: names the file and the line that cannot be read
    """
    found: list[Anchor] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The file of anchors {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            anchor = Anchor.parse(f"{content['entry']}:{content['digest']}")
        except (ValueError, KeyError, TypeError, BadInputError) as error:
            raise BadInputError(f"{path}, line {number} is no anchor: correct or remove the line") from error
        if content.get("model") == model:
            found.append(anchor)
    return found
