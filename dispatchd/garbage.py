"""How often Python looks for garbage: objects that hold each other, which jobs leave hardly any of.

By default it looks every 700 objects, a few jobs' worth. That was a tenth of the time that a start
took, and up to a fifth of the time of a busy coordinator.
"""

import gc

_OBJECTS_BETWEEN_COLLECTIONS = 20_000


def collect_rarely() -> None:
    """To be called first of all, since what is loaded stays."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def keep_all() -> None:
    """What there is stays from now on, and is never looked through again; takes no time."""
    gc.freeze()


def keep_the_rest() -> None:
    """The same once what has become garbage is gone; takes time for all that was not kept yet."""
    gc.collect()
    gc.freeze()
