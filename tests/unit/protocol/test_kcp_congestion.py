"""The window of KCP's sender: what it grows with, and what makes it smaller."""

from gateway.protocol.kcp_congestion import FLOOR, START, Congestion


def rounds(congestion, number, *, rtt, loss=0.0, per_round=200):
    """So many rounds in which the window was used."""
    order = getattr(congestion, "seen", 0)
    for _ in range(number):
        for _ in range(per_round):
            congestion.acked(1)
        congestion.lost(int(per_round * loss / (1 - loss)))
        congestion.limiting()
        congestion.measured(rtt, order / 1000)
        order += 1
        congestion.turn(order, order)
    congestion.seen = order
    return congestion.window


def test_the_window_grows_fast_to_its_limit():
    assert rounds(Congestion(2048), 6, rtt=0.05) == 2048


def test_the_window_stops_where_a_queue_grows():
    congestion = Congestion(2048)
    before = rounds(congestion, 3, rtt=0.05)
    assert before == START * 8
    assert rounds(congestion, 1, rtt=0.1) < before


def test_patience_is_no_queue():
    congestion = Congestion(2048, patience=0.03)
    rounds(congestion, 1, rtt=0.001)
    assert rounds(congestion, 6, rtt=0.03) == 2048
    congestion.answered_at_once()
    assert rounds(congestion, 1, rtt=0.03) < 2048


def test_random_loss_does_not_matter():
    assert rounds(Congestion(2048), 8, rtt=0.05, loss=0.08) == 2048


def test_heavy_loss_does():
    congestion = Congestion(2048)
    rounds(congestion, 8, rtt=0.05)
    assert rounds(congestion, 60, rtt=0.05, loss=0.4) <= 64


def test_runs_lost_now_and_then_are_no_heavy_loss():
    congestion = Congestion(2048)
    rounds(congestion, 8, rtt=0.05)
    for _ in range(30):
        congestion.lost(45)
        assert rounds(congestion, 5, rtt=0.05) == 2048


def test_it_never_falls_below_what_stock_has():
    congestion = Congestion(2048)
    rounds(congestion, 1, rtt=0.01)
    assert rounds(congestion, 50, rtt=2.0, loss=0.5) == FLOOR


def test_a_window_that_is_not_used_does_not_grow():
    congestion = Congestion(2048)
    for order in range(20):
        congestion.acked(1)
        congestion.measured(0.05, order)
        congestion.turn(order, order + 1)
    assert congestion.window == START
