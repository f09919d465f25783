"""When to ask an end of KCP whose window is closed whether it is still so."""

PROBE_FIRST, PROBE_MOST = 0.5, 120.0
NEVER = float("inf")


class WindowProbe:
    """Asks after half a second, and after half as long again each time. Source: kcp-go kcp.go."""

    def __init__(self) -> None:
        self.due = NEVER
        self._pause = 0.0

    def asks(self, closed: bool, now: float) -> bool:
        """Whether to ask now; `closed` while something waits for the window."""
        if not closed:
            self._pause = 0.0
            self.due = NEVER
            return False
        if not self._pause:
            self._pause = PROBE_FIRST
            self.due = now + self._pause
            return False
        if now < self.due:
            return False
        self._pause = min(self._pause * 1.5, PROBE_MOST)
        self.due = now + self._pause
        return True
