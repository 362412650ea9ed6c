"""The exchange's "no": a Bybit return code with its text. Codes are Bybit's; texts are those seen in public."""

from breakwater_core.errors import PermanentError


class Refusal(PermanentError):
    """A request that the exchange answers with a return code other than 0.

    Attributes:
        code: Bybit's `retCode`.
        text: Bybit's `retMsg`.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def bad_parameter(text: str) -> Refusal:
    """Return the refusal of a parameter that is missing or out of range."""
    return Refusal(10001, text)


def order_gone(action: str) -> Refusal:
    """Return the refusal of a change to an order that is not open; `action` is `cancel` or `replace`."""
    return Refusal(110001, f"order not exists or too late to {action}")


def duplicate_link_id() -> Refusal:
    """Return the refusal of an orderLinkId that the account has used before."""
    return Refusal(110072, "OrderLinkedID is duplicate")


def not_enough_balance() -> Refusal:
    """Return the refusal of an order that the available balance cannot carry."""
    return Refusal(110007, "ab not enough for new order")


def reduce_only(text: str) -> Refusal:
    """Return the refusal of a reduce-only order that would not reduce."""
    return Refusal(110017, text)
