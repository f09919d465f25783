"""Python's garbage collector, at rest while a configuration is read or shown.

What is made then is kept, a dozen objects for each of many thousands of entries and no
cycles worth the search. The collector would look through all that there is so far again
and again as it grows, which takes as long as the reading itself.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Nothing is searched for cycles inside; also a decorator. One inside another is harmless."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
