from threading import Event

from lpbench.meters.poll import ThreadDriver


def test_the_thread_calls_until_it_is_ended() -> None:
    """Calls come from a thread; after `end` returned there are no more."""
    calls: list[int] = []
    twice = Event()

    def call() -> None:
        calls.append(len(calls))
        if len(calls) >= 2:
            twice.set()

    end = ThreadDriver().drive(call, every_s=0.0005)
    assert twice.wait(timeout=10)
    end()
    made = len(calls)
    assert not Event().wait(timeout=0.005)
    assert made == len(calls)
