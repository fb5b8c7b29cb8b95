"""Who sits elsewhere is found as if each were looked at, whatever has changed before."""

from hypothesis import given
from hypothesis import strategies as st

from dispatchd.coordinator.sittings import Sittings
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import JobType, Lane
from dispatchd.core.neighbour import Changes, Sitting

WORKERS = [f"{number:064x}" for number in range(4)]
USERS = ["ann", "bob"]
COORDINATORS = ["a", "b"]

some_users = st.frozensets(st.sampled_from(USERS))


@st.composite
def sittings(draw: st.DrawFn) -> Sitting:
    kinds = draw(st.frozensets(st.sampled_from(JobType), min_size=1))
    card = WorkerCard(
        provider_pubkey=draw(st.sampled_from(WORKERS)),
        provider_type=ProviderType.DESKTOP,
        slots=(Slots(kinds, 1),),
        version=draw(st.sampled_from([None, "0.1.0"])),
        models=draw(st.sampled_from([(), ("m",), ("m", "n")])),
    )
    return Sitting(
        card,
        draw(some_users),
        draw(st.integers(1, 2)),
        proven=draw(st.booleans()),
        proving=draw(st.booleans()),
        suspended=False,
    )


changes = st.builds(
    Changes,
    came=st.lists(sittings(), unique_by=lambda each: each.key, max_size=4).map(tuple),
    gone=st.lists(st.sampled_from(WORKERS), unique=True, max_size=2).map(tuple),
    whole=st.booleans(),
)
steps = st.lists(st.tuples(st.sampled_from(COORDINATORS), st.none() | changes), max_size=12)
lanes = [Lane(kind, user) for kind in JobType for user in (None, *USERS)]


@given(steps)
def test_indexes_agree_with_the_lists(steps: list[tuple[str, Changes | None]]) -> None:
    elsewhere = Sittings()
    model: dict[str, dict[str, Sitting]] = {}
    for coordinator, change in steps:
        before = dict(model.get(coordinator, {}))
        if change is None:
            ended = elsewhere.forget(coordinator) if coordinator in model else []
            model.pop(coordinator, None)
        else:
            kept = {} if change.whole else before
            after = {key: each for key, each in kept.items() if key not in change.gone}
            after |= {each.key: each for each in change.came}
            ended = elsewhere.change(coordinator, change)
            model[coordinator] = after
        now = model.get(coordinator, {})
        assert {each.key for each in ended} == {
            key for key, each in before.items() if now.get(key) != each
        }
        everybody = [(place, each) for place, there in model.items() for each in there.values()]
        assert sorted(map(repr, elsewhere)) == sorted(repr(each) for _, each in everybody)
        assert len(elsewhere) == len(everybody)
        assert elsewhere.keys == {each.key for _, each in everybody}
        for key, each in ((key, elsewhere.place_of(key)) for key in elsewhere.keys):
            assert each is not None
            others = [(one.proven, one.since) for _, one in everybody if one.key == key]
            assert (each.proven, each.since) == max(others)
        for key in WORKERS:
            assert elsewhere.with_key(key) == {
                place: each for place, each in everybody if each.key == key
            }
        for lane in lanes:
            able = [each for _, each in everybody if each.can_do(lane)]
            found = [each for each in elsewhere.for_lane(lane) if each.can_do(lane)]
            assert sorted(map(repr, found)) == sorted(map(repr, able))
        assert elsewhere.models == {
            name
            for _, each in everybody
            if each.card.version is not None and JobType.LLM_INFER in each.card.capabilities
            for name in each.card.models
        }
