"""A store's parts, over the same database."""

from msgspec import Struct

from dispatchd.store import ClusterStore, SealStore
from dispatchd.store.sql.chain import SqlChain
from dispatchd.store.sql.groups import Grouped, Reads
from dispatchd.store.sql.jobs import SqlJobs
from dispatchd.store.sql.ledger import SqlLedger
from dispatchd.store.sql.payments import SqlPayments
from dispatchd.store.sql.records import SqlRecords
from dispatchd.store.sql.trust import SqlTrust
from dispatchd.store.sql.users import SqlUsers


class SqlStore(Struct, frozen=True):
    """What a coordinator's store consists of."""

    jobs: SqlJobs
    trust: SqlTrust
    ledger: SqlLedger
    payments: SqlPayments
    chain: SqlChain
    users: SqlUsers
    records: SqlRecords
    cluster: ClusterStore | None = None
    """How coordinators hear of one another, where several may share the store."""
    seals: SealStore | None = None
    """What they have signed, there."""


def store_over(
    writer: Grouped,
    reader: Reads,
    jobs: type[SqlJobs] = SqlJobs,
    payments: type[SqlPayments] = SqlPayments,
) -> SqlStore:
    """A store that writes in one line and reads in another."""
    return SqlStore(
        jobs(writer, reader),
        SqlTrust(writer, reader),
        SqlLedger(writer, reader),
        payments(writer, reader),
        SqlChain(writer, reader),
        SqlUsers(writer, reader),
        SqlRecords(writer, reader),
    )
