"""How often Python looks for garbage: objects that hold each other, which jobs leave hardly any of.

By default it looks every 700 objects, a few jobs' worth, which was up to a fifth of the time of a
busy coordinator.
"""

import gc

_FIRST_OBJECTS = 200_000
"""A node is made of half as many, all of which stay."""
_OBJECTS_BETWEEN_COLLECTIONS = 20_000


def let_be() -> None:
    """To be called first of all: what is loaded is no garbage, and looking at it takes time."""
    gc.set_threshold(_FIRST_OBJECTS)


def keep_all() -> None:
    """What there is stays and is never looked at again, what comes now and then; takes no time."""
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def keep_what_is_used() -> None:
    """The same after a look at what was not kept before, which takes time for all of that."""
    gc.collect()
    keep_all()
