"""New keys of the accounts while the executor works: each is tried first, then used, and the old one is let go.

A new key must be answered by the exchange, be the same account's, and pass the checks of a key (rights, address, date);
as long as it does not, the old one stays in use, so that no exit is lost. Only where the exchange refuses the old one
too, any key of the account that it answers is better, and is used at once; the checks decide about entries. Requests
under way end under the key that they were sent with; orders are known by their ids, whatever key asks for them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError, ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import KeyInformation
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.secret_rotation import SecretRefusedError
from executor_service import metrics
from executor_service.account_keys import AccountKey, keys_of_text
from executor_service.egress_rule import list_fault
from executor_service.exchange_clients import ExchangeClients
from executor_service.fitness import Fitness
from executor_service.preflight import Check, PreflightError, Report, Status
from executor_service.settings import ExecutorSettings

KEY_CHECKS = "key_"
"""Names of the checks that concern the key begin so."""


class KeyRotation:
    """Puts new keys of the accounts into use."""

    def __init__(
        self,
        keys: Sequence[AccountKey],
        clients: ExchangeClients,
        fitness: Fitness,
        *,
        origin: str,
        expected: Sequence[str] = (),
        replaced: Callable[[AccountKey], None] = lambda _key: None,
    ) -> None:
        """Prepare.

        Args:
            keys: What is in use.
            clients: Send the requests of each account.
            fitness: Examines accounts, and learns how the new key does.
            origin: Where new keys come from, for messages.
            expected: Addresses or networks that a key's list must cover; empty: its list does not matter.
            replaced: Is told of each key that was put into use.
        """
        self._keys = {key.name: key for key in keys}
        self._clients = clients
        self._fitness = fitness
        self._origin = origin
        self._expected = tuple(expected)
        self._replaced = replaced
        self._users: dict[str, str] = {}

    async def take(self, text: str) -> None:
        """Use the keys of a new list of accounts, as far as they are good.

        Raises:
            SettingsError: If it is no such list.
            SecretRefusedError: If it names other accounts, or a key is not used; the message says which and why.
        """
        keys = keys_of_text(text, self._origin)
        if {key.name for key in keys} != set(self._keys):
            raise SecretRefusedError(
                f"it names the accounts {_listed(key.name for key in keys)}, in use are {_listed(self._keys)}; "
                "accounts are added and removed by a restart only"
            )
        problems = []
        for key in keys:
            if key != self._keys[key.name]:
                try:
                    await self._replace(key)
                except SecretRefusedError as error:
                    metrics.KEY_ROTATIONS.labels(key.name, "refused").inc()
                    problems.append(f"the key of {key.name} is not used: {error}")
        if problems:
            raise SecretRefusedError(" | ".join(problems))

    async def _replace(self, key: AccountKey) -> None:
        old_works = await self._old_works(key.name)
        async with self._clients.client_for(key) as candidate:
            information = await _information_of(candidate)
            if information.user_id != self._users.setdefault(key.name, information.user_id):
                raise SecretRefusedError("it is a key of another account of the exchange")
            if not old_works:  # exits are waiting: they go out under it while it is being examined, entries do not
                self._fitness.hold(key.name, "its new key is being examined")
                self._use(key)
            report = await self._examined(key.name, candidate, is_tried=old_works)
        faults = [str(check) for check in report.failures if check.name.startswith(KEY_CHECKS)]
        if self._expected and (why_not := list_fault(self._expected, information.ips)):
            faults.append(why_not)
        if old_works and faults:
            raise SecretRefusedError(" | ".join(faults))
        if old_works:
            self._use(key)
        await self._fitness.take(key.name, report)

    def _use(self, key: AccountKey) -> None:
        self._clients[key.name].use_key(key.api_key, key.api_secret)
        self._keys[key.name] = key
        self._replaced(key)
        metrics.KEY_ROTATIONS.labels(key.name, "used").inc()
        get_logger().info("account_key_rotated", account=key.name)

    async def _old_works(self, account: str) -> bool:
        """Return whether the exchange takes the key in use, and note whose it is; no answer counts as a yes."""
        try:
            information = await self._clients[account].key_information()
        except CredentialError:
            return False
        except (ExchangeError, MalformedPayload):
            return True
        self._users[account] = information.user_id
        return True

    async def _examined(self, account: str, candidate: BybitClient, *, is_tried: bool) -> Report:
        """Examine the account under a new key; `is_tried`: without an outcome it is not used.

        One that is in use already, as there was no other, keeps the account from entering until it has been examined.
        """
        try:
            return await self._fitness.examine(account, candidate)
        except (PreflightError, DependencyError) as error:
            if is_tried:
                raise SecretRefusedError(str(error)) from error
            return Report(account, (Check("key", Status.FAILED, f"the new key was not examined yet: {error}"),))

    async def begin(self) -> None:
        """Learn whose the keys in use are, so that it is known when they are refused one day."""
        for account in self._keys:
            await self._old_works(account)


async def _information_of(candidate: BybitClient) -> KeyInformation:
    try:
        return await candidate.key_information()
    except CredentialError as error:
        raise SecretRefusedError(f"the exchange refuses it ({error})") from error
    except (ExchangeError, MalformedPayload) as error:
        raise SecretRefusedError(f"the exchange did not answer ({error})") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


@asynccontextmanager
async def keys_followed(
    settings: ExecutorSettings,
    clients: ExchangeClients,
    fitness: Fitness,
    *,
    replaced: Callable[[AccountKey], None] = lambda _key: None,
) -> AsyncIterator[None]:
    """Put new keys into use while the context is open; in a replay they wait for the next start."""
    rotating = settings.rotating_secret("accounts")
    if rotating is None or settings.is_event_time:
        yield
        return
    rotation = KeyRotation(
        settings.account_keys(),
        clients,
        fitness,
        origin=rotating.origin,
        expected=settings.egress_expected_ips,
        replaced=replaced,
    )
    await rotation.begin()
    rotating.follow(rotation.take)
    try:
        yield
    finally:
        rotating.leave(rotation.take)
