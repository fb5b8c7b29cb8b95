"""Nothing of the package is missing in the binary, and nothing of the builder's is inside."""

from pathlib import Path

import pytest

from scripts.binary.contents import (
    data_files,
    distributions,
    keeps,
    modules,
    same_anywhere,
    strangers,
    unseen_modules,
)
from scripts.binary.licences import inventory
from scripts.binary.naming import version

ROOT = Path(__file__).parents[2]
CAPI = "onnxruntime/capi/"


@pytest.mark.parametrize(
    ("library", "flavours"),
    [
        (f"{CAPI}libonnxruntime_providers_cuda.so", {"cuda"}),
        (f"{CAPI}libonnxruntime_providers_tensorrt.so", set()),
        (f"{CAPI}libonnxruntime_providers_shared.so", {"cpu", "cuda"}),
        (f"{CAPI}onnxruntime_providers_cuda.dll", {"cuda"}),
        ("libcudart.so.13", set()),
        ("libcublasLt.so.13", set()),
        ("nvidia/cudnn/lib/libcudnn_ops.so.9", set()),
        ("libnvrtc-builtins.so.13.0", set()),
        ("libnvinfer.so.10", set()),
        ("cudart64_13.dll", set()),
        ("cublasLt64_13.dll", set()),
        ("cudnn_graph64_9.dll", set()),
        ("libcurses.so.6", {"cpu", "cuda"}),
        ("libcurl.so.4", {"cpu", "cuda"}),
        ("libssl.so.3", {"cpu", "cuda"}),
        ("numpy.libs/libscipy_openblas64_-32a4b2a6.so", {"cpu", "cuda"}),
    ],
)
def test_libraries_of_nvidia_are_left_out(library: str, flavours: set[str]) -> None:
    assert {flavour for flavour in ("cpu", "cuda") if keeps(library, flavour)} == flavours


def test_every_file_of_the_package_is_taken_once() -> None:
    taken = [Path(file) for file, _ in data_files(ROOT)]
    named = {ROOT / (name.replace(".", "/") + ".py") for name in modules(ROOT)}
    sources = named | {file.with_suffix("") / "__init__.py" for file in named}
    files = {
        file
        for folder in ("dispatchd", "models")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix not in {".pyc", ".pyi"}
    }
    assert files - sources == set(taken)
    assert len(taken) == len(set(taken))


def test_data_lies_where_the_package_looks_for_it() -> None:
    places = {Path(file).name: folder for file, folder in data_files(ROOT)}
    assert places["0001_jobs.sql"] == "dispatchd/store/sqlite/migrations"
    assert places["labels.json"] == "dispatchd/embedded_models/sentiment"
    assert places["receipts.md"] == "dispatchd/core"


def test_what_tells_of_one_installation_is_left_out() -> None:
    folder = "click-8.5.1.dist-info"
    assert not any(same_anywhere(f"{folder}/{name}") for name in ("RECORD", "INSTALLER"))
    assert same_anywhere(f"{folder}/METADATA")
    assert same_anywhere(f"{folder}/licenses/RECORD")
    assert same_anywhere("dispatchd/RECORD")


def test_what_the_node_needs_is_no_stranger() -> None:
    needed, left_out = distributions(ROOT), strangers(ROOT)
    assert {"aiohttp", "yarl", "tokenizers", "protobuf", "cffi"} <= needed.keys()
    assert {"pytest", "mypy", "hypothesis"} <= set(left_out)
    assert not {"yarl", "google", "numpy", "dispatchd"} & set(left_out)


def test_what_compiled_code_imports_is_taken() -> None:
    taken = set(unseen_modules(ROOT))
    assert {"coincurve._cffi_backend", "aiohttp._http_parser", "aiohttp.http_parser"} <= taken
    assert not [name for name in taken if "test" in name]


def test_the_list_of_licences_names_what_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.binary.licences._ALSO_INSIDE", ())  # not in every environment
    packages = distributions(ROOT)
    inside = {"click/core.py": packages["click"], "google/_upb.so": packages["protobuf"]}
    libc = "/lib/a-library-of-nobody.so.6"
    listed = [(name, str(each.locate_file(name))) for name, each in inside.items()]
    compiled = tmp_path / "open-library-1.2"
    compiled.mkdir()
    (compiled / "LICENSE.txt").write_text("Do as you like.")
    opened = str(compiled / "lib/libopen.so.1")
    libraries = [("libopen.so.1", opened), ("a-library-of-nobody.so.6", libc)]

    text = inventory(ROOT, [*listed, *libraries, ("google", "-")])

    table, _, texts = text.partition("=" * 80)
    lines = table.splitlines()
    assert f"dispatchd {version(ROOT)}: Apache-2.0" in lines
    assert f"click {packages['click'].version}: BSD-3-Clause" in lines
    assert any(line.startswith("protobuf ") for line in lines)
    assert not any(line.startswith(("aiohttp ", "numpy ")) for line in lines)
    assert "a-library-of-nobody.so.6 of the builder's machine: not said" in lines
    assert "open-library 1.2: see its text" in lines
    assert not any(line.startswith("- ") for line in lines)
    assert "Do as you like." in texts
    assert "Apache License" in texts
    assert "Redistributions in binary form" in texts
