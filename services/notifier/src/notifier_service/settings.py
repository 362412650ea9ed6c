"""Settings of the notifier: where messages go, how fast, and when they are grouped."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.settings import ServiceSettings
from notifier_service.message import MessageLinks
from notifier_service.notice import NoticeKind

LARGEST_AGE_H = 144.0
"""Claims are kept for seven days; what is older than six is never told, so that nothing outlives its claim."""


class NotifierSettings(ServiceSettings):
    """Environment of the notifier; every name starts with `NOTIFIER_`."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", frozen=True)

    slack_token: SecretStr | None = None
    """Bot token of the Slack app (`xoxb-...`); without it messages go to standard output."""
    slack_channel: str | None = None
    """Channel id (`C...`, preferred) or name; needed with a token."""
    slack_base_url: str = Field(default="https://slack.com/api/", pattern=r"^https?://[^\s@]+$")
    """Where Slack's Web API is."""
    kinds: tuple[NoticeKind, ...] = tuple(NoticeKind)
    """What is told, as a JSON list of `order`, `fill`, `performance`, `alert`."""
    link_base: str | None = Field(default=None, pattern=r"^https?://[^\s<>|]+$")
    """Address under which `/runs/<run>/orders/<order link id>` shows an order; absent: no links."""
    runbook: str = Field(default="docs/runbook.md", pattern=r"^[^\s<>|`]+$")
    """Runbook that alerts point to, as an address or a path."""
    message_interval_s: float = Field(default=1.0, ge=0, le=60)
    """Least seconds between two Slack messages; Slack allows one a second and channel."""
    group_after: int = Field(default=5, ge=1, le=1000)
    """More notices than this, waiting or arrived within the window, are told in one summary."""
    group_window_s: float = Field(default=3.0, ge=0, le=300)
    """Seconds for which notices are collected in a storm."""
    post_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds within which Slack must answer."""
    retry_max_s: float = Field(default=30.0, ge=1, le=600)
    """Longest pause, in seconds, before a post that failed is tried again; Slack's Retry-After may ask for more."""
    slack_alert_s: float = Field(default=120.0, ge=0, le=3600)
    """Seconds after which posts that fail are an alert, which others than Slack show."""
    oldest_h: float = Field(default=72.0, gt=0, le=LARGEST_AGE_H)
    """Hours after which an event that could not be told is passed over."""
    max_held: int = Field(default=1000, ge=10, le=10_000)
    """Messages per consumer that are held in memory; the rest wait in their stream."""
    redelivery_s: float = Field(default=30.0, ge=0.5, le=600)
    """Seconds after which another process gets what a dead one held."""

    @field_validator("kinds")
    @classmethod
    def _kinds_are_some_and_unique(cls, values: tuple[NoticeKind, ...]) -> tuple[NoticeKind, ...]:
        if not values or len(set(values)) != len(values):
            raise ValueError("name at least one kind, and none twice")
        return values

    @field_validator("slack_channel")
    @classmethod
    def _token_has_a_channel(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and info.data.get("slack_token") is not None:
            raise ValueError("a token needs a channel; set this to the channel's id, e.g. C0123456789")
        return value

    @property
    def links(self) -> MessageLinks:
        """Addresses that messages point to."""
        return MessageLinks(orders=self.link_base, runbook=self.runbook)

    def read_token(self) -> SecretStr | None:
        """Return the Slack token; None: messages go to standard output.

        Raises:
            InvalidInputError: If the token is empty.
        """
        if self.slack_token is not None and not self.slack_token.get_secret_value().strip():
            raise InvalidInputError("the Slack token is empty; set it, or unset its name to print messages instead")
        return self.slack_token
