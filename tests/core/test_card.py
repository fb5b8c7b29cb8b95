"""Whether a worker's slots have a place for one more job."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import JobType

slots = st.builds(
    Slots,
    st.frozensets(st.sampled_from(JobType), min_size=1),
    st.integers(min_value=0, max_value=2),
)


def fit(places: list[frozenset[JobType]], jobs: list[JobType]) -> bool:
    """Whether some way of seating the jobs exists, by trying all."""
    return len(jobs) <= len(places) and any(
        all(job in place for job, place in zip(jobs, chosen, strict=True))
        for chosen in itertools.permutations(places, len(jobs))
    )


@given(st.lists(slots, min_size=1, max_size=3), st.lists(st.sampled_from(JobType), max_size=4))
def test_a_place_is_there_where_all_jobs_could_sit_together(
    given_slots: list[Slots], jobs: list[JobType]
) -> None:
    card = WorkerCard(
        provider_pubkey="ab" * 32, provider_type=ProviderType.DESKTOP, slots=tuple(given_slots)
    )
    places = [each.job_types for each in given_slots for _ in range(each.count)]
    assert card.places == len(places)
    held = {kind: jobs.count(kind) for kind in JobType}
    if fit(places, jobs):
        for kind in JobType:
            assert card.has_place(kind, held) == fit(places, [*jobs, kind])
