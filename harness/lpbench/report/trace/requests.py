"""The life of each request in a trace: queue, prefill, tokens, preemption.

Owns: what is drawn of a request, and where a cut trace ends for it.
Must not know: the trace format, files, iterations.
"""

from collections.abc import Sequence

from lpbench.bench.logged import Served, in_ns
from lpbench.report.trace.packets import Packets


class RequestTracks:
    """The tracks of one arm's requests."""

    def __init__(
        self, packets: Packets, process: int, *, until_ns: int | None, most_tokens: int
    ) -> None:
        """Begin a group of tracks.

        Args:
            packets: of the trace.
            process: the arm's group.
            until_ns: where the arm's trace is cut: nothing begins after it; None for nowhere.
            most_tokens: marks of tokens at most; the requests after that have none.
        """
        self._packets = packets
        self._group = packets.track(process, "requests", rank=3)
        self._until_ns = until_ns
        self._tokens_left = most_tokens
        self.unmarked = 0

    def draw(self, line: Served, preempted_ns: Sequence[int]) -> None:
        """Draw a request.

        Args:
            line: when it arrived, was scheduled, got its tokens.
            preempted_ns: when it lost its pages, in order.
        """
        packets, arrived_ns = self._packets, in_ns(line.arrival_ms)
        if self._is_cut(arrived_ns):
            return
        track = packets.track(self._group, f"request {line.request}", rank=line.request % 2**31)
        scheduled_ns = arrived_ns + in_ns(line.queue_ms)
        packets.begin(
            track,
            arrived_ns,
            "queue",
            {
                "context tokens": line.context_tokens,
                "prompt tokens": line.prompt_tokens,
                "output tokens": line.output_tokens,
            },
        )
        packets.end(track, scheduled_ns)
        tokens_ns = [arrived_ns + in_ns(one) for one in line.token_ms]
        if not tokens_ns or self._is_cut(scheduled_ns):
            return
        packets.begin(track, scheduled_ns, "prefill", {"prompt tokens": line.prompt_tokens})
        packets.end(track, tokens_ns[0])
        self._draw_tokens(track, tokens_ns, preempted_ns)

    def _draw_tokens(
        self, track: int, tokens_ns: Sequence[int], preempted_ns: Sequence[int]
    ) -> None:
        """Draw what becomes of the prompt: its tokens, and when it had to wait for one."""
        packets, first_ns, last_ns = self._packets, tokens_ns[0], tokens_ns[-1]
        if self._is_cut(first_ns):
            return
        shown = [one for one in tokens_ns if not self._is_cut(one)]
        is_marked = len(shown) <= self._tokens_left
        self._tokens_left -= len(shown) if is_marked else 0
        self.unmarked += not is_marked
        packets.begin(track, first_ns, "decode", {"tokens": len(tokens_ns)})
        waiting = [one for one in preempted_ns if first_ns <= one <= last_ns]
        for at, token_ns in enumerate(tokens_ns):
            while waiting and waiting[0] < token_ns:
                lost_ns = waiting.pop(0)
                again_ns = waiting[0] if waiting and waiting[0] < token_ns else token_ns
                packets.begin(track, lost_ns, "preempted, then computed anew")
                packets.end(track, again_ns)
            if is_marked and not self._is_cut(token_ns):
                packets.mark(track, token_ns, "token", {"token": at})
        packets.end(track, last_ns)

    def _is_cut(self, at_ns: int) -> bool:
        return self._until_ns is not None and at_ns > self._until_ns
