"""How far a replay is decided: one number for all signal processes, which never goes back."""

import nats.errors
import nats.js.errors

from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.subjects import CHECKPOINT_BUCKET

PARTICIPANT = "signal"


class Progress:
    """The last window that any signal process has decided.

    All of them decide the same, so the furthest one counts: the lock-step goes on with it, and one that is paused, slow
    or dead holds nothing up.
    """

    def __init__(self, bus: Bus) -> None:
        """Share the number with all processes of the bus's run."""
        self._bus = bus
        self._key = subjects.progress_key(bus.run_id, PARTICIPANT)
        self._known = -1
        self._revision: int | None = None

    async def raise_to(self, window: int) -> None:
        """State that everything up to a window is decided, unless somebody stated that or more before.

        Raises:
            BusError: If the bus does not answer.
        """
        while window > self._known:
            if self._revision is None:
                await self._read()
                continue
            bucket = await self._bus.bucket(CHECKPOINT_BUCKET)
            try:
                self._revision = await bucket.update(self._key, str(window).encode(), last=self._revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                self._revision = None
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
                self._revision = None  # the number may have been written nevertheless
                self._bus.note_refused(f"KV_{CHECKPOINT_BUCKET}", error)
                raise BusError(f"{CHECKPOINT_BUCKET}/{self._key} not written ({type(error).__name__})") from error
            else:
                self._known = window

    async def _read(self) -> None:
        try:
            entry = await (await self._bus.bucket(CHECKPOINT_BUCKET)).get(self._key)
        except nats.js.errors.KeyNotFoundError:
            self._revision = 0
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise BusError(f"{CHECKPOINT_BUCKET}/{self._key} not read ({type(error).__name__})") from error
        else:
            self._revision, self._known = int(entry.revision or 0), int(entry.value or b"-1")
