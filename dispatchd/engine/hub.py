"""The model hub, as far as pulling a model needs it: what a repository holds, and its bytes.

Endpoint, token, offline switch and proxy are huggingface-hub's own: `HF_ENDPOINT`, `HF_TOKEN` (or
the token it keeps on disk), `HF_HUB_OFFLINE`, `HTTPS_PROXY`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import msgspec
from huggingface_hub import (
    HfApi,
    constants,
    get_session,
    get_token,
    hf_hub_url,
    hf_raise_for_status,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from dispatchd import __version__
from dispatchd.core.errors import Unusable

_UNAUTHORIZED, _FORBIDDEN, _OK = 401, 403, 200
_COMMIT = re.compile(r"[0-9a-fA-F]{40,64}")  # it names a folder
_CHECK_ENDPOINT = "check HF_ENDPOINT"
_SHA256_DIGITS, _SHA1_DIGITS = 64, 40

# The node sends nothing about its machine to anybody; this is huggingface-hub's own switch for it.
constants.HF_HUB_DISABLE_TELEMETRY = True


class HubAway(Unusable):
    """The hub does not answer, or is switched off; what is here already may do."""


class HubFile(msgspec.Struct, frozen=True):
    """A file of a repository. Large ones are known by `sha256`, others by git's `blob` hash."""

    name: str
    size: int
    sha256: str | None = None
    blob: str | None = None


class Listing(msgspec.Struct, frozen=True):
    """What a repository holds at a commit, which is where `revision` pointed."""

    repo: str
    revision: str
    commit: str
    files: tuple[HubFile, ...]

    def find(self, name: str) -> HubFile | None:
        """The file of that name."""
        return next((file for file in self.files if file.name == name), None)


class Hub:
    """One hub, asked with one token; both are huggingface-hub's where they are not given."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._token = token or get_token()
        self._api = HfApi(
            endpoint=self.endpoint,
            token=self._token or False,
            library_name="dispatchd",
            library_version=__version__,
        )

    def listing(self, repo: str, revision: str) -> Listing:
        """What the repository holds there; `HubAway` if nobody answers, Unusable if it is none."""
        with self._told(repo, revision), self._understood():
            info = self._api.model_info(
                repo,
                revision=revision,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        return self._read(info, repo, revision)

    def read(self, listing: Listing, file: HubFile, start: int) -> Iterator[tuple[int, bytes]]:
        """The file's bytes from `start` on, each piece with its place in the file.

        A server that cannot resume begins anew, at 0. Raises `HubAway` when the connection breaks.
        """
        url = hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=self.endpoint)
        headers = {"user-agent": f"dispatchd/{__version__}", "accept-encoding": "identity"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"  # goes to no other host: httpx2
        if start:
            headers["range"] = f"bytes={start}-"
        with (
            self._told(listing.repo, listing.revision),
            get_session().stream(
                "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            ) as response,
        ):
            hf_raise_for_status(response)
            place = 0 if response.status_code == _OK else start
            for piece in response.iter_bytes():
                yield place, piece
                place += len(piece)

    def _read(self, info: ModelInfo, repo: str, revision: str) -> Listing:
        files = [_file(sibling) for sibling in info.siblings or ()]
        known = tuple(file for file in files if file is not None)
        if not info.sha or not _COMMIT.fullmatch(info.sha) or len(known) < len(files):
            raise Unusable(f"{self.endpoint} does not say what {repo} holds: {_CHECK_ENDPOINT}.")
        return Listing(repo, revision, info.sha, known)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except HFValidationError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unusable(f"{self.endpoint} is no model hub: {_CHECK_ENDPOINT}.") from None

    @contextmanager
    def _told(self, repo: str, revision: str) -> Iterator[None]:
        """Turns what huggingface-hub raises into a sentence that says what to do."""
        try:
            yield
        except GatedRepoError:
            raise Unusable(self._gated(repo)) from None
        except RevisionNotFoundError:
            raise Unusable(
                f"{repo} has no revision {revision!r}: give a branch, a tag or a commit."
            ) from None
        except RepositoryNotFoundError:
            raise Unusable(self._unknown(repo)) from None
        except HFValidationError:
            raise Unusable(f"{repo!r} is no repository: write it as OWNER/NAME.") from None
        except HfHubHTTPError as error:
            raise self._refusal(repo, error) from None
        except OfflineModeIsEnabled:
            raise HubAway("The hub is switched off (HF_HUB_OFFLINE).") from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            reason = str(error).strip() or type(error).__name__
            raise HubAway(f"{self.endpoint} does not answer ({reason}).") from None

    def _refusal(self, repo: str, error: HfHubHTTPError) -> Unusable:
        status = error.response.status_code
        if status in {_UNAUTHORIZED, _FORBIDDEN}:
            return Unusable(self._gated(repo))
        return HubAway(f"{self.endpoint} answered {status} when asked for {repo}.")

    def _gated(self, repo: str) -> str:
        if self._token:
            return (
                f"{repo} is not open to your token: accept its terms at {self.endpoint}/{repo},"
                " or set HF_TOKEN to a token that may read it."
            )
        return (
            f"{repo} is gated: accept its terms at {self.endpoint}/{repo}, make a token at"
            f" {self.endpoint}/settings/tokens, and set HF_TOKEN to it."
        )

    def _unknown(self, repo: str) -> str:
        private = "" if self._token else " If it is private, set HF_TOKEN."
        return f"{self.endpoint} has no model {repo}: check the name (OWNER/NAME).{private}"


def cached(listing: Listing, file: HubFile) -> Path | None:
    """The file in the cache that huggingface-hub's other users share, if it is there."""
    found = try_to_load_from_cache(listing.repo, file.name, revision=listing.commit)
    return Path(found) if isinstance(found, str) else None


def cached_listing(repo: str, revision: str) -> Listing | None:
    """What that cache holds of a repository, without asking the hub."""
    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    files = tuple(_cached_file(path) for path in sorted(folder.iterdir()) if path.is_file())
    return Listing(repo, revision, folder.name, files)


def _cached_file(path: Path) -> HubFile:
    """A cached file is a link to one that is named after its hash, where links are possible."""
    name = path.resolve().name
    return HubFile(
        path.name,
        path.stat().st_size,
        sha256=name if len(name) == _SHA256_DIGITS else None,
        blob=name if len(name) == _SHA1_DIGITS else None,
    )


def _file(sibling: RepoSibling) -> HubFile | None:
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if size is None:
        return None
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    return HubFile(sibling.rfilename, size, sha256, None if sha256 else sibling.blob_id)
