import json
import stat

import pytest

from local_stack.credentials import load_or_create, password_file
from local_stack.errors import StackError


def test_made_once_and_kept(tmp_path):
    first = load_or_create(tmp_path)
    second = load_or_create(tmp_path)
    assert first.new
    assert not second.new
    assert (first.user, first.password, first.jwt_secret) == (second.user, second.password, second.jwt_secret)


def test_two_stacks_have_different_passwords(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert load_or_create(tmp_path / "a").password != load_or_create(tmp_path / "b").password


def test_only_the_owner_reads_the_files(tmp_path):
    load_or_create(tmp_path)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("credentials.json", "airflow_passwords.json", "ledger.key"), 0o600)


def test_airflow_reads_the_same_password(tmp_path):
    made = load_or_create(tmp_path)
    password_file(tmp_path).unlink()
    load_or_create(tmp_path)
    assert json.loads(password_file(tmp_path).read_text()) == {made.user: made.password}


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(StackError, match=r"credentials\.json"):
        load_or_create(tmp_path)


def test_the_key_of_airflows_tokens_is_as_long_as_it_wants(tmp_path):
    assert len(load_or_create(tmp_path).jwt_secret.encode()) >= 64
