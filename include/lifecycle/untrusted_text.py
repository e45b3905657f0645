"""Untrusted text: what people type into forms and notes ends in Markdown, HTML, tags and the ledger."""

import hashlib
import html
import re

MARKDOWN = re.compile(r"[\\`*_{}\[\]|~$<>]")
"""What is markup inside a line (what is markup at its start only never stands there)."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
SURROGATES = re.compile(r"[\ud800-\udfff]")
WORD = re.compile(r"\S+")
FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Unicode's letters that are invisible by default."""
AUTOLINK = re.compile(r"(?i)\b(https?|ftp|mailto|javascript|data|file):|\bwww\.|@")


def storable(text: str) -> str:
    """Return text that every database and JSON take: no lone surrogates, no control or invisible characters.

    Line ends and tabs stay.
    """
    return CONTROL.sub("\ufffd", SURROGATES.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")))


def says_something(text: str) -> bool:
    """Whether a text has a letter or digit that is seen. Some letters show nothing, such as the Hangul filler."""
    return any(letter.isalnum() and letter not in FILLERS for letter in text)


def shorten(text: str, limit: int) -> str:
    """Return ``text``, cut to ``limit`` characters with a sign that it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without_credentials(text: str) -> str:
    """Return ``text`` with what stands between ``://`` and the last ``@`` of each word blotted out.

    Whether that is a well-formed URL does not matter: a password with an unencoded ``/``, ``?`` or ``#`` makes it none.
    """
    return WORD.sub(lambda found: _without_user(found.group()), text) if "://" in text else text


def _without_user(word: str) -> str:
    start, end = word.find("://") + 3, word.rfind("@")
    return f"{word[:start]}***{word[end:]}" if 3 <= start <= end else word


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def one_line(text: str, limit: int = 300) -> str:
    """Return ``text`` in one line, for a log or a table."""
    return shorten(" ".join(storable(text).split()), limit)


def markdown(text: str, limit: int = 1000) -> str:
    """Return ``text`` so that Markdown and HTML show it as it is, in one line, with no link in it.

    HTML entities rather than backslashes: renderers differ in what they let a backslash escape, and
    none of them reads markup out of an entity.
    """
    shown = html.escape(one_line(text, limit), quote=True)
    shown = MARKDOWN.sub(lambda found: f"&#{ord(found.group())};", shown.replace("&", "\0")).replace("\0", "&")
    return AUTOLINK.sub(lambda found: _without_link(found.group()), shown)


def _without_link(text: str) -> str:
    return text.replace(":", "&#58;").replace(".", "&#46;").replace("@", "&#64;")
