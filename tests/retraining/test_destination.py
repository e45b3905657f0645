"""Writing one file: what a reader sees when it fails, is killed or meets something that is no file."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from include.lifecycle.errors import BadInputError, ReportedError
from include.retraining.files import destination, remote
from include.retraining.files.destination import write
from include.retraining.files.remote import RemoteFiles
from include.retraining.predict.places import LocalFiles, fetch_input

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

SLOW = """
import os, sys, time
from include.retraining.files.destination import write

def slow(handle, sync=os.fsync):
    print("writing", flush=True)
    sys.stdin.read()
    sync(handle)

os.fsync = slow
write(sys.argv[1], b"new" * 1000)
"""
LIMITED = """
import resource, sys
from include.lifecycle.errors import BadInputError
from include.retraining.files.destination import write

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write(sys.argv[1], b"x" * 100_000)
except BadInputError as error:
    sys.exit(str(error))
"""


def writer(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def slow_writer(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a process that has written a file beside, and waits before it moves it into place."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> subprocess.Popen[str]:
        process = writer(SLOW, str(path))
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_new_file_in_a_new_folder_is_readable_as_any_other(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write(tmp_path / "a" / "b" / "x.csv", b"1")
    finally:
        os.umask(before)
    file = tmp_path / "a" / "b" / "x.csv"
    assert file.read_bytes() == b"1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert leftovers(file.parent) == []


def test_a_reader_keeps_the_former_content_and_the_file_its_rights(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"former")
    file.chmod(0o640)
    with file.open("rb") as reader:
        write(str(file), b"new")
        assert reader.read() == b"former"
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    write(f"file://{tmp_path}/x.csv", b"1")
    assert (tmp_path / "x.csv").read_bytes() == b"1"


def test_symlinks_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link, chain = tmp_path / "real" / "x.csv", tmp_path / "link.csv", tmp_path / "chain.csv"
    link.symlink_to("real/x.csv")
    chain.symlink_to(link)
    write(chain, b"through a link that leads nowhere yet")
    assert target.read_bytes() == b"through a link that leads nowhere yet"
    write(chain, b"again")
    assert (chain.is_symlink(), link.is_symlink(), target.is_symlink()) == (True, True, False)
    assert target.read_bytes() == b"again"
    assert leftovers(tmp_path) == leftovers(target.parent) == []


def test_symlinks_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    with pytest.raises(BadInputError, match=r"a\.csv: .* circle"):
        write(tmp_path / "a.csv", b"1")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("x.csv")
    for name in ("x.csv", "link.csv"):
        with pytest.raises(BadInputError, match="is a folder, which"):
            write(tmp_path / name, b"1")
    assert leftovers(tmp_path) == []


def test_a_socket_is_refused() -> None:
    # a socket's path may have no more than about a hundred characters
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/x.csv")
        with pytest.raises(BadInputError, match="it is a socket"):
            write(f"{folder}/x.csv", b"1")
        assert stat.S_ISSOCK(Path(folder, "x.csv").stat().st_mode)


def test_a_block_device_is_refused(tmp_path: Path) -> None:
    device = tmp_path / "x.csv"
    try:
        os.mknod(device, 0o600 | stat.S_IFBLK, os.makedev(7, 250))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(BadInputError, match="it is a block device"):
        write(device, b"1")
    assert stat.S_ISBLK(device.stat().st_mode)


def test_a_pipe_is_written_through_and_stays(tmp_path: Path) -> None:
    pipe, data = tmp_path / "x.csv", os.urandom(300_000)  # several times what a pipe holds
    os.mkfifo(pipe)
    read: list[bytes] = []

    def reader() -> None:
        time.sleep(0.3)
        with pipe.open("rb") as file:
            time.sleep(0.5)
            read.append(file.read())

    thread = threading.Thread(target=reader)
    thread.start()
    started = time.process_time()
    write(pipe, data)
    assert time.process_time() - started < 0.2, "it waits for the reader, it does not ask all the time"
    thread.join()
    assert read == [data]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_open_descriptor_of_a_pipe_is_written_through() -> None:
    """As in ``--output >(...)`` of a shell, whose name is no path in the file system."""
    ours, theirs = os.pipe()
    try:
        write(f"/dev/fd/{theirs}", b"1,2")
        assert os.read(ours, 10) == b"1,2"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_pipe_that_nobody_reads_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "READER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(BadInputError, match="nobody reads this pipe"):
        write(tmp_path / "x.csv", b"1")


def test_a_reader_that_goes_away_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "x.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    closing = threading.Timer(0.3, os.close, [reader])
    closing.start()
    with pytest.raises(BadInputError, match="closed it before"):
        write(pipe, b"1" * 1_000_000)
    closing.join()


def test_a_full_device_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "x.csv").symlink_to("/dev/full")
    with pytest.raises(BadInputError, match=r"x\.csv: no space"):
        write(tmp_path / "x.csv", b"1")
    assert stat.S_ISCHR((tmp_path / "x.csv").stat().st_mode)


def test_a_disk_that_is_full_leaves_the_former_file(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"former")
    done = writer(LIMITED, str(file))
    _, said = done.communicate(timeout=60)
    assert done.returncode == 1
    assert said.startswith(f"cannot write {file}: the file would be larger than the limit allows")
    assert file.read_bytes() == b"former"
    assert leftovers(tmp_path) == []


def test_a_folder_without_rights_leaves_the_former_file() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "x.csv").write_bytes(b"former")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(BadInputError, match=r"x\.csv: permission denied"):
                write(folder / "x.csv", b"new")
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert (folder / "x.csv").read_bytes() == b"former"
        assert leftovers(folder) == []


def test_a_part_of_the_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x.csv", tmp_path / "file" / "deeper" / "x.csv"):
        with pytest.raises(BadInputError, match="path is no folder"):
            write(path, b"1")


@pytest.mark.parametrize("length", [255, 256])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, length: int) -> None:
    name = "x" * (length - 4) + ".csv"
    if length <= 255:
        write(tmp_path / name, b"1")
        assert [path.name for path in tmp_path.iterdir()] == [name]
    else:
        with pytest.raises(BadInputError, match="too long"):
            write(tmp_path / name, b"1")


def test_what_a_killed_write_leaves_the_next_one_removes(
    tmp_path: Path, slow_writer: Callable[[Path], subprocess.Popen[str]]
) -> None:
    file, other = tmp_path / "x.csv", tmp_path / ".predict-of-somebody-else.tmp"
    file.write_bytes(b"former")
    other.write_bytes(b"")
    process = slow_writer(file)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert file.read_bytes() == b"former"
    assert len(leftovers(tmp_path)) == 2
    write(tmp_path / "y.csv", b"another file's")
    assert len(leftovers(tmp_path)) == 2
    write(file, b"next")
    assert file.read_bytes() == b"next"
    assert leftovers(tmp_path) == [other.name]


def test_what_somebody_is_writing_is_no_leftover(
    tmp_path: Path, slow_writer: Callable[[Path], subprocess.Popen[str]]
) -> None:
    file = tmp_path / "x.csv"
    process = slow_writer(file)
    write(file, b"faster")
    assert file.read_bytes() == b"faster"
    _, said = process.communicate("go on")
    assert process.returncode == 0, said
    assert file.read_bytes() == b"new" * 1000
    assert leftovers(tmp_path) == []


def test_without_locks_only_what_is_old_is_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "_lock", lambda _: None)
    young, old = (tmp_path / f"{destination.temporary_prefix('x.csv')}{name}.tmp" for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    write(tmp_path / "x.csv", b"1")
    assert leftovers(tmp_path) == [young.name]


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder on a file system of fsspec's."""
    files = fsspec.filesystem("memory")
    yield "memory://test"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_a_url_is_written_and_replaced(memory: str) -> None:
    for content in (b"1", b"2"):
        write(f"{memory}/deep/x.csv", content)
        assert fsspec.filesystem("memory").cat_file("/test/deep/x.csv") == content
    assert RemoteFiles(memory).names("deep") == ["x.csv"]


def test_an_upload_that_fails_leaves_the_former_file(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"{memory}/x.csv", b"former")
    files = type(fsspec.filesystem("memory"))

    def away(*_: object) -> None:
        raise ConnectionError("https://ana:secret@store/bucket does not answer")

    monkeypatch.setattr(files, "mv", away)
    with pytest.raises(ReportedError, match=r"memory://test/x\.csv: ConnectionError") as caught:
        write(f"{memory}/x.csv", b"new")
    assert not isinstance(caught.value, BadInputError)
    assert "secret" not in str(caught.value)
    assert RemoteFiles(memory).names("") == ["x.csv"]
    assert fsspec.filesystem("memory").cat_file("/test/x.csv") == b"former"


def test_the_final_name_appears_with_its_whole_content_only(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, uploaded = type(fsspec.filesystem("memory")), []
    upload = files.pipe_file

    def watched(self: object, path: str, value: bytes, **kwargs: object) -> None:
        uploaded.append(path)
        upload(self, path, value, **kwargs)

    monkeypatch.setattr(files, "pipe_file", watched)
    write(f"{memory}/x.csv", b"1")
    assert len(uploaded) == 1
    assert uploaded[0].startswith("/test/.predict-")


def test_old_uploads_that_were_never_moved_are_removed(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    left = f"/test/{destination.temporary_prefix('x.csv')}0123.tmp"
    files.pipe_file(left, b"half")
    write(f"{memory}/x.csv", b"1")
    assert files.exists(left), "somebody may still be writing it"
    monkeypatch.setattr(remote, "LEFTOVER_SECONDS", -1.0)
    write(f"{memory}/x.csv", b"1")
    assert RemoteFiles(memory).names("") == ["x.csv"]


def test_a_url_that_is_a_folder_is_refused(memory: str) -> None:
    write(f"{memory}/x.csv/y.csv", b"1")
    with pytest.raises(BadInputError, match="it is a folder"):
        write(f"{memory}/x.csv", b"1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense://a/x.csv", "Protocol not known"),
        ("simplecache::memory://a/x.csv", "expected one URL"),
        ("memory://a/[x].csv", "expected one URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_named(url: str, expected: str) -> None:
    with pytest.raises(BadInputError, match=rf"cannot use .*{expected}"):
        RemoteFiles(url)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(BadInputError, match="s3fs"):
        write("s3://bucket/x.csv", b"1")


def test_a_place_reads_regular_files_only(tmp_path: Path) -> None:
    place = LocalFiles(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    place.write("a/x", b"1")
    assert (place.read("a/x"), place.read("a"), place.read("pipe"), place.read("none")) == (b"1", None, None, None)
    assert (place.names("a"), place.names("none"), place.names("a/x")) == (["x"], [], [])
    place.remove_folder("a")
    place.remove("a/x")
    place.remove_folder("a")
    assert place.names("") == ["pipe"]


def test_an_input_comes_from_below_its_place_only(tmp_path: Path, memory: str) -> None:
    inputs, scratch = tmp_path / "inputs", tmp_path / "scratch"
    (inputs / "campaign").mkdir(parents=True)
    scratch.mkdir()
    (inputs / "campaign" / "stores.csv").write_bytes(b"rows")
    (tmp_path / "secret.csv").write_bytes(b"secret")
    (inputs / "link.csv").symlink_to("../secret.csv")
    assert fetch_input(str(inputs), "campaign/stores.csv", scratch).read_bytes() == b"rows"
    for name in ("../secret.csv", "/etc/passwd", "campaign/../../secret.csv", "https://x/y.csv", ".hidden.csv", "a\n"):
        with pytest.raises(BadInputError, match="input must be"):
            fetch_input(str(inputs), name, scratch)
    with pytest.raises(BadInputError, match="leads out of"):
        fetch_input(str(inputs), "link.csv", scratch)
    with pytest.raises(BadInputError, match=r"no input .*none\.csv"):
        fetch_input(str(inputs), "none.csv", scratch)
    with pytest.raises(BadInputError, match=r"prediction\.inputs names"):
        fetch_input(None, "stores.csv", scratch)
    write(f"{memory}/in/stores.csv", b"remote rows")
    assert fetch_input(f"{memory}/in", "stores.csv", scratch).read_bytes() == b"remote rows"


def test_a_target_of_one_format_is_checked_before_any_work(tmp_path: Path) -> None:
    endings = (".html", ".htm")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "circle.html").symlink_to("circle.html")
    for fine in (f"{tmp_path}/new.html", f"{tmp_path}/NEW.HTM", f"{tmp_path}/pipe", "/dev/null", "s3://bucket/a.html"):
        destination.check(fine, endings)
    for wrong, said in {
        f"{tmp_path}/page.csv": ".html or .htm",
        f"{tmp_path}/page": ".html or .htm",
        "s3://bucket/page": ".html or .htm",
        f"{tmp_path}/folder.html": "is a folder, which",
        f"file://{tmp_path}/folder.html": "is a folder, which",
    }.items():
        with pytest.raises(BadInputError, match=said):
            destination.check(wrong, endings)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["circle.html", "folder.html", "pipe"]
