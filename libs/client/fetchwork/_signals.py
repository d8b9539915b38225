"""Count the signals that ask us to end, instead of dying from them: who starts processes must stop them first."""

import signal
from types import FrameType, TracebackType
from typing import Self

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CountedSignals:
    """While the context is open, SIGINT, SIGTERM and SIGHUP only raise `count`. A SIGHUP ignored by `nohup` stays ignored."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in NUMBERS}
        for number, handler in self._before.items():
            if not (number == signal.SIGHUP and handler == signal.SIG_IGN):
                signal.signal(number, self._add)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
