"""How often something may happen that could be tried over and over."""

from msgspec import Struct


class Rate(Struct, frozen=True, kw_only=True):
    """So many events in any `seconds`: from one address, and from everywhere.

    `in_all_max`: None for any number. `refusal` is what is said of one more.
    """

    name: str
    per_address_max: int
    in_all_max: int | None = None
    seconds: float = 60
    refusal: str


class Counted(Struct, frozen=True):
    """Something that happens from an address, and counts."""

    rate: Rate
    address: str
