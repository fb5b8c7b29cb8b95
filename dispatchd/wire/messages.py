"""The frames that workers and coordinators exchange, by the names of the protocol."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from dispatchd.core.card import KeyHex
from dispatchd.core.job import JobType

Names = Annotated[list[str], Meta(max_length=256)]


class SlotsOffered(Struct, frozen=True):
    """Ours: places kept for some job types, so that short jobs never wait behind long ones."""

    job_types: Annotated[list[JobType], Meta(min_length=1)]
    count: Annotated[int, Meta(ge=1, le=1024)]


class Register(Struct, frozen=True, tag_field="type", tag="register"):
    """A worker introduces itself; the fields after `pricing_hint` are ours and optional."""

    provider_pubkey: KeyHex
    provider_type: str
    capabilities: Names
    pricing_hint: Raw | UnsetType = UNSET
    max_concurrent_jobs: Annotated[int, Meta(ge=1, le=1024)] | None = None
    slots: Annotated[list[SlotsOffered], Meta(max_length=8)] = []
    models: Names = []
    version: str | None = None
    active_jobs: Names = []
    device: Raw | UnsetType = UNSET


class Heartbeat(Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """A worker is alive."""

    provider_pubkey: Raw | UnsetType = UNSET
    metrics: Raw | UnsetType = UNSET


class JobComplete(Struct, frozen=True, tag_field="type", tag="job_complete", omit_defaults=True):
    """A worker hands in an output. What it holds is judged later: a bad one fails the attempt.

    `attempt` is ours: the number that `job_assign` carried.
    """

    job_id: str
    output: Raw | UnsetType = UNSET
    output_hash: Raw | UnsetType = UNSET
    receipt: Raw | UnsetType = UNSET
    receipt_signature: Raw | UnsetType = UNSET
    attempt: int | None = None


class JobReject(Struct, frozen=True, tag_field="type", tag="job_reject", omit_defaults=True):
    """A worker turns a job down. `final` is ours: it would do so again."""

    job_id: str
    reason: Raw | UnsetType = UNSET
    attempt: int | None = None
    final: bool = False


class ReceiptSubmit(Struct, frozen=True, tag_field="type", tag="receipt_submit"):
    """The receipt of a `job_complete` that came without one."""

    receipt: Raw
    signature: Raw


class JobProgress(Struct, frozen=True, tag_field="type", tag="job_progress", omit_defaults=True):
    """Ours: text as it is generated."""

    job_id: str
    delta: str
    attempt: int | None = None


class Prove(Struct, frozen=True, tag_field="type", tag="prove"):
    """Ours: the answer to a challenge, in base64; `core/proof.py` says over what."""

    signature: str


WorkerMessage = Register | Heartbeat | JobComplete | JobReject | ReceiptSubmit | JobProgress | Prove


class RegisterAck(Struct, frozen=True, tag_field="type", tag="register_ack", omit_defaults=True):
    """The answer to `register`: an id, or why not.

    Ours: `challenge` asks for `prove`; `resumed` names the leases that the worker then keeps.
    """

    status: str
    worker_id: str | None = None
    error: str | None = None
    challenge: str | None = None
    resumed: Names | None = None


class HeartbeatAck(Struct, frozen=True, tag_field="type", tag="heartbeat_ack"):
    """The answer to `heartbeat`."""

    status: str = "ok"


class JobAssign(Struct, frozen=True, tag_field="type", tag="job_assign"):
    """A job for the worker. Only the first three fields are counted on by ours.

    `job_type` is a plain string on this side: other coordinators may know more of them.
    `attempt` is ours.
    """

    job_id: str
    job_type: str
    payload: Raw
    policy: str = ""
    privacy_class: str = ""
    user_id: str = ""
    attempt: int | None = None
    payment_ref: str | UnsetType | None = UNSET


class JobCancel(Struct, frozen=True, tag_field="type", tag="job_cancel", omit_defaults=True):
    """Ours: the worker need not go on with this job."""

    job_id: str
    attempt: int | None = None


KEY_TAKEN = "KEY_TAKEN"
"""The code of the error for a worker whose place another connection has, by the same key."""


class ErrorFrame(Struct, frozen=True, tag_field="type", tag="error"):
    """A frame that could not be used."""

    code: str
    message: str


CoordinatorMessage = RegisterAck | HeartbeatAck | JobAssign | JobCancel | ErrorFrame


def raw(text: str) -> Raw:
    """A JSON text that goes into a frame exactly as it stands."""
    return Raw(text.encode())


def encode(message: WorkerMessage | CoordinatorMessage) -> bytes:
    """A frame's text in UTF-8."""
    return msgspec.json.encode(message)
