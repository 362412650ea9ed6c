"""Proofs of flattens in the `control` bucket: the first one of an order counts."""

from breakwater_core.control_answers import FlatProof
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import CONTROL_BUCKET, flat_key


class FlatProofs:
    """Reads and writes proofs."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus, for its run."""
        self._bus = bus

    async def read(self, account: str, epoch: int) -> FlatProof | None:
        """Return the proof of a flatten, or None.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If it cannot be read.
        """
        value = await self._bus.read(CONTROL_BUCKET, flat_key(self._bus.run_id, account, epoch))
        return None if value is None else FlatProof.decode(value)

    async def create(self, proof: FlatProof) -> bool:
        """Write a proof; False if there is one already.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        key = flat_key(proof.run_id, proof.account, proof.epoch)
        return await self._bus.create(CONTROL_BUCKET, key, proof.encode())
