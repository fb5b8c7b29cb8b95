"""Fetches the live page's libraries from npm anew, and writes `dispatchd/api/dashboard/vendor/`.

uPlot is taken as it is published; the others are bundled and made smaller by esbuild. Needs npm and
node. Whoever changes a version runs this and commits what it writes:

    python scripts/vendor_dashboard.py
"""

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parent.parent / "dispatchd" / "api" / "dashboard" / "vendor"
VERSIONS = {
    "uplot": "1.6.32",
    "uqr": "0.1.3",
    "@noble/ed25519": "3.2.0",
    "@noble/hashes": "2.4.0",
    "esbuild": "0.28.2",
}
COPIED = {"uplot.js": "uplot/dist/uPlot.iife.min.js", "uplot.css": "uplot/dist/uPlot.min.css"}
BUNDLED = {
    "qr.js": 'export { encode } from "uqr";',
    "ed25519.js": """
        import { hashes, verify } from "@noble/ed25519";
        import { sha256, sha512 } from "@noble/hashes/sha2.js";
        hashes.sha512 = sha512;
        export { sha256, verify };
    """,
}
SOURCES = {
    "uplot.js": ("uplot",),
    "uplot.css": ("uplot",),
    "qr.js": ("uqr",),
    "ed25519.js": ("@noble/ed25519", "@noble/hashes"),
}
_HEAD = """# The live page's libraries

Fetched by `scripts/vendor_dashboard.py`; all are under the MIT licence, see LICENSES.txt.

| file | made of | SHA-256 |
| --- | --- | --- |
"""


def main() -> None:
    """Writes them all."""
    VENDOR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "package.json").write_text(json.dumps({"dependencies": VERSIONS}))
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True)
        modules = folder / "node_modules"
        for name, source in COPIED.items():
            (VENDOR / name).write_bytes((modules / source).read_bytes())
        for name, source in BUNDLED.items():
            (folder / name).write_text(source)
            _bundle(folder, name)
        _write_licences(modules)
    rows = [_row(name, packages) for name, packages in SOURCES.items()]
    (VENDOR / "README.md").write_text(_HEAD + "\n".join(rows) + "\n")


def _bundle(folder: Path, name: str) -> None:
    program = folder / "node_modules" / ".bin" / "esbuild"
    options = ("--bundle", "--minify", "--format=esm", "--legal-comments=none")
    command = [str(program), name, *options, f"--outfile={VENDOR / name}"]
    subprocess.run(command, cwd=folder, check=True)


def _write_licences(modules: Path) -> None:
    packages = sorted({package for each in SOURCES.values() for package in each})
    texts = [
        f"{each} {VERSIONS[each]}\n\n{(modules / each / 'LICENSE').read_text()}"
        for each in packages
    ]
    (VENDOR / "LICENSES.txt").write_text("\n\n---\n\n".join(text.strip() for text in texts) + "\n")


def _row(name: str, packages: tuple[str, ...]) -> str:
    digest = hashlib.sha256((VENDOR / name).read_bytes()).hexdigest()
    return f"| {name} | {', '.join(f'{each} {VERSIONS[each]}' for each in packages)} | {digest} |"


if __name__ == "__main__":
    main()
