"""From what a worker says when it registers to its card."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.errors import Invalid
from dispatchd.core.job import JobType
from dispatchd.wire.messages import Register

_KNOWN_TYPES = frozenset(str(kind) for kind in JobType)
_DEVICE_CHARS_MAX = 64


def card_of(message: Register) -> WorkerCard:
    """The worker's card; raises `Invalid` with a sentence that names the field.

    Capabilities that this coordinator does not know are left out; one must be left.
    """
    capabilities = frozenset(JobType(name) for name in _KNOWN_TYPES & set(message.capabilities))
    if not capabilities:
        raise Invalid("capabilities must name LLM_INFER or TASK")
    try:
        provider_type = ProviderType(message.provider_type)
    except ValueError:
        raise Invalid("provider_type must be DESKTOP or SEEKER") from None
    return WorkerCard(
        provider_pubkey=message.provider_pubkey.lower(),
        provider_type=provider_type,
        slots=_slots(message, capabilities),
        version=message.version,
        models=tuple(message.models),
        device=_device(message.device),
    )


def _slots(message: Register, capabilities: frozenset[JobType]) -> tuple[Slots, ...]:
    offered = [
        Slots(capabilities & set(slots.job_types), slots.count)
        for slots in message.slots
        if capabilities & set(slots.job_types)
    ]
    return tuple(offered) or (Slots(capabilities, message.max_concurrent_jobs or 1),)


def _device(said: Raw | UnsetType) -> str | None:
    """The field is ours: of workers that mean something else by it nothing is taken over."""
    device = None if said is UNSET else msgspec.json.decode(said)
    return device[:_DEVICE_CHARS_MAX] if isinstance(device, str) else None
