"""What a caller wants done, as the protocol's commit body has it."""

from typing import Any, Self

from msgspec import Struct

from dispatchd.core.job import JobType, Privacy
from dispatchd.sdk.errors import InvalidRequest


class Order(Struct, frozen=True):
    """A job to be."""

    job_type: JobType
    payload: dict[str, Any]
    user_id: str
    policy: str
    privacy: Privacy

    @classmethod
    def llm(cls, fields: dict[str, Any], user_id: str, policy: str, privacy: str) -> Self:
        """A text to be generated."""
        if not fields.get("prompt") and not fields.get("messages"):
            raise InvalidRequest("prompt is missing; give it, or messages")
        return cls._of(JobType.LLM_INFER, fields, user_id, policy, privacy)

    @classmethod
    def task(cls, fields: dict[str, Any], user_id: str, policy: str, privacy: str) -> Self:
        """A text to be worked on."""
        return cls._of(JobType.TASK, fields, user_id, policy, privacy)

    @classmethod
    def _of(
        cls, job_type: JobType, fields: dict[str, Any], user_id: str, policy: str, privacy: str
    ) -> Self:
        if not user_id:
            raise InvalidRequest("user_id is missing; any name of your own will do")
        if privacy not in set(Privacy):
            raise InvalidRequest(f"Invalid privacy {privacy!r}. Use PUBLIC or PRIVATE")
        given = {name: value for name, value in fields.items() if value is not None}
        payload = {"job_type": job_type.value} | given
        return cls(job_type, payload, user_id, policy, Privacy(privacy))

    @property
    def private(self) -> bool:
        """Whether it may go only to workers that its user trusts."""
        return self.privacy is Privacy.PRIVATE

    @property
    def body(self) -> dict[str, Any]:
        """The commit's body."""
        return {
            "job_type": self.job_type.value,
            "user_id": self.user_id,
            "privacy_class": self.privacy.value,
            "payload": self.payload,
        }
