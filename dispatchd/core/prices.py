"""The network's price table and how a policy resolves to a tier."""

from types import MappingProxyType

from dispatchd.core.job import JobType, Tier

ATOMIC_PER_USD = 1_000_000
"""The tokens that are paid with have six decimals."""

_PRICES = MappingProxyType(
    {
        (Tier.FAST, JobType.LLM_INFER): 10_000,
        (Tier.CHEAP, JobType.LLM_INFER): 5_000,
        (Tier.FAST, JobType.TASK): 3_000,
        (Tier.CHEAP, JobType.TASK): 1_000,
    }
)

_AUTO = MappingProxyType({JobType.LLM_INFER: Tier.FAST, JobType.TASK: Tier.CHEAP})


def price(tier: Tier, job_type: JobType) -> int:
    """What a job costs, in atomic units (millionths of a dollar)."""
    return _PRICES[tier, job_type]


def in_dollars(atomic: int) -> str:
    """Prints an amount as the network quotes it: `$0.010`."""
    return f"${atomic // ATOMIC_PER_USD}.{atomic % ATOMIC_PER_USD // 1000:03d}"


def auto_tier(job_type: JobType) -> Tier:
    """The tier that the policy AUTO means for a job type."""
    return _AUTO[job_type]
