"""The import contracts hold, and each of them notices the import that breaks it."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

from importlinter.api import read_configuration

ROOT = Path(__file__).parents[2]
PROJECT_FILE = ROOT / "pyproject.toml"

# For each contract a module and an import that has no business there.
WRONG = {
    "Imports point down the page": ("core/job.py", "dispatchd.scheduler"),
    "A worker ships alone": ("engine/text.py", "dispatchd.store"),
    "The API asks the coordinator, never the store": ("api/app.py", "dispatchd.store"),
    "Nouns, decisions and frames do no I/O": ("wire/messages.py", "asyncio"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks the package that lies in a folder against the contracts in its project file."""
    program = Path(sysconfig.get_path("scripts"), "lint-imports")
    return subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_contracts_hold() -> None:
    checked = lint_imports(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_contract_names_the_import_that_breaks_it(tmp_path: Path) -> None:
    shutil.copy(PROJECT_FILE, tmp_path)
    shutil.copytree(ROOT / "dispatchd", tmp_path / "dispatchd")
    for file, imported in WRONG.values():
        with (tmp_path / "dispatchd" / file).open("a") as module:
            module.write(f"\nimport {imported}\n")

    checked = lint_imports(tmp_path)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    _, _, report = checked.stdout.partition("Broken contracts")
    for contract, (file, imported) in WRONG.items():
        _, headline, broken = report.partition(f"\n{contract}\n")
        assert headline, f"{contract!r} is not broken"
        importer = "dispatchd." + file.removesuffix(".py").replace("/", ".")
        assert f"{importer} -> {imported} (l." in broken


def test_every_contract_has_its_wrong_import() -> None:
    contracts = read_configuration(str(PROJECT_FILE))["contracts_options"]
    assert {contract["name"] for contract in contracts} == WRONG.keys()
