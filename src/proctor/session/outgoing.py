"""The supervisor's side of a stream to a collector: a collector that is lost ends the episode, in order."""

from __future__ import annotations

from collections.abc import Callable

from proctor.events import kinds
from proctor.journal import receipt
from proctor.journal.stream import Stream
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder

__all__ = ["Outgoing"]


class Outgoing:
    """Watches a stream while the agent runs, and says at the end what the collector has.

    Args:
        end: ends the process tree; called once, with why, after the gap is recorded.
    """

    def __init__(self, stream: Stream, loop: Loop, recorder: Recorder, end: Callable[[str], None]) -> None:
        self._stream = stream
        self._loop = loop
        self._recorder = recorder
        self._end = end
        recorder.stream = stream
        recorder.on_stream_lost = self._lost
        loop.register(stream.fileno(), self._woke)

    def _woke(self, _: int) -> None:
        """Nothing is due from the collector: it refused, or it is gone."""
        self.unwatch()
        self._stream.woke()
        if self._recorder.stream is not None and self._stream.broken is not None:
            self._recorder.stream_lost(self._stream.broken)

    def _lost(self, why: str) -> None:
        """The agent does nothing that is recorded in its own container alone."""
        what = f"{why}; the record goes on here alone"
        self._recorder.emit(kinds.Gap, kinds.GapData(of="collector", what=what))
        self._end(f"the collector was lost: {why}")

    def unwatch(self) -> None:
        """Listen to it no more."""
        self._loop.unregister(self._stream.fileno())

    def last_lines(self) -> None:
        """From here on the journal takes no gap: what becomes of the stream is for :meth:`finish` to say."""
        self._recorder.on_stream_lost = lambda _: None

    def finish(self, episode: str, head: str) -> dict[str, str | bool]:
        """End the stream, and return what the client is told: the collector's key, or why nothing is known of its copy.

        Args:
            episode, head: what its receipt has to name.
        """
        stream = self._stream
        answer = stream.finish()
        if stream.broken is not None:
            return {"lost": stream.broken}
        if not stream.answers:
            return {"sent": True}
        if answer is None:
            return {"lost": "it did not confirm what it received"}
        found = receipt.decode(answer)
        if isinstance(found, str):
            return {"lost": f"its receipt is not good: {found}"}
        if (found.state, found.episode, found.head) != ("complete", episode, head):
            return {"lost": f"it received something else: {found.events} lines, {found.state} {found.why}"}
        return {"received": found.key}
