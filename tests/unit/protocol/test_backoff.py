from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.backoff import LONGEST, SHORTEST, Backoff


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60))
def test_waits_grow_to_a_limit_and_are_spread(chances: list[float]) -> None:
    left = iter(chances)
    backoff = Backoff(lambda: next(left))

    for index in range(len(chances)):
        step = min(LONGEST, SHORTEST * 2**index)
        assert step / 2 <= backoff.failed() <= step


def test_a_success_begins_anew() -> None:
    backoff = Backoff(lambda: 0.999)
    for _ in range(5):
        backoff.failed()
    assert backoff.failed() > 4

    backoff.succeeded()

    assert backoff.failed() <= SHORTEST
