"""PyInstaller's bootloader for Linux, compiled from its published source with files of ours."""

import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ADDED = tuple(Path(__file__).with_name(name) for name in ("room.c", "unpack.c"))
CHANGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "pyi_main.c": {
            "static int\n_pyi_main_onefile_parent(struct PYI_CONTEXT *pyi_ctx)\n{": (
                "int dispatchd_has_room(const struct PYI_CONTEXT *context);\n"
                "void dispatchd_occupy(const struct PYI_CONTEXT *context);\n\n"
                "static int\n_pyi_main_onefile_parent(struct PYI_CONTEXT *pyi_ctx)\n{"
            ),
            "    if (pyi_launch_extract_files_from_archive(pyi_ctx) < 0) {": (
                "    dispatchd_occupy(pyi_ctx);\n"
                "    if (!dispatchd_has_room(pyi_ctx)\n"
                "        || pyi_launch_extract_files_from_archive(pyi_ctx) < 0) {\n"
                "        pyi_recursive_rmdir(pyi_ctx->application_home_dir);"
            ),
            'PYI_ERROR("Could not create temporary directory!\\n");': (
                "extern void dispatchd_has_no_folder(void);\n"
                "                dispatchd_has_no_folder();"
            ),
        },
        "pyi_launch.c": {
            "int\npyi_launch_extract_files_from_archive(": (
                "int dispatchd_extract(const struct ARCHIVE *archive,\n"
                "    const struct TOC_ENTRY *entry, const char *filename);\n"
                "int dispatchd_extract_all(void);\n\n"
                "int\npyi_launch_extract_files_from_archive("
            ),
            "retcode = pyi_archive_extract2fs(archive, toc_entry, output_filename);": (
                "retcode = dispatchd_extract(archive, toc_entry, output_filename);"
            ),
            "    /* Free memory allocated for archive pool. */": (
                "    if (dispatchd_extract_all() != 0) {\n        retcode = -1;\n    }\n\n"
                "    /* Free memory allocated for archive pool. */"
            ),
        },
        "pyi_archive.c": {
            "\n/*\n * Extract an archive entry into specified output file.\n */": (
                "\nvoid dispatchd_buffer(FILE *file);\n\n"
                "/*\n * Extract an archive entry into specified output file.\n */"
            ),
            'failed to open target file!\\n", toc_entry->name);\n        return -1;\n    }\n': (
                'failed to open target file!\\n", toc_entry->name);\n        return -1;\n    }\n'
                "    dispatchd_buffer(out_fp);\n"
            ),
            "    fclose(out_fp);\n\n    return rc;": (
                "    if (fclose(out_fp) != 0) { /* which writes what the buffer still holds */\n"
                '        PYI_PERROR("fclose", "Failed to extract %s: failed to write it!\\n",'
                " toc_entry->name);\n        rc = -1;\n    }\n\n    return rc;"
            ),
        },
        "pyi_utils_posix.c": {
            "        signal(signum, signal_handler);": (
                "        extern void dispatchd_pass_on(int signum, sighandler_t handler);\n"
                "        dispatchd_pass_on(signum, signal_handler);"
            ),
        },
    }
)
"""What is replaced in the source, and by what; each text stands there once."""


def build_bootloader(python: Path, constraints: Path, scratch: Path) -> None:
    """Puts the bootloader into that environment's PyInstaller. It needs a C compiler and zlib.h.

    Raises CalledProcessError where the source cannot be had or compiled, SystemExit where it is
    not the one that is known here.
    """
    source = _source(python, constraints, scratch)
    change(source / "bootloader/src")
    subprocess.run([python, "waf", "all"], cwd=source / "bootloader", check=True)
    told = "import PyInstaller as p; print(p.HOMEPATH, p.PLATFORM, sep='\\n')"
    home, platform = subprocess.check_output([python, "-c", told], text=True).splitlines()
    place = Path("PyInstaller/bootloader") / platform
    for program in ("run", "run_d"):
        shutil.copy(source / place / program, Path(home) / place / program)


def change(sources: Path) -> None:
    """Adds our files to the bootloader's, and the calls to them."""
    for added in ADDED:
        shutil.copy(added, sources)
    for name, replacements in CHANGES.items():
        file = sources / name
        text = file.read_text(encoding="utf-8")
        for old, new in replacements.items():
            if text.count(old) != 1:
                raise SystemExit(f"ours are for another {name}: {old!r} is not there once.")
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


def _source(python: Path, constraints: Path, scratch: Path) -> Path:
    wanted = scratch / "pyinstaller.txt"
    wanted.write_text(_locked(constraints, "pyinstaller"), encoding="utf-8")
    pip: list[str | Path] = [python, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    options: list[str | Path] = ["--no-build-isolation", "--require-hashes", "--dest", scratch]
    subprocess.run([*pip, *options, "-r", wanted], check=True)
    (archive,) = scratch.glob("pyinstaller-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    return scratch / archive.name.removesuffix(".tar.gz")


def _locked(constraints: Path, name: str) -> str:
    """What a file of requirements says of one package, with its hashes."""
    blocks = constraints.read_text(encoding="utf-8").split("\n" + name + "==")
    if len(blocks) != 2:  # before and after it
        raise SystemExit(f"{constraints} does not lock {name}: compile it with --group build.")
    lines = (name + "==" + blocks[1]).splitlines()
    return "\n".join([lines[0], *(line for line in _indented(lines[1:]) if "#" not in line)]) + "\n"


def _indented(lines: list[str]) -> list[str]:
    last = next((at for at, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return lines[:last]
