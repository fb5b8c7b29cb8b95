"""Accounts of simulated tokens in the store."""

from dispatchd.core.errors import Invalid, PaymentRefused
from dispatchd.core.payment import AuthorizationKey, Reason, TokenId
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

SUPPLY_MAX = 2**63 - 1
"""A database counts so far; as no more of a token is ever minted, no account can hold more."""

_MINT = "0x" + "0" * 40
_BALANCE = "SELECT balance FROM ledger_accounts WHERE network = ? AND token = ? AND address = ?"
_ADD = (
    "INSERT INTO ledger_accounts VALUES (?, ?, ?, ?)"
    " ON CONFLICT (network, token, address)"
    " DO UPDATE SET balance = ledger_accounts.balance + excluded.balance"
)
_TAKE = (
    "UPDATE ledger_accounts SET balance = balance - ?"
    " WHERE network = ? AND token = ? AND address = ? AND balance >= ?"
)
_USE = "INSERT INTO ledger_transfers VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND = (
    "SELECT transaction_hash FROM ledger_transfers"
    " WHERE network = ? AND token = ? AND payer = ? AND nonce = ?"
)
_ACCOUNTS = (
    "SELECT address, balance FROM ledger_accounts"
    " WHERE network = ? AND token = ? AND address <> ? ORDER BY address LIMIT ?"
)


class SqlLedger:
    """`Ledger` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def balance(self, token: TokenId, address: str) -> int:
        """What an account holds."""
        return max(0, await self._read(lambda db: _balance(db, token, address.lower())))

    async def accounts(self, token: TokenId, limit: int = 100) -> list[tuple[str, int]]:
        """Addresses and what they hold, without the mint."""
        values = (token.network, token.address, _MINT, limit)
        return await self._read(lambda db: db.execute(_ACCOUNTS, values).fetchall())

    async def fund(self, token: TokenId, address: str, amount: int) -> int:
        """Mints into an account, and notes it against the mint."""
        to = address.lower()
        if amount <= 0:
            raise Invalid("amount must be at least 1")
        if to == _MINT:
            raise Invalid("address must not be the zero address")

        def mint(db: Database) -> int:
            _alone_with(db, token)
            left = SUPPLY_MAX + _balance(db, token, _MINT)
            if amount > left:
                raise Invalid(f"amount must be {left} at the most: the ledger counts to 2^63-1")
            db.execute(_ADD, (token.network, token.address, _MINT, -amount))
            db.execute(_ADD, (token.network, token.address, to, amount))
            return _balance(db, token, to)

        return await self._write(mint)

    async def transaction_of(self, key: AuthorizationKey) -> str | None:
        """The transaction that has used an authorization up."""
        return await self._read(lambda db: _transaction_of(db, key))

    async def transfer(self, key: AuthorizationKey, to: str, amount: int, transaction: str) -> str:
        """Takes, gives and uses the authorization up, in one transaction."""
        return await self._write(lambda db: _transfer(db, key, to.lower(), amount, transaction))


def _transfer(db: Database, key: AuthorizationKey, to: str, amount: int, transaction: str) -> str:
    _alone_with(db, key.token_id)
    if (used := _transaction_of(db, key)) is not None:
        if used != transaction:
            raise PaymentRefused(Reason.NONCE_USED, "The authorization has been used")
        return used
    if to == _MINT:
        raise PaymentRefused(Reason.TRANSACTION_STATE, "Nothing can be sent to the zero address")
    token = key.token_id
    # Compared here, because an amount may have 256 bits and a column takes 64.
    if _balance(db, token, key.payer) < amount:
        raise PaymentRefused(Reason.INSUFFICIENT_FUNDS, "The payer has too little")
    db.execute(_TAKE, (amount, token.network, token.address, key.payer, amount))
    db.execute(_ADD, (token.network, token.address, to, amount))
    db.execute(_USE, (key.network, key.token, key.payer, key.nonce, to, amount, transaction))
    return transaction


def _alone_with(db: Database, token: TokenId) -> None:
    db.lock(f"ledger {token.network} {token.address}")


def _balance(db: Database, token: TokenId, address: str) -> int:
    found = db.execute(_BALANCE, (token.network, token.address, address)).fetchone()
    return int(found[0]) if found else 0


def _transaction_of(db: Database, key: AuthorizationKey) -> str | None:
    found = db.execute(_FIND, (key.network, key.token, key.payer, key.nonce)).fetchone()
    return str(found[0]) if found else None
