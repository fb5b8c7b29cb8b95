"""The shapes of replies, as the OpenAPI document describes them."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from dispatchd.api.gate import PaymentKind
from dispatchd.coordinator.explain import Rule
from dispatchd.coordinator.life import Event
from dispatchd.coordinator.overview import Numbers
from dispatchd.coordinator.series import Bucket
from dispatchd.core.card import ProviderType
from dispatchd.core.job import JobStatus, JobType, Privacy, Tier
from dispatchd.core.payment import PaymentState
from dispatchd.core.record import WorkerRecord
from dispatchd.core.standing import Grade

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Key = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Introduction(Struct, rename={"try_": "try"}):
    """What stands at `/`."""

    service: Literal["dispatchd"]
    version: str
    network: str
    workers_online: int
    try_: str


class Health(Struct):
    """How the node is; `problems` is there when something is wrong."""

    status: Literal["ok", "degraded"]
    workers_online: int
    network: str
    timestamp: Time
    problems: list[str] | UnsetType = UNSET


class Liveness(Struct):
    """That it answers at all is the answer."""

    status: Literal["live"]


ModelStates = dict[str, Literal["loading", "ready"]]


class Readiness(Struct):
    """Every check holds."""

    status: Literal["ready"]
    checks: dict[str, str]
    models: ModelStates


class NotReady(Struct):
    """Some checks fail."""

    error: str
    code: str
    failing: list[str] | UnsetType = UNSET
    checks: dict[str, str] | UnsetType = UNSET
    models: ModelStates | UnsetType = UNSET


class Quote(Struct):
    """A price, and the endpoint at which it is charged."""

    price: Annotated[str, Meta(pattern=r"^\$[0-9]+\.[0-9]{3}$")]
    endpoint: Literal["/v1/jobs/commit/fast", "/v1/jobs/commit/cheap"]
    policy_resolved: Tier
    network: str
    expires_at: Time | None


class Payment(Struct):
    """Where jobs are sold: how far the payment is. `amount` is in the token's atomic units."""

    state: PaymentState
    transaction: str | None
    amount: Annotated[str, Meta(pattern="^[0-9]+$")] | UnsetType = UNSET
    asset: str | UnsetType = UNSET
    network: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    simulated: Literal[True] | UnsetType = UNSET


class Committed(Struct):
    """The job that was stored."""

    job_id: Id
    payment: Payment | UnsetType = UNSET


class Accepted(Struct, rename="camel"):
    """One way to pay, as version 1 of x402 and the guide write it."""

    scheme: str
    price: str
    network: str
    pay_to: str
    asset: str
    max_amount_required: str
    amount: str
    resource: str
    description: str
    mime_type: str
    max_timeout_seconds: int
    extra: dict[str, str]


class PaymentWanted(Struct, rename={"version": "x402Version"}):
    """Version 1 of the offer; version 2 is in the header `PAYMENT-REQUIRED`."""

    version: Literal[1]
    error: str
    code: Literal["payment_required", "payment_refused"]
    accepts: list[Accepted]
    charged: Literal[False]
    detail: str | UnsetType = UNSET


class Receipt(Struct):
    """What the worker signed, and the signature."""

    job_id: Id
    provider_pubkey: Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")]
    output_hash: Annotated[str, Meta(description="SHA-256 over the output's JSON text.")]
    completed_at: str
    payment_ref: str | None
    signature: Annotated[str, Meta(description="Detached ed25519, base64.")]
    verified: bool


class Job(Struct, kw_only=True):
    """A job. `result` is null until the end, and `{"error": code}` on failure."""

    id: Id
    status: JobStatus
    result: Any
    receipt: Receipt | None
    created_at: Time
    completed_at: Time | None
    payment: Payment | UnsetType = UNSET


class ListedJob(Job, kw_only=True):
    """A job in a list."""

    job_type: JobType
    tier: Tier
    user_id: str


class JobList(Struct):
    """A page of jobs, the newest first; `next` is what `after` must be for the next page."""

    jobs: list[ListedJob]
    next: Id | None


class Excluded(Struct):
    """A worker, and the first rule that keeps it from the job; null where none does.

    Of one that is suspended also until when, and how many attempts have failed with it.
    """

    provider_pubkey: Key
    excluded_by: Rule | None
    suspended_until: Time | UnsetType = UNSET
    failures: int | UnsetType = UNSET


class Explanation(Struct):
    """Why a job waits; a job that has ended has no verdict and no workers."""

    job_id: Id
    status: JobStatus
    workers: list[Excluded]
    verdict: Literal["will run", "cannot run now"] | UnsetType = UNSET


class Worker(Struct):
    """A worker: its standing and record, and while it is connected its card and load."""

    provider_pubkey: Key
    online: bool
    standing: Grade
    suspended_until: Time | None
    record: WorkerRecord
    provider_type: ProviderType | UnsetType = UNSET
    capabilities: list[JobType] | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    device: Annotated[
        str | UnsetType | None,
        Meta(description="What its models run on, in its own words; null where it does not say."),
    ] = UNSET
    max_concurrent_jobs: int | UnsetType = UNSET
    active_jobs: int | UnsetType = UNSET
    proven: Annotated[
        bool | UnsetType, Meta(description="Whether this connection has proven its key.")
    ] = UNSET


class WorkerList(Struct):
    """Workers; with `all`, `next` is what `after` must be for the next page."""

    workers: list[Worker]
    next: Key | UnsetType | None = UNSET


class Step(Struct):
    """One thing that happened to a job; `at` is null where only the store knows of it."""

    event: Event
    at: Time | None
    attempt: int | UnsetType = UNSET
    provider_pubkey: Key | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Timeline(Struct):
    """A job's life. `whole`: the coordinators that live have seen all of it, each its part.

    Else some steps may be missing.
    """

    job_id: Id
    status: JobStatus
    job_type: JobType
    tier: Tier
    user_id: str
    attempts: int
    failed_attempts: int
    whole: bool
    steps: list[Step]


class LatestJob(Struct):
    """One of the latest jobs; of what another coordinator has seen, steps that are stored."""

    id: Id
    job_type: JobType
    tier: Tier
    user_id: str
    privacy_class: Privacy
    status: JobStatus
    attempts: int
    provider_pubkey: Key | None
    paid: bool
    created_at: Time
    steps: list[Step]


class NetworkGlance(Struct):
    """The network now and in the last fifteen minutes: workers and jobs, the latest ones only.

    Counts are of all jobs, PRIVATE ones as well: since `started_at`, and those of other
    coordinators over the same store since each of them began. `series` leaves out buckets in which
    nothing happened. `present`: the keys of the workers that are shown.
    """

    service: Literal["dispatchd"]
    version: str
    network: str
    started_at: Time
    payments: PaymentKind
    timestamp: Time
    now: Numbers
    series: list[Bucket]
    workers: list[Worker]
    present: list[Key]
    jobs: list[LatestJob]


class Code(Struct):
    """A pairing code, for one claim within the hour."""

    pairing_code: Annotated[str, Meta(pattern="^[0-9A-F]{6}$")]
    expires_at: Time


class Claimed(Struct):
    """The pairing that a code has become."""

    user_id: str
    paired_at: Time


class Provider(Struct):
    """A worker that a user is paired with."""

    provider_pubkey: Key
    paired_at: Time


class ProviderList(Struct):
    """The workers that a user is paired with."""

    providers: list[Provider]


class Unpaired(Struct):
    """A pairing that has ended."""

    user_id: str
    provider_pubkey: Key


class UserKey(Struct):
    """A user's API key, which is not shown again."""

    user_id: str
    api_key: str


class Error(Struct):
    """Every error. `code` is stable; `error` is a sentence, or a word the protocol fixes."""

    error: str
    code: str
    detail: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET
    job_id: Annotated[Id, Meta(description="With no_trusted_worker only.")] | UnsetType = UNSET


class Model(Struct):
    """A model as OpenAI's clients read it; `created` is when this node started."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct):
    """The models that connected workers have."""

    object: Literal["list"]
    data: list[Model]


class Usage(Struct):
    """What was read and what was written, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(Struct):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Struct):
    """The one choice of a chat's reply."""

    index: Literal[0]
    message: AssistantMessage
    logprobs: None
    finish_reason: Literal["stop", "length"]


class TextChoice(Struct):
    """The one choice of a prompt's reply."""

    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: Literal["stop", "length"]


class _Completion(Struct, kw_only=True):
    id: str
    created: int
    model: str
    system_fingerprint: None
    usage: Usage | None


class ChatReply(_Completion, kw_only=True):
    """A whole reply to a chat; `usage` is null where the worker counts no tokens."""

    object: Literal["chat.completion"]
    choices: Annotated[list[ChatChoice], Meta(min_length=1, max_length=1)]


class TextReply(_Completion, kw_only=True):
    """A whole reply to a prompt; `usage` is null where the worker counts no tokens."""

    object: Literal["text_completion"]
    choices: Annotated[list[TextChoice], Meta(min_length=1, max_length=1)]


class OpenAiProblem(Struct):
    """What went wrong, and which parameter is at fault."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAiError(Struct):
    """An error as OpenAI's clients read it."""

    error: OpenAiProblem
