"""The promotion ledger: an append-only chain of signed entries, the only witness, and the lock."""
