-- Accounts of simulated money. Amounts are whole atomic units.

-- What has been minted stands against the zero address, so that every token's rows add up to zero.
CREATE TABLE ledger_accounts (
    network TEXT NOT NULL,
    token TEXT NOT NULL,
    address TEXT NOT NULL,
    balance INTEGER NOT NULL,
    PRIMARY KEY (network, token, address),
    CHECK (balance >= 0 OR address = '0x0000000000000000000000000000000000000000')
) STRICT, WITHOUT ROWID;

-- Authorizations that are used up, each with the one transfer that it was for.
CREATE TABLE ledger_transfers (
    network TEXT NOT NULL,
    token TEXT NOT NULL,
    payer TEXT NOT NULL,
    nonce TEXT NOT NULL,
    payee TEXT NOT NULL,
    amount INTEGER NOT NULL,
    transaction_hash TEXT NOT NULL,
    PRIMARY KEY (network, token, payer, nonce)
) STRICT, WITHOUT ROWID;
