from collections.abc import Iterator
from contextlib import closing

from gateway.linux.channel import channel_pair
from gateway.protocol.bridge_messages import RelayVerdict
from gateway.protocol.messages import PeerEntry, Snapshot, Stop, Update
from gateway.supervisor.feed import OTHERS_KEPT, QUEUE_LIMIT, Feed

PEER = PeerEntry(1, 1, bytes(16), 1, 0, bytes(16))


def test_a_slow_child_gets_a_snapshot_instead() -> None:
    """Nothing waits, little queues, and what arrives in the end is the present table."""
    ours, theirs = channel_pair()
    generation = 0
    feed = Feed(ours, lambda: [Snapshot(generation, 0, 1)])
    with closing(ours), closing(theirs):
        while not feed.stale:
            generation += 1
            feed.put(Update(generation, peers=(PEER,) * 100))
        received = []
        while feed.waiting or received[-1:] != [None]:
            received.append(theirs.receive())
            feed.flush()

        messages = [message for message in received if message is not None]
        assert messages[-1] == Snapshot(generation, 0, 1)
        assert [m.generation for m in messages if isinstance(m, Update)] == list(
            range(1, len(messages))
        )


def test_updates_pass_in_order() -> None:
    """As long as there is room."""
    ours, theirs = channel_pair()
    feed = Feed(ours, list)
    with closing(ours), closing(theirs):
        for generation in range(1, QUEUE_LIMIT):
            feed.put(Update(generation))

        received = [theirs.receive() for _ in range(1, QUEUE_LIMIT)]
        assert [m.generation for m in received if isinstance(m, Update)] == list(
            range(1, QUEUE_LIMIT)
        )


def test_an_update_too_large_becomes_a_snapshot() -> None:
    """A change of the whole table is told in parts."""
    ours, theirs = channel_pair()
    feed = Feed(ours, lambda: [Snapshot(7, 0, 1)])
    with closing(ours), closing(theirs):
        feed.put(Update(7, peers=(PEER,) * 10_000))

        assert theirs.receive() == Snapshot(7, 0, 1)


def test_answers_that_nobody_reads_are_few() -> None:
    """A child that asks and never reads gets the newest ones, if it ever does, and its Stop."""
    ours, theirs = channel_pair()
    feed = Feed(ours, list)
    with closing(ours), closing(theirs):
        in_channel = 0
        while not feed.waiting:
            feed.put(RelayVerdict(in_channel, "no"))
            in_channel += 1
        for query in range(in_channel, 3 * OTHERS_KEPT):
            feed.put(RelayVerdict(query, "no"))
        feed.put(Stop())
        received = []
        while feed.waiting or received[-1:] != [None]:
            received.append(theirs.receive())
            feed.flush()
        messages = [message for message in received if message is not None]

        assert len(messages) == in_channel - 1 + OTHERS_KEPT
        assert messages[-2:] == [RelayVerdict(3 * OTHERS_KEPT - 1, "no"), Stop()]


def test_a_dead_child_is_no_error() -> None:
    """Its pidfd will tell."""
    ours, theirs = channel_pair()
    theirs.close()
    with closing(ours):
        Feed(ours, list).put(Update(1))


def test_a_large_snapshot_is_made_as_there_is_room() -> None:
    """Its parts go before what was put behind it, and none is made long before it can go."""
    ours, theirs = channel_pair()
    made: list[int] = []

    def parts() -> Iterator[Snapshot]:
        for part in range(40):
            made.append(part)
            yield Snapshot(7, part, 40, peers=(PEER,) * 1000)

    feed = Feed(ours, parts)
    with closing(ours), closing(theirs):
        feed.refresh()
        feed.put(Update(8))
        assert feed.waiting
        assert len(made) < 20
        received = []
        while len(received) < 41:
            received.append(theirs.receive())
            feed.flush()
        assert [m.part for m in received[:40]] == list(range(40))  # type: ignore[union-attr]
        assert received[40] == Update(8)
        assert not feed.waiting
