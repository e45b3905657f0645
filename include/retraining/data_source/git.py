"""Git as a child process: nothing of the surroundings leaks in, no password shows in arguments or messages."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from include.lifecycle.errors import BadInputError, ReportedError
from include.lifecycle.untrusted_text import without_credentials

USERNAME_ENV = "RETRAIN_GIT_USERNAME"
PASSWORD_ENV = "RETRAIN_GIT_PASSWORD"  # noqa: S105 -- the name of the variable

# Set by git for its hooks: a retrain started from one would work on the wrong repository.
REPOSITORY_ENV = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_ATTR_SOURCE",
    "GIT_TEMPLATE_DIR",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
)

SETTINGS = {
    # programs of the user's have no business in a clone that lives for seconds
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "submodule.recurse": "false",
    # files that git holds arrive as they were committed, on every machine
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.attributesFile": os.devnull,
    "core.symlinks": "true",
    # forms of a repository and its index that DVC's libraries do not read
    "core.splitIndex": "false",
    "index.skipHash": "false",
    "init.defaultObjectFormat": "sha1",
    "init.defaultRefFormat": "files",
    "clone.rejectShallow": "false",
}
"""Over the user's own settings, of which those that lead to a registry stay: credentials, proxies, other addresses."""

# A shell function: git passes "get" and reads the two lines. The values stay in the environment.
HELPER = f'!f() {{ test "$1" = get && printf "username=%s\\npassword=%s\\n" "${USERNAME_ENV}" "${PASSWORD_ENV}"; }}; f'

WRONG_ADDRESS = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|access denied|not found"
    r"|does not appear to be a git repository|returned error: 40[134]|dubious ownership|unable to find remote helper"
    r"|transport '[^']*' not allowed|does not exist|host key verification failed|fsck error"
    r"|bad (config|boolean|numeric)|bogus (config|count)",
    re.IGNORECASE,
)

NO_CREDENTIALS = re.compile(r"authentication failed|could not read (username|password)", re.IGNORECASE)
ADVICE = ("hint:", "Please make sure you have the correct access rights", "and the repository exists", "warning:")


@dataclass(frozen=True)
class GitAddress:
    """Where a git repository is, without the credentials that its URL may have carried."""

    url: str
    """What git is given: an absolute path, or a URL without user and password (ssh keeps its user)."""
    shown: str
    """What messages show."""
    folder: Path | None
    """The repository's folder when it is on this machine."""
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str) -> "GitAddress":
        """Read a URL, an scp-like address or a path.

        :param url: e.g. https://git.example.org/data.git, git@git.example.org:data.git, ../data
        :raises BadInputError: when it is empty or could be taken for an option
        """
        url = url.strip()
        if not url or url.startswith("-") or not url.isprintable():
            raise BadInputError(f"the data registry is {redact(url)!r}, expected a git URL or a folder")
        if url.startswith("file://"):
            folder = Path(url2pathname(urlsplit(url).path))
            return cls(str(folder), str(folder), folder)
        if "://" in url:
            return cls._from_url(url)
        if re.match(r"[^/]+:", url) and not Path(url).exists():
            return cls(url, url, None)  # user@host:path, which carries no password
        folder = Path(url).expanduser().absolute()
        return cls(str(folder), str(folder), folder)

    @classmethod
    def _from_url(cls, url: str) -> "GitAddress":
        try:
            parts = urlsplit(url)
            odd = " " in url or "@" in url.partition("://")[2].removeprefix(parts.netloc) or parts.port == 0
        except ValueError:
            odd = True
        if odd:
            shown = without_credentials(url.replace(" ", "%20"))
            raise BadInputError(
                f"the data registry's URL {shown!r} cannot be read: write / as %2F, @ as %40 and a space as %20 in"
                f" login, password and path, or give login and password as {USERNAME_ENV} and {PASSWORD_ENV}"
            )
        if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
            return cls(url, redact(url), None)
        clean = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return cls(clean, clean, None, unquote(parts.username or ""), unquote(parts.password or ""))

    def environment(self) -> dict[str, str]:
        """Return the environment of a git process that talks to this address."""
        env = environment()
        if self.folder is not None:  # named by the configuration, so it may be read
            return with_config(env, [("protocol.file.allow", "always")])
        username = os.environ.get(USERNAME_ENV) or self.username
        password = os.environ.get(PASSWORD_ENV) or self.password
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or (username is None and password is None):
            return env
        env |= {USERNAME_ENV: _one_line(username or "git"), PASSWORD_ENV: _one_line(password or "")}
        # Only for this server, and before any helper of the user, who may be somebody else there.
        key = f"credential.{parts.scheme}://{parts.netloc}.helper"
        return with_config(env, [(key, ""), (key, HELPER)])


def _one_line(secret: str) -> str:
    value = secret.rstrip("\r\n")  # secrets mounted as files end in a line end
    if "\n" in value or "\r" in value:
        raise BadInputError(f"{USERNAME_ENV} and {PASSWORD_ENV} must be one line each")
    return value


def redact(text: str) -> str:
    """Return ``text`` with the user and password of URLs in it, and the configured password, blotted out."""
    text = without_credentials(text)
    password = os.environ.get(PASSWORD_ENV, "").rstrip("\r\n")
    return text.replace(password, "***") if len(password) > 3 else text


def environment() -> dict[str, str]:
    """Return the environment of a git process: no prompts, messages in English, the user's own configuration."""
    env = {name: value for name, value in os.environ.items() if name not in REPOSITORY_ENV}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C"}
    # A connection that stands still is given up, and the task's retry takes over.
    env.setdefault("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
    env.setdefault("GIT_HTTP_LOW_SPEED_TIME", "60")
    env.setdefault("SSH_ASKPASS_REQUIRE", "never")
    return env


def with_config(env: dict[str, str], settings: list[tuple[str, str]]) -> dict[str, str]:
    """Return ``env`` with git settings added, which hold for this process only."""
    given = env.get("GIT_CONFIG_COUNT") or "0"
    if not given.isdecimal():
        raise BadInputError(f"GIT_CONFIG_COUNT must be a whole number, found {given[:40]!r}: correct or unset it")
    count, result = int(given), dict(env)
    for number, (key, value) in enumerate(settings, start=count):
        result |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return result | {"GIT_CONFIG_COUNT": str(count + len(settings))}


def run_git(*arguments: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run git with ``SETTINGS`` and return what it printed.

    :raises BadInputError: when git is not installed, or the address is wrong for good
    :raises ReportedError: with git's own reason, in one line
    """
    git = shutil.which("git")
    if git is None:
        raise BadInputError("git is not installed: apt-get install git")
    settings = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    place = ["-C", str(folder)] if folder else []
    done = subprocess.run(
        [git, *settings, *place, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=env if env is not None else environment(),
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    reason = git_reason(done.stderr) or f"exit code {done.returncode}"
    if NO_CREDENTIALS.search(reason):
        reason += f" (set {USERNAME_ENV} and {PASSWORD_ENV}, or the login of the Airflow connection for the data)"
    raise (BadInputError if WRONG_ADDRESS.search(done.stderr) else ReportedError)(reason)


def git_reason(stderr: str) -> str:
    """Return what git says is wrong as one line, without its advice and without credentials."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(ADVICE)]
    return redact(" ".join(said[-4:]))[:500]
