"""A published model brought here and prepared: look, tell what it takes, fetch, prepare."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import ModelCard, describe
from dispatchd.engine.download import Downloads, Progress
from dispatchd.engine.hub import Hub, HubAway, HubFile, Listing, cached_listing
from dispatchd.engine.library import Library, make_private
from dispatchd.engine.prepare.architecture import read_architecture
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from dispatchd.engine.repo_files import small_files, weight_files
from dispatchd.engine.short_names import short_name
from dispatchd.engine.sizes import memory_bytes, parameters, prepared_bytes

_LISTING = ".listing.json"


class Plan(msgspec.Struct, frozen=True):
    """What a pull will do, before it does it. `ready`: nothing, the model is here already."""

    name: str
    listing: Listing
    source: Path
    files: tuple[HubFile, ...]
    precision: Precision
    parameters: int
    download_bytes: int
    missing_bytes: int
    prepared_bytes: int
    memory_bytes: int
    ready: bool
    offline: str | None


class Pull:
    """One pull, step by step: `plan`, `download`, `prepare`."""

    def __init__(self, library: Library, hub: Hub, **waiting: Callable[[float], None]) -> None:
        self._library = library
        self._hub = hub
        self._waiting = waiting

    def plan(self, wanted: str, revision: str, name: str | None, precision: Precision) -> Plan:
        """Finds out what is wanted and what it takes; fetches the small files alone.

        Raises `HubAway` or Unusable.
        """
        repo = repo_of(wanted)
        kept_as = self._library.name_for(repo, name)
        listing, offline = self._listing(repo, revision)
        source = self._library.source(listing.repo, listing.commit)
        downloads = self._downloads(listing, source)
        small = small_files(listing)
        missing = downloads.missing_bytes(small)
        for file in small:
            downloads.fetch(file, lambda _: None)
        shape = read_architecture(source)
        weights = weight_files(listing, source)
        files = [*small, *weights]
        return Plan(
            name=kept_as,
            listing=listing,
            source=source,
            files=tuple(files),
            precision=precision,
            parameters=parameters(shape),
            download_bytes=sum(file.size for file in files),
            missing_bytes=missing + downloads.missing_bytes(weights),
            prepared_bytes=prepared_bytes(shape, precision),
            memory_bytes=memory_bytes(shape, precision),
            ready=self._is_ready(kept_as, listing, precision),
            offline=offline,
        )

    def download(self, plan: Plan, progress: Progress) -> None:
        """Fetches what is missing; Unusable before it begins if the disk is too small."""
        self._library.check_room(plan.missing_bytes + plan.prepared_bytes)
        downloads = self._downloads(plan.listing, plan.source)
        for file in plan.files:
            downloads.fetch(file, progress)

    def prepare(self, plan: Plan, progress: Callable[[float], None]) -> ModelCard:
        """Makes the model that runs, and forgets what older commits left."""
        target = self._library.folder(plan.name)
        prepare(
            plan.source,
            target,
            plan.precision,
            name=plan.name,
            source_repo=plan.listing.repo,
            revision=plan.listing.commit,
            progress=progress,
        )
        self._library.forget_unused(plan.listing.repo)
        return describe(target)

    def _downloads(self, listing: Listing, source: Path) -> Downloads:
        return Downloads(self._hub, listing, source, **self._waiting)

    def _listing(self, repo: str, revision: str) -> tuple[Listing, str | None]:
        """What the repository holds, and the reason if that is not the hub's own word of today."""
        try:
            listing, offline = self._hub.listing(repo, revision), None
        except HubAway as away:
            known = self._known(repo, revision)
            if known is None:
                raise HubAway(
                    f"{away} {repo} is not on this machine either: connect, or name a mirror in"
                    " HF_ENDPOINT."
                ) from None
            listing, offline = known, str(away)
        folder = self._library.source(repo, listing.commit)
        make_private(folder)
        (folder / _LISTING).write_bytes(msgspec.json.encode(listing))
        return listing, offline

    def _known(self, repo: str, revision: str) -> Listing | None:
        """What was pulled before, by us or by another program with the same cache."""
        for folder in self._library.sources(repo):
            if (file := folder / _LISTING).is_file():
                listing = msgspec.json.decode(file.read_bytes(), type=Listing)
                if revision in {listing.revision, listing.commit}:
                    return listing
        return cached_listing(repo, revision)

    def _is_ready(self, name: str, listing: Listing, precision: Precision) -> bool:
        card = self._library.find(name)
        if card is None or card.name != name:
            return False
        return (card.revision, card.precision) == (listing.commit, precision)


def repo_of(wanted: str) -> str:
    """The repository of a short name, or the one that is named; Unusable if it is neither."""
    published = short_name(wanted)
    if published:
        return published.repo
    if "/" not in wanted:
        raise Unusable(
            f"{wanted!r} is no model that can be pulled: give OWNER/NAME, or one of the names that"
            " dispatchd models list --available shows."
        )
    return wanted
