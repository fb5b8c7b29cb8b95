"""Every limit of a node, with its unit and its default."""

from types import MappingProxyType

from msgspec import Struct

from dispatchd.core.job import JobType

SUMMARY_CHARS_MIN = 20
"""A summary may be asked to be so short; one sentence may have to be cut for it."""
SUMMARY_CHARS_MAX = 10_000
"""And so long."""


class Limits(Struct, frozen=True, kw_only=True):
    """How long things may take and how many of them there may be."""

    lease_seconds: float = 30
    """A worker that is silent for so long is dead, and its jobs go to others."""
    no_worker_seconds: float = 30
    """So long a job waits for any capable worker to come online."""
    task_run_seconds: float = 60
    """One attempt at a TASK job may take so long."""
    llm_run_seconds: float = 600
    """One attempt at an LLM_INFER job may take so long."""
    faults_max: int = 3
    """Attempts that may fail before the job does."""
    refusal_seconds: float = 5
    """A worker that turned a job down is not offered it again before that."""
    strikes_max: int = 10
    """What stands against a worker when it is suspended; a completed job takes one strike away."""
    strike_memory_seconds: float = 3600
    """A worker that does not fail for so long has its strikes and suspensions forgotten."""
    suspension_seconds: float = 60
    """A worker's first suspension; each further one is twice as long. 0 suspends nobody."""
    suspension_seconds_max: float = 900
    """No suspension is longer."""
    fast_head_start_seconds: float = 60
    """A CHEAP job goes before a FAST one that was committed so much later."""
    queue_jobs_max: int = 100_000
    """Jobs that may wait; beyond it a commit gets 429."""
    open_jobs_per_user_max: int = 0
    """Jobs of one user that may be under way; 0 means any number."""
    idempotency_seconds: float = 86_400
    """So long a key stands for the job that it was first sent with."""
    paid_job_seconds: float = 900
    """A paid job ends by then, and its payment must be valid for so long."""
    open_payments_max: int = 4
    """Payments of one payer that may be open at first; each that is captured adds one."""
    pairing_code_seconds: float = 3600
    """A pairing code can be claimed for so long."""
    wrong_codes_per_address_max: int = 20
    """Wrong pairing codes from one address in a minute."""
    wrong_codes_max: int = 200
    """Wrong pairing codes from everywhere in a minute."""
    new_users_per_address_max: int = 20
    """Users that may get their first API key from one address in a minute."""
    backend_start_seconds: float = 300
    """A backend may take so long before the first text of a job."""
    backend_silence_seconds: float = 60
    """A backend that sends nothing for so long amid a text has failed at it."""
    backend_wait_seconds: float = 30
    """So long a start, and later a job, waits for a backend that is away."""
    proof_seconds: float = 5
    """A worker that has not answered its challenge by then counts as one that cannot."""
    answer_seconds: float = 5
    """A proven connection must answer so soon where another one registers with its key."""
    proof_wait_seconds: float = 2
    """So long a PRIVATE commit waits for the proof of a worker's key that is under way."""
    canary_pause_seconds: float = 60
    """After a canary that proved nothing, the next one comes no sooner."""
    receipt_seconds: float = 10
    """So long a result waits for a receipt that is sent by itself."""
    register_seconds: float = 60
    """A socket that has not registered by then is closed."""
    header_seconds: float = 10
    """The head of a request must have arrived by then."""
    body_seconds: float = 30
    """The body of a request must have arrived by then."""
    body_bytes_max: int = 1024 * 1024
    """A longer body is a 413."""
    frame_bytes_max: int = 4 * 1024 * 1024
    """A longer frame closes its socket (1009)."""
    frames_per_second_max: int = 20_000
    """More frames than that close their socket (1008)."""
    connections_per_address_max: int = 10_000
    """More connections from one address are not accepted."""
    watchers_max: int = 10_000
    """Requests that may watch, or wait for a job's end; others get a 429, or an answer at once."""
    wait_seconds_max: float = 60
    """`?wait=` may ask for so long."""
    sweep_seconds: float = 1
    """How often it is looked at what is due."""
    renew_seconds: float = 10
    """How often leases of living workers are extended, and the store is tried."""

    def run_seconds(self, job_type: JobType) -> float:
        """How long one attempt may take."""
        return MappingProxyType(
            {JobType.TASK: self.task_run_seconds, JobType.LLM_INFER: self.llm_run_seconds}
        )[job_type]
