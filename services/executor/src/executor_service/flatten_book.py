"""What is durable of a flatten besides its orders: which positions it has found, and the proof that nothing is left.

Both are values of the bucket `control`. A line, once written, stays as it is, so all executors make the same intent of
it.
"""

import json

import nats.errors
import nats.js.errors

from breakwater_core.control_answers import FlatProof
from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvariantError
from breakwater_core.events import Side
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.subjects import CONTROL_BUCKET, flat_key, flatten_lines_key
from executor_service.flatten_orders import FlattenLine


class FlattenBook:
    """Reads and writes lines and proofs of one run."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus, for its run."""
        self._bus = bus

    async def proof(self, account: str, epoch: int) -> FlatProof | None:
        """Return the proof of a flatten, or None.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If it cannot be read.
        """
        value = await self._bus.read(CONTROL_BUCKET, flat_key(self._bus.run_id, account, epoch))
        return None if value is None else FlatProof.decode(value)

    async def prove(self, proof: FlatProof) -> bool:
        """Write a proof; False if there is one already.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        key = flat_key(proof.run_id, proof.account, proof.epoch)
        return await self._bus.create(CONTROL_BUCKET, key, proof.encode())

    async def lines(self, account: str, epoch: int, found: list[FlattenLine]) -> dict[str, FlattenLine]:
        """Write down positions that were found, and return all lines by symbol; the first one of each symbol counts.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If the lines cannot be read.
        """
        key = flatten_lines_key(self._bus.run_id, account, epoch)
        while True:
            known, revision = await self._read(key)
            new = {line.symbol: line for line in found if line.symbol not in known}
            if not new:
                return known
            try:
                await (await self._bus.bucket(CONTROL_BUCKET)).update(key, _encoded(known | new), last=revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                continue  # another executor has found some too
            except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
                raise BusError(f"{CONTROL_BUCKET}/{key} could not be written ({type(error).__name__})") from error

    async def _read(self, key: str) -> tuple[dict[str, FlattenLine], int]:
        try:
            entry = await (await self._bus.bucket(CONTROL_BUCKET)).get(key)
        except nats.js.errors.KeyNotFoundError:
            return {}, 0
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{CONTROL_BUCKET}/{key} could not be read ({type(error).__name__})") from error
        return _decoded(entry.value or b"{}"), entry.revision or 0


def _encoded(lines: dict[str, FlattenLine]) -> bytes:
    values = {symbol: {"side": line.side.value, "price": to_text(line.price)} for symbol, line in sorted(lines.items())}
    return json.dumps(values, separators=(",", ":")).encode()


def _decoded(payload: bytes) -> dict[str, FlattenLine]:
    try:
        return {
            symbol: FlattenLine(symbol, Side(values["side"]), from_text(values["price"]))
            for symbol, values in json.loads(payload).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvariantError(f"the lines of a flatten cannot be read: {payload[:100]!r} ({error})") from error
