"""Why a server does not answer, as far as this host was told.

The kernel says of a heartbeat that it cannot leave, or that it was refused; a name server, that
there is no such name. What was said stays the reason while it is said again and again: who
refuses may do so less often than he is asked. If a heartbeat has left long after it and nothing
is said, the reason is silence, and to a wrong address or passphrase a server says nothing.
Silence is what a worker heard: while there is none, that is the reason, and for a moment more,
until one that is back has had the time to hear something.
"""

REASON_KEPT = 5.0
"""Seconds that a reason outlives heartbeats of which nothing is said. Probes are more frequent."""
UNHEARD_KEPT = 0.5
"""The same where no worker listened for the ack; shorter than any silence that means a loss."""
REFUSED = "it is refused: nobody listens on that UDP port there, or a firewall rejects it"
LEFT_ALONE = "this host has lost its way there, or the address it sent from"
NEVER_ANSWERED = "it never answered; to a wrong address or passphrase it says nothing"
SILENT = "it does not answer any more"
UNHEARD = "nobody on this host listens for its answers: the udp-worker is being replaced"


class Reasons:
    """Of one uplink. Names are those of its targets."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0.0
        self._unresolved: dict[str, str] = {}

    def told(self, now: float, text: str) -> None:
        """The kernel said something about the way to the server."""
        self._text = text
        self._at = now

    def left(self, now: float, *, heard: bool) -> None:
        """A heartbeat left. `heard`: whether a worker listens for its ack."""
        if now - self._at > (UNHEARD_KEPT if self._text == UNHEARD else REASON_KEPT):
            self._text = ""
        if not heard and self._text in ("", UNHEARD):
            self.told(now, UNHEARD)

    def answered(self) -> None:
        """The server is there."""
        self._text = ""

    def resolved(self, host: str, error: str) -> None:
        """A name has addresses, or it has none because of `error`."""
        self._unresolved[host] = error

    def unresolved(self, host: str) -> str:
        """Why this name has no address; empty: nobody said so."""
        return self._unresolved.get(host, "")

    def lost(self, *, answered: bool, heard: bool) -> str:
        """Why the server is lost. `answered`: whether it ever did; `heard`: as for `left`."""
        if self._text:
            return self._text
        if not heard:
            return UNHEARD
        return SILENT if answered else NEVER_ANSWERED
