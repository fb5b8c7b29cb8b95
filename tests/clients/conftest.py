"""Nodes that sell, and the JavaScript clients as npm installs them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.market import Market, market

_SCRIPTS = Path(__file__).with_name("js")
_NPM = "npm ci --prefer-offline --ignore-scripts --no-audit --no-fund"
_NPM_SECONDS = 110


@pytest.fixture(scope="session")
def monad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """On Monad's testnet, as it is out of the box."""
    with market(tmp_path_factory.mktemp("monad")) as selling:
        yield selling


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """On Base's testnet, by the name that clients of version 1 know."""
    more = ("--network", "eip155:84532", "--legacy-network-names")
    with market(tmp_path_factory.mktemp("base"), *more) as selling:
        yield selling


@pytest.fixture(scope="session", autouse=True)
def installing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path] | None]:
    """Npm, which installs while other clients' tests run, where any test wants what it installs."""
    wanted = any("scripts" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if not wanted or shutil.which("npm") is None:
        yield None
        return
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copytree(_SCRIPTS, folder, dirs_exist_ok=True)
    with (folder / "npm.log").open("wb") as log:
        npm = subprocess.Popen(_NPM.split(), cwd=folder, stdout=log, stderr=log)
        try:
            yield npm, folder
        finally:
            npm.kill()
            npm.wait()


@pytest.fixture(scope="session")
def scripts(installing: tuple[subprocess.Popen[bytes], Path] | None) -> Path:
    """The folder of our scripts, and of the clients from npm."""
    if installing is None:
        pytest.skip("needs program: npm")
    npm, folder = installing
    assert npm.wait(_NPM_SECONDS) == 0, (folder / "npm.log").read_text()
    return folder
