"""Every limit of a coordinator, with its unit and its default."""

from types import MappingProxyType

from msgspec import Struct

from dispatchd.core.job import JobType


class Limits(Struct, frozen=True, kw_only=True):
    """How long things may take and how many of them there may be."""

    lease_seconds: float = 30
    """A worker that is silent for so long is dead, and its jobs go to others."""
    no_worker_seconds: float = 30
    """So long a job waits for any capable worker to come online."""
    task_run_seconds: float = 60
    llm_run_seconds: float = 600
    faults_max: int = 3
    """Attempts that may fail before the job does."""
    refusal_seconds: float = 5
    """A worker that turned a job down is not offered it again before that."""
    fast_head_start_seconds: float = 60
    """A CHEAP job goes before a FAST one that was committed so much later."""
    pairing_code_seconds: float = 3600
    receipt_seconds: float = 10
    """So long a result waits for a receipt that is sent by itself."""
    register_seconds: float = 60
    """A socket that has not registered by then is closed."""
    body_bytes_max: int = 1024 * 1024
    frame_bytes_max: int = 4 * 1024 * 1024
    sweep_seconds: float = 1
    renew_seconds: float = 10

    def run_seconds(self, job_type: JobType) -> float:
        """How long one attempt may take."""
        return MappingProxyType(
            {JobType.TASK: self.task_run_seconds, JobType.LLM_INFER: self.llm_run_seconds}
        )[job_type]
