"""The model that is to be run: judged at once, prepared on its first use, verified, loaded."""

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device, Progress
from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.catalog import (
    DEFAULT_CLASSIFIER,
    DEFAULT_LLM,
    DEFAULT_SUMMARIZER,
    describe,
    find,
)
from dispatchd.engine.library import Library
from dispatchd.engine.obtain import open_wanted
from dispatchd.engine.precision import Asked, chosen_precision
from dispatchd.engine.prepare.manifest import read_manifest, verify
from dispatchd.engine.prepare.prepare import prepare
from dispatchd.engine.use import take
from dispatchd.engine.wanted import Wanted, look_for
from tests.support.published import published

WEIGHTS = "model.safetensors"
REPO, COMMIT = "someone/Tiny-Chat", "c" * 40

Open = Callable[..., Batcher]


def cpu() -> Device:
    """What these tests prepare weights for."""
    return "cpu"


def nothing(_: float) -> None:
    """Nobody listens."""


def write(folder: Path, seed: int = 0, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in published(seed, **config).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Published weights that somebody has brought here."""
    return write(tmp_path / "Tiny Chat")


@pytest.fixture
def opened(library: Library) -> Iterator[Open]:
    """Opens what is wanted, and closes it in the end."""
    batchers: list[Batcher] = []

    def open_it(wanted: Wanted, progress: Progress = nothing) -> Batcher:
        model = open_wanted(library, wanted, progress, threads=1, slots=2)
        assert isinstance(model, Batcher)
        batchers.append(model)
        return model

    yield open_it
    for batcher in batchers:
        batcher.close()


def pulled(library: Library, name: str = "tiny", asked: Asked = "int8") -> Path:
    """A model as a pull leaves it."""
    source = write(library.source(REPO, COMMIT))
    target = library.folder(name)
    precision = chosen_precision(asked, "cpu")
    prepare(source, target, precision, name=name, source_repo=REPO, revision=COMMIT)
    return target


def test_what_auto_means() -> None:
    assert (chosen_precision("auto", "cpu"), chosen_precision("auto", "cuda")) == ("int8", "fp16")
    assert {chosen_precision("int4", provider) for provider in ("cpu", "cuda")} == {"int4"}


def test_weights_are_prepared_once_for_each_precision(
    library: Library, folder: Path, opened: Open
) -> None:
    def used(asked: Asked) -> tuple[Path, str, bool]:
        wanted = look_for(library, str(folder), asked, cpu)
        assert wanted.prepared
        batcher = opened(wanted)
        assert (batcher.name, wanted.name) == ("Tiny Chat", "Tiny Chat")
        return wanted.folder, batcher.determinism.precision, wanted.weights is not None

    first, precision, new = used("auto")
    assert (precision, new) == ("int8", True)
    assert used("int8") == (first, "int8", False)
    other, precision, new = used("int4")
    assert (precision, new) == ("int4", True)
    assert used("auto") == (first, "int8", False)
    (library.copies.home / f".{first.name[:-8]}01234567.new").mkdir()
    write(folder, seed=3)
    changed, _, new = used("auto")
    assert (new, first.exists(), other.exists()) == (True, False, True)
    left = {path for path in library.copies.home.iterdir() if path.is_dir()}
    assert left == {changed, other}
    assert library.cards() == []


def test_a_pulled_model_runs_as_it_was_prepared_unless_asked_otherwise(
    library: Library, opened: Open
) -> None:
    target = pulled(library, asked="int4")
    for asked in ("auto", "int4"):
        assert look_for(library, REPO, asked, cpu) == Wanted("tiny", target)
    wanted = look_for(library, "tiny", "int8", cpu)
    batcher = opened(wanted)
    assert (batcher.name, batcher.determinism.precision) == ("tiny", "int8")
    assert describe(wanted.folder).repo == REPO
    (library.source(REPO, COMMIT) / ".listing.json").touch()  # as a further pull does
    assert look_for(library, "tiny", "int8", cpu).weights is None
    assert find("tiny", library.home).precision == "int4"


def test_another_precision_needs_what_the_model_was_made_from(
    library: Library, tmp_path: Path
) -> None:
    pulled(library)
    shutil.rmtree(library.source(REPO, COMMIT))
    with pytest.raises(Unusable, match=f"prepared as int8.*models pull {REPO}"):
        look_for(library, "tiny", "int4", cpu)
    moved = tmp_path / "moved"
    prepare(write(tmp_path / "source"), moved, "int8", name="mine")
    with pytest.raises(Unusable, match=r"mine is prepared as int8.*prepare its folder again"):
        look_for(library, str(moved), "fp32", cpu)


def test_what_runs_as_it_is(library: Library) -> None:
    wanted = look_for(library, DEFAULT_LLM, "auto", cpu)
    assert (wanted.name, wanted.weights, wanted.prepared) == (DEFAULT_LLM, None, True)
    assert look_for(library, DEFAULT_LLM, "int8", cpu) == wanted
    with pytest.raises(Unusable, match="embedded as int8 alone"):
        look_for(library, DEFAULT_LLM, "fp32", cpu)
    for name, kind in ((DEFAULT_CLASSIFIER, "classifier"), (DEFAULT_SUMMARIZER, "summarizer")):
        with pytest.raises(Unusable, match=f"{name} is a {kind}, no language model"):
            look_for(library, name, "auto", cpu)


def test_an_export_runs_as_it_is(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    write(folder)
    (folder / "model.safetensors").rename(folder / "model.onnx")  # it is not opened yet
    assert look_for(library, str(folder), "auto", cpu) == Wanted("export", folder)
    with pytest.raises(Unusable, match="ONNX export, which runs as it is"):
        look_for(library, str(folder), "int8", cpu)


def test_what_can_be_refused_at_once_is(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = write(tmp_path / "strange", model_type="mamba")
    with pytest.raises(Unusable, match="mamba"):
        look_for(library, str(strange), "auto", cpu)
    cut = write(tmp_path / "cut")
    (cut / WEIGHTS).write_bytes((cut / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(Unusable, match="fetch it again"):
        look_for(library, str(cut), "auto", cpu)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Unusable, match="GB of room"):
        look_for(library, str(write(tmp_path / "whole")), "auto", cpu)


def damage(folder: Path) -> None:
    data = bytearray((folder / "graph.onnx.data").read_bytes())
    data[-1] ^= 1
    (folder / "graph.onnx.data").write_bytes(data)


def test_a_damaged_model_is_refused_with_what_helps(
    library: Library, folder: Path, tmp_path: Path, opened: Open
) -> None:
    copy = look_for(library, str(folder), "auto", cpu)
    opened(copy)
    moved = tmp_path / "moved"
    shutil.copytree(copy.folder, moved)
    for wanted, place, remedy in (
        (copy, copy.folder, r"dispatchd models rm Tiny-Chat"),
        ("tiny", pulled(library), r"dispatchd models prepare tiny\."),
        (str(moved), moved, "prepare the model again"),
    ):
        damage(place)
        if isinstance(wanted, str):
            wanted = look_for(library, wanted, "auto", cpu)  # noqa: PLW2901
        with pytest.raises(Unusable, match=rf"graph\.onnx\.data has changed.*: .*{remedy}"):
            opened(wanted)
    library.remove("Tiny-Chat")
    opened(look_for(library, str(folder), "auto", cpu))


class GivenUp(Exception):
    """Nobody wants the model any more."""


def _giving_up_after(steps: int) -> Progress:
    left = itertools.count(steps, -1)

    def heard(_: float) -> None:
        if next(left) <= 0:
            raise GivenUp

    return heard


def test_giving_up_leaves_nothing_half_made(library: Library, folder: Path, opened: Open) -> None:
    wanted = look_for(library, str(folder), "auto", cpu)
    given_up = 0
    while not wanted.folder.exists():
        with pytest.raises(GivenUp):
            opened(wanted, _giving_up_after(4 * given_up))
        given_up += 1
        assert [path for path in library.copies.home.glob(".*/") if path.is_dir()] == []
    assert given_up > 5
    verify(wanted.folder, read_manifest(wanted.folder))


def test_another_that_prepares_the_same_is_waited_for(
    library: Library, folder: Path, opened: Open
) -> None:
    wanted = look_for(library, str(folder), "auto", cpu)
    holds, waited = threading.Event(), threading.Event()

    def hold() -> None:
        with library.locked(library.copies.stem(wanted.folder)):
            holds.set()
            waited.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    holds.wait(20)
    assert opened(wanted, lambda _: waited.set()).name == "Tiny Chat"
    other.join()


def test_removing_what_was_prepared_on_first_use(
    library: Library, folder: Path, opened: Open
) -> None:
    first, second = (look_for(library, str(folder), asked, cpu) for asked in ("int8", "int4"))
    opened(first)
    opened(second)
    assert {card.precision for card in library.copies.all()} == {"int8", "int4"}
    assert library.remove("Tiny Chat") > 1000
    assert library.copies.all() == []
    assert folder.is_dir()
    with pytest.raises(Unusable, match="no pulled model"):
        library.remove("Tiny Chat")


def test_removing_a_pulled_model_removes_its_copies(library: Library, opened: Open) -> None:
    pulled(library)
    pulled(library, "tiny-er")
    opened(look_for(library, "tiny", "int4", cpu))
    kept = look_for(library, "tiny-er", "fp32", cpu)
    opened(kept)
    library.remove("tiny")
    assert [card.name for card in library.cards()] == ["tiny-er"]
    assert [card.path for card in library.copies.all()] == [kept.folder.resolve()]
    assert library.sources(REPO) != []


def test_what_is_in_use_is_not_removed(library: Library) -> None:
    target = pulled(library)
    uses = [take(library.home, "tiny"), take(library.home, "tiny")]
    with pytest.raises(Unusable, match="tiny is in use by a running dispatchd"):
        library.remove(REPO)
    uses.pop().release()
    with pytest.raises(Unusable, match="in use"):
        library.remove("tiny")
    assert target.is_dir()
    uses.pop().release()
    assert library.remove("tiny") > 0
