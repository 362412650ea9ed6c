"""What the notifier counts."""

from prometheus_client import Counter, Gauge, Histogram

from breakwater_runtime.metrics import begin_at_zero
from notifier_service.notice import NoticeKind

POSTED = Counter(
    "breakwater_notifier_posted_total",
    "Events, by what became of telling them: posted, told_before, outcome_unknown, refused, too_old.",
    ["kind", "outcome"],
)
GROUPED = Counter("breakwater_notifier_grouped_total", "Events that were told in a summary of several.", ["kind"])
POSTS = Counter(
    "breakwater_notifier_posts_total",
    "Attempts to post a message: posted, not_posted, unanswered, refused.",
    ["outcome"],
)
POST_TIME = Histogram(
    "breakwater_notifier_post_seconds",
    "Time from sending a message to its outcome.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
PENDING = Gauge(
    "breakwater_notifier_pending", "Messages of the bus not told yet: in hand and still in the stream.", ["consumer"]
)

begin_at_zero(POSTED, NoticeKind, ("posted", "told_before", "outcome_unknown", "refused", "too_old"))
begin_at_zero(GROUPED, NoticeKind)
begin_at_zero(POSTS, ("posted", "not_posted", "unanswered", "refused"))
