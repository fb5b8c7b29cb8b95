"""A real PostgreSQL server of the tests' own, in a folder of its own, with a part for each."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_SECONDS = 60
_SETTINGS = ("listen_addresses=", "max_connections=300", "logging_collector=off")


@cache
def programs() -> Path | None:
    """The folder of the newest server that is installed, if one is."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    folders = [folder for place in _PLACES for folder in Path("/").glob(place.lstrip("/"))]
    able = [folder for folder in folders if (folder / "initdb").exists()]
    return max(able, key=lambda folder: (len(str(folder)), str(folder)), default=None)


class Server:
    """A server that is reached through a socket in its folder."""

    def __init__(self, folder: Path, bin_folder: Path, account: pwd.struct_passwd | None) -> None:
        self._folder = folder
        self._bin = bin_folder
        self._as: dict[str, Any] = {}
        if account is not None:
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._numbers = count(1)

    @property
    def url(self) -> str:
        """The address of the server's one database."""
        return f"postgresql://dispatchd@/postgres?host={self._folder}"

    def database(self) -> str:
        """The address of a part of the database that is empty, and that nobody else has."""
        name = f"test_{next(self._numbers)}"
        asyncio.run(self._execute(f"CREATE SCHEMA {name}"))  # faster than a database by far
        return f"{self.url}&search_path={name}"

    def make(self) -> None:
        """Makes its files."""
        self._run("initdb", "-U", "dispatchd", "-A", "trust", "-E", "UTF8", "-N")

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        settings = " ".join(f"-c {setting}" for setting in _SETTINGS)
        options = f"-k {self._folder} {settings}"
        self._run("pg_ctl", "start", "-w", "-s", "-l", self._folder / "log", "-o", options)

    def stop(self) -> None:
        """Ends it at once, as a crash would; what it has said to be stored is on disk."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate")

    def _run(self, program: str, *words: str | Path) -> None:
        command = [str(self._bin / program), *map(str, words), "-D", str(self._folder / "data")]
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            timeout=_SECONDS,
            **self._as,
        )

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@contextmanager
def running_server(bin_folder: Path) -> Iterator[Server]:
    """A server until the end of the block; it never runs as root, which it would refuse."""
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="dispatchd-postgres-"))
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    server = Server(folder, bin_folder, account)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
