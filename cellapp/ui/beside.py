"""Work beside the page, in a thread of the server that calls no Streamlit; a reload or a closed tab stops nothing."""

import logging
import threading

from cellapp.errors import Cancelled, CellappError

_log = logging.getLogger(__name__)


class Beside:
    """A piece of work: one thread, asked to end between two of its pieces.

    error : why it ended without a result, "" if it did not; ``fault`` : what is said where the app is to blame
    """

    fault = ""

    def __init__(self, name: str):
        self.error = ""
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; call once."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still works, and has not been told to end."""
        return self._thread.is_alive() and not self._cancel.is_set()

    def cancel(self) -> None:
        """End before the next piece; what is done stays."""
        self._cancel.set()

    def wait(self, seconds: float) -> None:
        """Give it a moment: what is small is done before the page is drawn."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._work()
        except Cancelled as error:
            self._cancelled(error)
        except CellappError as error:
            self._failed(error)
        except Exception:
            _log.exception("%s ended", self._thread.name)
            self.error = self.fault
        finally:
            self._after()

    def _work(self) -> None:
        raise NotImplementedError

    def _cancelled(self, error: Cancelled) -> None:
        """What is said of it; nothing, unless a kind of work has something to say."""

    def _failed(self, error: CellappError) -> None:
        self.error = str(error)

    def _after(self) -> None:
        """The last thing, however it ended."""

    def _check(self) -> None:
        """Between two pieces."""
        if self._cancel.is_set():
            raise Cancelled("Cancelled.")
