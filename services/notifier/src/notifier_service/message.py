"""A message to people: plain text on one line, and the same as Slack blocks."""

from dataclasses import dataclass
from decimal import Decimal

from slack_sdk.models.blocks import (
    Block,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)

from breakwater_core.market import LIVE_RUN_ID
from notifier_service import markup


@dataclass(frozen=True, slots=True)
class Message:
    """What is told in one go.

    Attributes:
        text: One line of plain text, not escaped: what the console shows, and Slack where it shows no blocks.
        blocks: The same for Slack; at most 50 blocks, within Slack's limits of length.
    """

    text: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class MessageLinks:
    """Addresses that messages point to.

    Attributes:
        orders: Page under which `/runs/<run>/orders/<order link id>` shows an order; None: no links to orders.
        runbook: Runbook with one entry per alert name; an http(s) address becomes a link, any other is shown as it is.
    """

    orders: str | None = None
    runbook: str = "docs/runbook.md"

    def order(self, run_id: str, order_link_id: str) -> str | None:
        """Return the address of an order; None if there is no such page or no order."""
        if self.orders is None or not order_link_id:
            return None
        return f"{self.orders.rstrip('/')}/runs/{run_id}/orders/{_path_segment(order_link_id)}"

    def runbook_entry(self, alert_name: str) -> str:
        """Return the address of an alert's entry in the runbook."""
        return f"{self.runbook}#{_path_segment(alert_name)}"


def _path_segment(text: str) -> str:
    return "".join(
        character for character in text if character.isascii() and (character.isalnum() or character in "-_.")
    )


def prefix_of(run_id: str) -> str:
    """Return what stands before the text of a replay's messages; nothing for those of the live run."""
    return "" if run_id == LIVE_RUN_ID else f"[{run_id}] "


def header(text: str) -> HeaderBlock:
    """Return the heading of a message."""
    return HeaderBlock(text=PlainTextObject(text=markup.clip(markup.one_line(text), markup.HEADER_LIMIT), emoji=True))


def section(text: str) -> SectionBlock:
    """Return a paragraph of plain text; it must not be empty."""
    return SectionBlock(text=MarkdownTextObject(text=markup.clip(text, markup.TEXT_LIMIT), verbatim=True))


def preformatted(text: str) -> SectionBlock:
    """Return a paragraph of text that is escaped already, such as a code block."""
    return SectionBlock(text=MarkdownTextObject(text=text, verbatim=True))


def fields(values: dict[str, str]) -> SectionBlock:
    """Return at most ten named values in two columns."""
    limit = markup.FIELD_LIMIT - 200
    pairs = list(values.items())[: SectionBlock.fields_max_length]
    return SectionBlock(
        fields=[
            MarkdownTextObject(text=f"*{markup.clip(name, 150)}*\n{markup.clip(value, limit)}", verbatim=True)
            for name, value in pairs
        ]
    )


def context(*texts: str) -> ContextBlock:
    """Return small print; each text is escaped already and at most 3000 characters."""
    return ContextBlock(elements=[MarkdownTextObject(text=text, verbatim=True) for text in texts])


def money(value: Decimal) -> str:
    """Return an amount of quote currency, two digits after the point: `12,345.60 USDT`."""
    return f"{value:,.2f} USDT"


def percent(share: Decimal, *, signed: bool = False) -> str:
    """Return a share as percent: 0.0123 gives `1.23 %`."""
    return f"{share * 100:{'+' if signed else ''}.2f} %"
