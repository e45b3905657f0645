"""What fuzzing once found, as files: each is read again with the other tests.

A file's name begins with what it is read as (train, store, future, config). What a run finds is written here as
``KIND-new.SUFFIX``, the smallest last: mend it, give the file a name that says what it is, and commit it.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def files(*kinds: str) -> list[Path]:
    """Every kept file of some kinds."""
    return sorted(path for path in FOLDER.iterdir() if path.name.partition("-")[0] in kinds)


def keep(kind: str, suffix: str, content: bytes) -> None:
    """Keep what was found."""
    (FOLDER / f"{kind}-new{suffix}").write_bytes(content)


def assert_one_sentence(error: Exception, named: str = "") -> None:
    """Check that an error is one that a person reads in a log's last line.

    :param named: what it names
    """
    said = str(error)
    assert said.strip()
    assert named in said
    assert not {"\n", "\r"} & set(said)
    assert "Traceback" not in said
    assert len(said) < 4000, len(said)
