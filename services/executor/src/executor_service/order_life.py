"""The life of one order, from "may be sent" to a state that cannot change: what to do next, and nothing done here.

The exchange answers a request in one of four ways: it took the order, it certainly did not, it refused it, or nobody
knows. The last one leaves a doubt that only the exchange itself can remove: the order is looked up, and the same id is
sent again only after several look-ups in a row found nothing. A sent order is never declared absent before the time
within which the exchange could still accept the request has passed.

The exchange refuses an order link id that it has seen before, but does not say for how long. So an order that opens a
position is not sent again before an earlier request has become unacceptable: the refusal of a repeat is a second guard
and not the first. One that reduces a position is repeated sooner, because two of them cannot do harm.

Times are seconds of a monotonic clock.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from breakwater_bybit.model import OrderState
from breakwater_core.events import OrderStatus
from breakwater_core.verdicts import Refused


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what; of each row of pauses the last one repeats.

    Attributes:
        polls_s: Pauses before the look-ups of an order that exists.
        look_ups_s: Pauses before the look-ups of an order that may exist.
        look_ups_before_resend: Look-ups in a row that must find nothing before the same id is sent again.
        settle_s: An order is not declared absent earlier than this after it was last sent: longer than the exchange
            accepts a request after its stamp.
        settles_before_resend: Whether the same id is sent again only after `settle_s` too.
        give_up_s: An order of which nothing can be learned for this long is left: an entry to the exit, an exit's order
            to the exit's next one; None: never.
    """

    polls_s: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    look_ups_s: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.0)
    look_ups_before_resend: int = 3
    settle_s: float = 7.0
    settles_before_resend: bool = True
    give_up_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The exchange's no to an order: its code, if it gave one, and its words."""

    code: int | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Answer: the exchange took the order, now or in an earlier try."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Answer: the exchange refused this request for good."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Answer: this request placed nothing, and may be repeated after a pause.

    Attributes:
        has_left: Whether it was on its way to the exchange: before it is repeated, one look-up must find nothing, in
            case somebody in between answered for the exchange.
    """

    retry_after_s: float
    reason: str
    has_left: bool = True


@dataclass(frozen=True, slots=True)
class Unclear:
    """Answer: the request may or may not have placed the order."""

    reason: str


Answer = Acknowledged | Rejected | NotPlaced | Unclear


@dataclass(frozen=True, slots=True)
class Send:
    """Next: send the order, now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Next: wait, then ask again what is next."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class LookUp:
    """Next: after a pause, look the order up."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is in a state that cannot change."""

    order: OrderState


@dataclass(frozen=True, slots=True)
class NeverPlaced:
    """There is no such order, because the exchange refused it."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class TooLate:
    """There is no such order, and it may not be sent any more."""


@dataclass(frozen=True, slots=True)
class Barred:
    """There is no such order, and a person has forbidden to send it."""

    refused: Refused


@dataclass(frozen=True, slots=True)
class Lost:
    """The order may exist, and nothing could be learned of it for too long."""

    order: OrderState | None


_OVERDUE_LOOK_UPS = 5
"""An acknowledged order shows up within fewer look-ups."""

End = Ended | NeverPlaced | TooLate | Barred | Lost
Step = Send | Wait | LookUp | End


@dataclass(frozen=True, slots=True)
class OrderLife:
    """What is known of one order id.

    Attributes:
        may_exist: A request whose answer is not known may have placed it.
        exists: The exchange took it.
        order: Its last known state.
        refusal: The exchange's last no.
        barred: Our own no: it may not be sent any more, not even again.
        requests: How often it was sent, or may have been.
        must_look: Whether it must be looked up once more before it is sent again.
        look_ups: Look-ups in a row without news.
        failures: Look-ups in a row that were not answered.
        last_sent_s: When it was last sent, or may have been.
        send_from_s: It may not be sent earlier.
        unresolved_since_s: Since when it may exist, or exists, without a state that is known.
    """

    may_exist: bool = False
    exists: bool = False
    order: OrderState | None = None
    refusal: Refusal | None = None
    barred: Refused | None = None
    requests: int = 0
    must_look: bool = False
    look_ups: int = 0
    failures: int = 0
    last_sent_s: float = 0.0
    send_from_s: float = 0.0
    unresolved_since_s: float | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody can tell if there is such an order, or what became of one acknowledged a while ago."""
        if self.order is not None:
            return False
        return self.may_exist if not self.exists else self.look_ups + self.failures >= _OVERDUE_LOOK_UPS


def fresh() -> OrderLife:
    """Return the life of an order whose id nobody can have sent."""
    return OrderLife()


def resumed(now_s: float) -> OrderLife:
    """Return the life of an order that somebody may have sent up to now."""
    return OrderLife(may_exist=True, requests=1, last_sent_s=now_s, unresolved_since_s=now_s)


def next_step(life: OrderLife, *, now_s: float, may_send: bool, patience: Patience) -> Step:
    """Return what to do next.

    Args:
        life: What is known.
        now_s: Monotonic time.
        may_send: Whether the order may still be sent; an exit always may.
        patience: The pauses.
    """
    may_send = may_send and life.barred is None
    if life.order is not None and life.order.is_final:
        return Ended(life.order)
    if _is_given_up(life, now_s, patience):
        return Lost(life.order)
    if life.exists:
        return LookUp(_pause(patience.polls_s, life.look_ups + life.failures))
    if life.may_exist:
        settled = now_s - life.last_sent_s >= patience.settle_s
        must_settle = patience.settles_before_resend or life.refusal is not None or not may_send
        if life.look_ups < patience.look_ups_before_resend or (must_settle and not settled):
            return LookUp(_pause(patience.look_ups_s, life.look_ups + life.failures))
    if life.refusal is not None:
        return NeverPlaced(life.refusal)
    if life.barred is not None:
        return Barred(life.barred)
    if not may_send:
        return TooLate()
    if now_s < life.send_from_s:
        return Wait(life.send_from_s - now_s)
    if life.must_look:
        return LookUp(_pause(patience.look_ups_s, life.failures - 1) if life.failures else 0.0)
    return Send()


def answered(life: OrderLife, answer: Answer, *, sent_s: float) -> OrderLife:
    """Return what is known after a request was answered.

    A refusal says nothing about earlier requests under the same id, so an earlier doubt stays.

    Args:
        life: What was known before the request.
        answer: What came back.
        sent_s: When the request was sent.
    """
    since_s = sent_s if life.unresolved_since_s is None else life.unresolved_since_s
    life = replace(life, requests=life.requests + 1)
    match answer:
        case Acknowledged():
            return replace(
                life, exists=True, look_ups=0, failures=0, refusal=None, last_sent_s=sent_s, unresolved_since_s=since_s
            )
        case Rejected(refusal):
            return replace(life, refusal=refusal, look_ups=0, failures=0)
        case NotPlaced(retry_after_s, _, has_left):
            return replace(life, send_from_s=sent_s + retry_after_s, must_look=has_left)
        case Unclear():
            return replace(life, may_exist=True, look_ups=0, failures=0, last_sent_s=sent_s, unresolved_since_s=since_s)


def postponed(life: OrderLife, answer: NotPlaced, *, asked_s: float) -> OrderLife:
    """Return what is known when nothing was sent yet, and is not to be before the pause of `answer` is over."""
    return replace(life, send_from_s=asked_s + answer.retry_after_s)


def found(life: OrderLife, order: OrderState | None, *, quantity: Decimal, now_s: float) -> OrderLife:
    """Return what is known after a look-up that was answered.

    Args:
        life: What was known before.
        order: None: the exchange knows of no such order.
        quantity: What was ordered, base units; an order that has filled it is at its end, whatever it is called.
        now_s: Monotonic time.
    """
    if order is None:
        return replace(life, look_ups=life.look_ups + 1, failures=0, must_look=False)
    if not order.is_final and order.filled_quantity >= quantity:
        order = replace(order, status=OrderStatus.FILLED)
    return replace(life, order=order, exists=True, look_ups=life.look_ups + 1, failures=0, unresolved_since_s=now_s)


def forbidden(life: OrderLife, refused: Refused) -> OrderLife:
    """Return what is known after a halt, or another bar of the account, has come before the order was sent (again)."""
    return replace(life, barred=refused, look_ups=0)


def not_found_out(life: OrderLife) -> OrderLife:
    """Return what is known after a look-up that was not answered: nothing more, but the next one may wait longer."""
    return replace(life, failures=life.failures + 1)


def _is_given_up(life: OrderLife, now_s: float, patience: Patience) -> bool:
    if patience.give_up_s is None or life.unresolved_since_s is None:
        return False
    return now_s - life.unresolved_since_s >= patience.give_up_s


def _pause(pauses_s: tuple[float, ...], count: int) -> float:
    return pauses_s[min(count, len(pauses_s) - 1)]
