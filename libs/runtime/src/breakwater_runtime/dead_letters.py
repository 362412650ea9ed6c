"""Dead letters: what stands in the stream DEAD, and how one is played again or dropped.

A letter that is played again is published to its own subject with a header that names the consumer which had put it
aside; every other consumer and reader passes over it. It is removed only after the stream has taken it, so a crash in
between can play it twice, which handlers bear, and never lose it. If it fails again it comes back as a new letter.
"""

import base64
from dataclasses import dataclass

import nats.errors
import nats.js.errors

from breakwater_core.errors import InvalidInputError
from breakwater_runtime import codec
from breakwater_runtime.bus import (
    ONLY_HEADER,
    ORIGIN_REASON_HEADER,
    ORIGIN_SEQUENCE_HEADER,
    ORIGIN_SUBJECT_HEADER,
    PUBLISH_TIMEOUT_S,
    Bus,
    BusError,
)
from breakwater_runtime.errors import reason_of
from breakwater_runtime.subjects import DEAD_STREAM, MARKET_STREAM

READERS = ("signal-orders",)
"""Ordered readers that put messages aside; they have no durable consumer."""


class NoSuchLetterError(InvalidInputError):
    """There is no dead letter of that number."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that a consumer has put aside.

    Attributes:
        number: Its sequence in the stream DEAD, by which a person names it.
        stored_ms: When it was put aside, milliseconds since 1970-01-01T00:00Z.
        stream: Stream that it came from.
        consumer: Who put it aside.
        subject: Where it was published.
        sequence: Its sequence in that stream.
        reason: Why it was put aside.
        payload: The message as it was.
    """

    number: int
    stored_ms: int
    stream: str
    consumer: str
    subject: str
    sequence: int
    reason: str
    payload: bytes

    @property
    def content(self) -> str:
        """What the message says, as far as it can be decoded; otherwise its bytes in Base64."""
        try:
            decoded = codec.decode(self.subject, self.payload)
        except codec.DecodeError:
            return f"base64:{base64.b64encode(self.payload).decode()}"
        return repr(decoded.value)

    @property
    def run_id(self) -> str | None:
        """Run of the message; None if it cannot be decoded."""
        try:
            return codec.decode(self.subject, self.payload).run_id
        except codec.DecodeError:
            return None


async def list_letters(bus: Bus, *, consumer: str | None = None) -> list[DeadLetter]:
    """Return the dead letters, oldest first; of a message that was put aside twice by one consumer the first.

    Raises:
        BusError: If the bus does not answer.
    """
    letters: dict[tuple[str, str, int], DeadLetter] = {}
    number = 1
    while (letter := await _letter_from(bus, number)) is not None:
        number = letter.number + 1
        if consumer is None or letter.consumer == consumer:
            letters.setdefault((letter.stream, letter.consumer, letter.sequence), letter)
    return list(letters.values())


async def find_letter(bus: Bus, number: int) -> DeadLetter:
    """Return the dead letter of that number.

    Raises:
        NoSuchLetterError: If there is none.
        BusError: If the bus does not answer.
    """
    letter = await _letter_from(bus, number) if number > 0 else None
    if letter is None or letter.number != number:
        raise NoSuchLetterError(f"there is no dead letter {number}; `breakwater dead list` shows those there are")
    return letter


async def replay_letter(bus: Bus, letter: DeadLetter) -> int:
    """Publish the message again for the consumer that had put it aside, then remove the letter; return its sequence.

    Raises:
        InvalidInputError: If nobody would take it: it is market data, whose place in the order has passed, or its
            consumer is gone.
        BusError: If the bus does not acknowledge; the letter is kept then.
    """
    if letter.stream == MARKET_STREAM.name:
        raise InvalidInputError(
            f"dead letter {letter.number} is market data, whose place in the order of trades has passed; its symbol "
            "counts as one with missing data, drop the letter"
        )
    await _check_consumer(bus, letter)
    headers = {"Nats-Msg-Id": f"again/{letter.number}/{letter.stored_ms}", ONLY_HEADER: letter.consumer}
    try:
        acknowledgement = await bus.jetstream.publish(
            letter.subject, letter.payload, headers=headers, stream=letter.stream, timeout=PUBLISH_TIMEOUT_S
        )
    except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
        bus.note_refused(letter.stream, error)
        raise BusError(
            f"dead letter {letter.number} was not acknowledged by {letter.stream} ({reason_of(error)}); it is kept"
        ) from error
    await drop_letter(bus, letter)
    return int(acknowledgement.seq)


async def drop_letter(bus: Bus, letter: DeadLetter) -> None:
    """Remove a letter, and what else was put aside of the same message by the same consumer.

    Raises:
        BusError: If the bus does not answer.
    """
    number = letter.number
    while (found := await _letter_from(bus, number, f"dead.{letter.stream}.{letter.consumer}")) is not None:
        number = found.number + 1
        if found.sequence == letter.sequence:
            await bus.api(f"STREAM.MSG.DELETE.{DEAD_STREAM.name}", {"seq": found.number, "no_erase": True})


async def _letter_from(bus: Bus, number: int, subject: str = "dead.>") -> DeadLetter | None:
    """Return the first letter of the subject at or behind a number, None if there is none."""
    try:
        message = await bus.jetstream.get_msg(DEAD_STREAM.name, seq=number, subject=subject, next=True)
    except nats.js.errors.NotFoundError:
        return None
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise BusError(f"the dead letters could not be read ({reason_of(error)})") from error
    headers = message.headers or {}
    _, stream, consumer = (message.subject or "").split(".", 2)
    return DeadLetter(
        number=int(message.seq or 0),
        stored_ms=round(message.time.timestamp() * 1000) if message.time else 0,
        stream=stream,
        consumer=consumer,
        subject=headers.get(ORIGIN_SUBJECT_HEADER, ""),
        sequence=int(headers.get(ORIGIN_SEQUENCE_HEADER, "0")),
        reason=headers.get(ORIGIN_REASON_HEADER, ""),
        payload=message.data or b"",
    )


async def _check_consumer(bus: Bus, letter: DeadLetter) -> None:
    if letter.consumer in READERS:
        return
    try:
        await bus.jetstream.consumer_info(letter.stream, letter.consumer)
    except nats.js.errors.NotFoundError:
        raise InvalidInputError(
            f"dead letter {letter.number}: its consumer {letter.consumer} is gone, nobody would take it; start its "
            "service for that run, or drop the letter"
        ) from None
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise BusError(f"consumer {letter.consumer} could not be looked up ({reason_of(error)})") from error
