"""Every route: its parameters, its body, its replies and its errors."""

from typing import Any

from msgspec import Struct

from dispatchd.api import openapi_shapes as shapes
from dispatchd.api.openai_errors import CODES, JOB_ID_HEADER, MODEL_CODES, SHARED_CODES
from dispatchd.api.openai_schema import ChatCall, TextCall
from dispatchd.api.schema import Commit, Policy, TrustClaim, TrustCreate, UserCreate
from dispatchd.core.chain import SEQUENCE_MAX, Bundle, EntryPage, SignedRoot
from dispatchd.core.job import JobStatus, JobType

OBJECT = {"type": "object"}
TEXT = {"type": "string"}


class Parameter(Struct, frozen=True, kw_only=True):
    """A parameter; the schema is a type of ours or JSON schema as it stands."""

    name: str
    place: str = "query"
    shape: Any = None
    required: bool = False
    about: str


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path. Its errors are given by status, those of OpenAI's shape by code.

    `keyed`: an API key may be needed, or makes a difference.
    """

    method: str
    path: str
    group: str
    summary: str
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    status: int = 200
    reply: Any
    media_types: tuple[str, ...] = ("application/json",)
    headers: tuple[tuple[str, str], ...] = ()
    errors: tuple[int, ...] = ()
    error: Any = shapes.Error
    codes: tuple[str, ...] = ()
    sold: bool = False
    keyed: bool = False


_ID = Parameter(
    name="id",
    place="path",
    shape={"type": "string", "format": "uuid"},
    required=True,
    about="The job's id, in either case.",
)
_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    shape={"type": "string", "minLength": 1, "maxLength": 255},
    about="The same key and body give the same job for 24 hours; another body is a 409.",
)
_LAST_EVENT = Parameter(
    name="Last-Event-ID",
    place="header",
    shape={"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,9}$"},
    about="The `id` of the last event that was read: the stream goes on behind it.",
)
_WAIT = Parameter(
    name="wait",
    shape={"type": "number", "minimum": 0, "maximum": 60, "multipleOf": 0.001},
    about="Answer when the job ends, after so many seconds at the latest.",
)
_LIST = (
    Parameter(name="user_id", shape=TEXT, about="Only this user's jobs."),
    Parameter(name="status", shape=JobStatus, about="Only jobs with this status."),
    Parameter(name="after", shape=TEXT, about="The `next` of the page before."),
    Parameter(
        name="limit",
        shape={"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
        about="How many jobs a page holds.",
    ),
)
_QUOTE = (
    Parameter(name="job_type", shape=JobType, required=True, about="What kind of job."),
    Parameter(name="policy", shape=Policy, about="AUTO is FAST for LLM_INFER, CHEAP for TASK."),
)
_ENTRIES = (
    Parameter(
        name="after",
        shape={"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX, "default": 0},
        about="Only entries behind this sequence number; the `next` of the page before.",
    ),
    Parameter(
        name="limit",
        shape={"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
        about="How many entries a page holds.",
    ),
)
_JOB = Parameter(
    name="job_id",
    place="path",
    shape={"type": "string", "format": "uuid"},
    required=True,
    about="The job's id, in either case.",
)
_FILE = Parameter(name="file", place="path", shape=TEXT, required=True, about="Its name.")
_USER = Parameter(
    name="user_id", shape={"type": "string", "minLength": 1}, required=True, about="Whose workers."
)
_WORKERS = (
    Parameter(
        name="all",
        shape={"type": "boolean", "default": False},
        about="Also those that are not connected and have a record, in pages.",
    ),
    Parameter(name="after", shape=TEXT, about="With `all`: the `next` of the page before."),
    Parameter(
        name="limit",
        shape={"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
        about="With `all`: how many workers a page holds.",
    ),
)
_WORKER = Parameter(name="provider_pubkey", shape=TEXT, required=True, about="The worker's key.")
_REPLAY = ("Idempotent-Replay", "`true` where the job was committed before with this key.")
_JOB_ID = (JOB_ID_HEADER, "The job that the call has become.")
_MODEL = Parameter(name="id", place="path", shape=TEXT, required=True, about="The model's name.")
_PAYMENT = tuple(
    Parameter(
        name=name,
        place="header",
        shape=TEXT,
        about="Where jobs are sold: a payment of x402, either version, as base64 of its JSON.",
    )
    for name in ("PAYMENT-SIGNATURE", "X-PAYMENT")
)
_BODY_ERRORS = (400, 408, 413, 415, 417)


def _commit(tier: str) -> Operation:
    return Operation(
        method="post",
        path=f"/v1/jobs/commit/{tier}",
        group="Jobs",
        summary=f"Commit a job to the {tier.upper()} tier",
        about="Either job type may be committed to either tier. Unknown fields are ignored.",
        parameters=(_KEY, *_PAYMENT),
        body=Commit,
        status=201,
        reply=shapes.Committed,
        headers=(_REPLAY,),
        sold=True,
        keyed=True,
        errors=(*_BODY_ERRORS, 401, 409, 422, 429, 503),
    )


def _completion(path: str, summary: str, body: Any, reply: Any) -> Operation:
    return Operation(
        method="post",
        path=path,
        group="OpenAI",
        summary=summary,
        parameters=_PAYMENT,
        about=(
            "As OpenAI's clients send it, streaming or not: each call is an LLM_INFER job at the"
            " FAST tier. Closing the connection cancels the job. What goes wrong once a stream has"
            " begun comes as an event with an `error`. A code that is not listed is a worker's own"
            " reason, with status 500."
        ),
        body=body,
        reply=reply,
        media_types=("application/json", "text/event-stream"),
        headers=(_JOB_ID,),
        error=shapes.OpenAiError,
        codes=(*CODES, *SHARED_CODES),
        sold=True,
        keyed=True,
    )


def _get(path: str, group: str, summary: str, reply: Any, **more: Any) -> Operation:
    return Operation(method="get", path=path, group=group, summary=summary, reply=reply, **more)


OPERATIONS = (
    _get("/v1/quote", "Jobs", "Price of a job", shapes.Quote, parameters=_QUOTE, errors=(400,)),
    _commit("fast"),
    _commit("cheap"),
    _get(
        *("/v1/jobs", "Jobs", "PUBLIC jobs, the newest first", shapes.JobList),
        about="With an API key, its user's PRIVATE jobs are among them.",
        parameters=_LIST,
        keyed=True,
        errors=(400, 401, 503),
    ),
    _get(
        *("/v1/jobs/{id}", "Jobs", "A job, at once or when it ends", shapes.Job),
        parameters=(_ID, _WAIT),
        keyed=True,
        errors=(400, 401, 404, 503),
    ),
    Operation(
        method="delete",
        path="/v1/jobs/{id}",
        group="Jobs",
        summary="Cancel a job",
        about="The job ends as `failed` with `cancelled`; 409 where it has ended otherwise.",
        parameters=(_ID,),
        reply=shapes.Job,
        keyed=True,
        errors=(401, 404, 409, 503),
    ),
    _get(
        *("/v1/jobs/{id}/events", "Jobs", "A job's life as server-sent events", TEXT),
        about="`status`, `delta` and at last `done` with the job; each event has an `id`.",
        parameters=(_ID, _LAST_EVENT),
        media_types=("text/event-stream",),
        keyed=True,
        errors=(401, 404, 429, 503),
    ),
    _get(
        *("/v1/jobs/{id}/explain", "Jobs", "Why a job waits", shapes.Explanation),
        parameters=(_ID,),
        keyed=True,
        errors=(401, 404, 503),
    ),
    _get(
        *("/v1/jobs/{id}/timeline", "Jobs", "What has happened to a job, and when"),
        shapes.Timeline,
        about="Of jobs that were long ago, or before a node was started, only what is stored.",
        parameters=(_ID,),
        keyed=True,
        errors=(401, 404, 503),
    ),
    _get(
        *("/v1/receipts", "Receipts", "The chain of receipts, from its beginning", EntryPage),
        about=(
            "Every completed job has an entry; of PRIVATE ones it is all that is shown."
            " dispatchd/core/receipts.md in the source says what is hashed and signed."
        ),
        parameters=_ENTRIES,
        errors=(400, 503),
    ),
    _get(
        *("/v1/receipts/root", "Receipts", "The signed Merkle root over the chain", SignedRoot),
        about="The tree is RFC 6962's; `root` is its hash over the first `size` entries, in hex.",
        errors=(503,),
    ),
    _get(
        *("/v1/receipts/{job_id}", "Receipts", "What proves a result offline", Bundle),
        about=(
            "Receipt and output as they were signed and hashed, the job's entry, and the path from"
            " it to the root. 409 where the job has not completed."
        ),
        parameters=(_JOB,),
        keyed=True,
        errors=(401, 404, 409, 503),
    ),
    _completion("/v1/chat/completions", "Answer a chat", ChatCall, shapes.ChatReply),
    _completion("/v1/completions", "Answer a prompt", TextCall, shapes.TextReply),
    _get(
        *("/v1/models", "OpenAI", "The models that connected workers have", shapes.ModelList),
        error=shapes.OpenAiError,
    ),
    _get(
        *("/v1/models/{id}", "OpenAI", "One model", shapes.Model),
        parameters=(_MODEL,),
        error=shapes.OpenAiError,
        codes=MODEL_CODES,
    ),
    Operation(
        method="post",
        path="/v1/trust/create",
        group="Trust",
        summary="A pairing code for a user",
        body=TrustCreate,
        status=201,
        reply=shapes.Code,
        keyed=True,
        errors=(*_BODY_ERRORS, 401, 503),
    ),
    Operation(
        method="post",
        path="/v1/trust/claim",
        group="Trust",
        summary="Pair a worker with the user of a code",
        about=(
            "`signature` is optional: the worker's, in base64, over `dispatchd pairing claim v1`,"
            " the code and the key in lower case, each on a line of its own. A wrong one is a 400."
        ),
        body=TrustClaim,
        reply=shapes.Claimed,
        errors=(*_BODY_ERRORS, 429, 503),
    ),
    _get(
        *("/v1/trust/list", "Trust", "The workers that a user is paired with"),
        shapes.ProviderList,
        parameters=(_USER,),
        keyed=True,
        errors=(400, 401, 503),
    ),
    Operation(
        method="delete",
        path="/v1/trust",
        group="Trust",
        summary="End a user's trust in a worker",
        about="The worker keeps what it is doing, and gets no other PRIVATE job of this user.",
        parameters=(_USER, _WORKER),
        reply=shapes.Unpaired,
        keyed=True,
        errors=(400, 401, 404, 503),
    ),
    Operation(
        method="post",
        path="/v1/users",
        group="Users",
        summary="Make a user's API key",
        about=(
            "The key is shown once. From then on the user needs it. Making another one takes the"
            " present one (409 without), which is then void. A first one is made for anybody on a"
            " testnet, elsewhere for the operator (401 for others): `operator_signature` is the"
            " coordinator key's, in base64, over `dispatchd user key v1`, that key in hex and the"
            " `user_id`, each on a line of its own."
        ),
        body=UserCreate,
        status=201,
        reply=shapes.UserKey,
        keyed=True,
        errors=(*_BODY_ERRORS, 401, 409, 429, 503),
    ),
    _get(
        *("/v1/workers", "Node", "The workers that are connected, or all", shapes.WorkerList),
        about="With their records. A `suspended` worker is connected, and gets no job for a time.",
        parameters=_WORKERS,
        errors=(400, 503),
    ),
    _get("/v1/health", "Node", "How the node is", shapes.Health),
    _get("/livez", "Node", "Whether the process lives", shapes.Liveness),
    _get(
        *("/readyz", "Node", "Whether the node takes jobs", shapes.Readiness),
        about=(
            "Each check is `ok` or says what is wrong. `models` are those of the node's own worker;"
            " jobs wait for one that is still loading."
        ),
        error=shapes.NotReady,
        errors=(503,),
    ),
    _get(
        *("/metrics", "Node", "What Prometheus reads", TEXT),
        about="As OpenMetrics where `Accept` asks for it.",
        media_types=("text/plain",),
    ),
    _get(
        *("/v1/network", "Node", "The network at a glance", shapes.NetworkGlance),
        about="PUBLIC jobs; with an API key, its user's PRIVATE ones are among them.",
        keyed=True,
        errors=(401, 503),
    ),
    _get(
        *("/v1/network/events", "Node", "The network at a glance, live", TEXT),
        about=(
            "A `snapshot` as `/v1/network` gives it, then `change` events, four a second at the"
            " most, with `timestamp`, `now`, and what has changed of `series`, `workers`, `jobs`;"
            " `present` where workers have come or gone. It never ends by itself."
        ),
        media_types=("text/event-stream",),
        keyed=True,
        errors=(401, 429, 503),
    ),
    _get(
        *("/", "Node", "What this is", shapes.Introduction),
        about="Browsers get the live page. Workers connect here too, with a WebSocket upgrade.",
        media_types=("application/json", "text/html"),
    ),
    _get("/dashboard", "Node", "The live page", TEXT, media_types=("text/html",)),
    _get(
        *("/dashboard/{file}", "Node", "A file of the live page", TEXT),
        parameters=(_FILE,),
        media_types=("text/javascript", "text/css", "text/html", "image/svg+xml"),
        errors=(404,),
    ),
    _get("/openapi.json", "Node", "This document", OBJECT),
    _get("/docs", "Node", "This document as a page", TEXT, media_types=("text/html",)),
)
