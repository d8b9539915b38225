"""How many attempts run at once: a counted set of slots that threads wait for and the event loop gives back."""

from collections.abc import Callable
from threading import Condition


class Slots:
    """A bounded semaphore that can be read and closed. Safe for any thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._is_closed = False
        self._changed = Condition()

    @property
    def free(self) -> int:
        """Slots that nobody holds now."""
        return self._free

    @property
    def busy(self) -> int:
        """Slots that are held now."""
        return self.count - self._free

    def take(self, *, timeout_seconds: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Take one, waiting for it if need be; False when none came in time or the slots are closed.

        Does not wait when `unless` is true; it is asked anew on `wake()`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._is_closed or unless(), timeout=timeout_seconds)
            if self._is_closed or self._free == 0:
                return False
            self._free -= 1
            return True

    def give_back(self) -> None:
        """Free one that was taken."""
        with self._changed:
            self._free += 1
            self._changed.notify()  # any one that waits can take it

    def wake(self) -> None:
        """Have everyone who waits ask again whether to."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more; everyone who waits is told at once."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
