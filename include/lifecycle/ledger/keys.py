"""The ledger key: entries carry a keyed digest, so that who cannot read the key cannot write, edit or move one.

``RETRAIN_LEDGER_KEY`` holds it, or the file that ``RETRAIN_LEDGER_KEY_FILE`` names: 32 random bytes as 64 hexadecimal
digits, which ``openssl rand -hex 32`` makes. Several, separated by commas or line ends, are for a change of keys: the
first one signs, all of them are believed, and each entry says which signed it. It never comes from an Airflow
connection: whoever may edit connections is who it keeps out.

The keyed digest is an HMAC-SHA256 (RFC 2104) of the model's name, the entry's number and its content, which names the
digest of the entry before: an entry that was taken from another ledger or place is no better than an edited one.
Without a key entries are written and believed without one.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from include.lifecycle.errors import BadInputError

KEY_ENV, KEY_FILE_ENV = "RETRAIN_LEDGER_KEY", "RETRAIN_LEDGER_KEY_FILE"
KEY, MAC = "key", "mac"
"""Fields of an entry: which key signed it, and the keyed digest."""
_FORM = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Keyring:
    """The keys of the ledgers; the first one signs.

    :param keys: 32 bytes each; none: nothing is signed, and nothing needs to be
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Return what the environment holds.

        :raises BadInputError: names the variable that holds no key, and never what it holds
        """
        where, text = KEY_ENV, os.environ.get(KEY_ENV, "")
        if not text and (file := os.environ.get(KEY_FILE_ENV)):
            where = f"the file {file} ({KEY_FILE_ENV})"
            try:
                text = Path(file).read_text(encoding="ascii")
            except (OSError, ValueError) as error:
                raise BadInputError(f"{where} cannot be read: {type(error).__name__}") from error
            if not text.strip():
                raise BadInputError(f"{where} is empty: it should hold 64 hexadecimal digits (openssl rand -hex 32)")
        words = [word for word in re.split(r"[\s,]+", text) if word]
        if wrong := [number for number, word in enumerate(words, 1) if not _FORM.fullmatch(word)]:
            raise BadInputError(
                f"{where}: key {wrong[0]} of {len(words)} is not 64 hexadecimal digits (openssl rand -hex 32 makes one)"
            )
        return cls(tuple(bytes.fromhex(word) for word in words))

    @property
    def ids(self) -> list[str]:
        """What names the keys and tells nothing of them."""
        return [_id(key) for key in self.keys]

    def __bool__(self) -> bool:
        return bool(self.keys)

    def sign(self, content: Mapping[str, Any], *place: object) -> dict[str, Any]:
        """Return content with the keyed digest that holds for its place, as it is where there is no key.

        :param content: what JSON can hold
        :param place: what it belongs to, such as the model and the entry's number
        """
        if not self.keys:
            return dict(content)
        signed = {**content, KEY: _id(self.keys[0])}
        return {**signed, MAC: _mac(self.keys[0], signed, place)}

    def accepts(self, content: Mapping[str, Any], *place: object) -> bool:
        """Whether one of the keys signed content for its place."""
        given = content.get(MAC)
        key = next((key for key in self.keys if _id(key) == content.get(KEY)), None)
        if key is None or not isinstance(given, str):
            return False
        unsigned = {name: value for name, value in content.items() if name != MAC}
        return hmac.compare_digest(_mac(key, unsigned, place).encode(), given.encode())


def _id(key: bytes) -> str:
    """Return what names a key and tells nothing of it."""
    return hashlib.sha256(b"promotion ledger key:" + key).hexdigest()[:8]


def _mac(key: bytes, content: Mapping[str, Any], place: tuple[object, ...]) -> str:
    text = json.dumps([list(place), content], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
