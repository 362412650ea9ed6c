"""Positions, wallet, fees, key information."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from breakwater_core.decimals import to_text
from paper_exchange_service.api.call import Answer, Call, Endpoint, Settles, Waits, listing
from paper_exchange_service.api.forms import amount, level, require_linear, text, whole
from paper_exchange_service.api.market_rows import coins_of
from paper_exchange_service.api.paging import page
from paper_exchange_service.api.rows import (
    COIN,
    closed_pnl_row,
    position_row,
    transaction_row,
    wallet_row,
)
from paper_exchange_service.engine.positions import Position
from paper_exchange_service.engine.refusal import Refusal, bad_parameter

_WEEK_MS = 7 * 86_400_000
_MARGIN_MODES = frozenset({"ISOLATED_MARGIN", "REGULAR_MARGIN", "PORTFOLIO_MARGIN"})
_NO_EXPIRY = "1970-01-01T00:00:00Z"


def positions(call: Call) -> Answer:
    """GET position/list: of a symbol even when flat, of a settle coin only what is open."""
    require_linear(call.params)
    account, engine = call.account, call.engine
    symbol, coin = text(call.params, "symbol"), text(call.params, "settleCoin")
    found: list[Position]
    if symbol:
        market = engine.market(symbol)
        indexes = (1, 2) if account.is_hedged(symbol) else (0,)
        found = [account.position(market.symbol, index) for index in indexes]
    elif coin or text(call.params, "baseCoin"):
        found = [
            account.held[key]
            for key in sorted(account.held)
            if not coin or coins_of(account.held[key].symbol)[1] == coin
        ]
    else:
        raise bad_parameter("params error: symbol or settleCoin is required")
    rows, cursor = page(
        found,
        limit=whole(call.params, "limit", 20, least=1, most=200),
        cursor=text(call.params, "cursor"),
        mark=lambda position: (f"{position.symbol}-{position.index}", position.updated_ms),
    )
    worth = engine.value(account, call.at_ms)
    return Answer(
        {
            "nextPageCursor": cursor,
            "category": "linear",
            "list": [position_row(engine, account, position, call.at_ms, worth) for position in rows],
        }
    )


def set_leverage(call: Call) -> Answer:
    """POST position/set-leverage."""
    require_linear(call.params)
    buy, sell = amount(call.params, "buyLeverage"), amount(call.params, "sellLeverage")
    if buy is None or sell is None:
        raise bad_parameter("params error: buyLeverage and sellLeverage are required")
    if buy != sell:
        raise bad_parameter("buy leverage invalid: must equal sell leverage")
    call.engine.set_leverage(call.account, text(call.params, "symbol"), buy)
    return Answer({})


def switch_mode(call: Call) -> Answer:
    """POST position/switch-mode: 0 one-way, 3 hedge; by symbol or by coin."""
    require_linear(call.params)
    mode = whole(call.params, "mode", -1, most=9)
    if mode not in {0, 3}:
        raise bad_parameter("params error: position_mode invalid")
    symbol, coin = text(call.params, "symbol"), text(call.params, "coin")
    if symbol:
        names = [call.engine.market(symbol).symbol]
    elif coin:
        names = [name for name in call.engine.markets if coins_of(name)[1] == coin]
    else:
        raise bad_parameter("params error: symbol or coin is required")
    call.engine.switch_mode(call.account, names, hedged=mode == 3, whole_coin=not symbol)
    return Answer({})


def trading_stop(call: Call) -> Answer:
    """POST position/trading-stop: take-profit and stop-loss of an open position; "0" removes one."""
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    position = call.account.position(market.symbol, whole(call.params, "positionIdx", 0, most=2))
    if not position.size:
        raise bad_parameter("can not set tp/sl/ts for zero position")
    take_profit = level(call.params, "takeProfit") if text(call.params, "takeProfit") else position.take_profit
    stop_loss = level(call.params, "stopLoss") if text(call.params, "stopLoss") else position.stop_loss
    if (take_profit, stop_loss) == (position.take_profit, position.stop_loss):
        raise Refusal(34040, "not modified")
    last = market.last_at(call.at_ms) or position.average
    for name, price, above in (
        ("TakeProfit", take_profit, position.size > 0),
        ("StopLoss", stop_loss, position.size < 0),
    ):
        if price is not None:
            market.rules.check_price(price)
            if price <= last if above else price >= last:
                raise bad_parameter(
                    f"{name}:{to_text(price)} set for the position is on the wrong side of base_price:{to_text(last)}"
                )
    call.engine.protect(call.account, position, take_profit, stop_loss, call.at_ms)
    return Answer({})


def closed_pnl(call: Call) -> Answer:
    """GET position/closed-pnl, newest first."""
    require_linear(call.params)
    symbol = text(call.params, "symbol")
    entries = (
        entry for entry in call.account.closed_pnl.newest_first(*_range(call)) if symbol in {"", entry.order.symbol}
    )
    rows, cursor = page(
        entries,
        limit=whole(call.params, "limit", 50, least=1, most=100),
        cursor=text(call.params, "cursor"),
        mark=lambda entry: (f"{entry.order.order_id}.{entry.sequence}", entry.time_ms),
    )
    return Answer({"nextPageCursor": cursor, "category": "linear", "list": [closed_pnl_row(entry) for entry in rows]})


def wallet_balance(call: Call) -> Answer:
    """GET account/wallet-balance."""
    kind = text(call.params, "accountType")
    if kind != "UNIFIED":
        raise bad_parameter("accountType only support UNIFIED.")
    row = wallet_row(call.engine, call.account, call.at_ms)
    coins = text(call.params, "coin")
    if coins and COIN not in coins.split(","):
        row["coin"] = []
    return Answer({"list": [row]})


def transaction_log(call: Call) -> Answer:
    """GET account/transaction-log, newest first."""
    account = call.account
    balance, balances = Decimal(0), {}
    for entry in account.transactions:
        balance += entry.change
        balances[entry.record_id] = balance
    kind, category = text(call.params, "type"), text(call.params, "category")
    entries = (
        entry
        for entry in account.transactions.newest_first(*_range(call))
        if kind in {"", entry.kind} and (category in {"", "linear"} and (not category or entry.symbol))
    )
    rows, cursor = page(
        entries,
        limit=whole(call.params, "limit", 20, least=1, most=50),
        cursor=text(call.params, "cursor"),
        mark=lambda entry: (entry.record_id, entry.time_ms),
    )
    listed = [transaction_row(account, entry, balances[entry.record_id]) for entry in rows]
    return Answer({"nextPageCursor": cursor, "list": listed})


def fee_rate(call: Call) -> Answer:
    """GET account/fee-rate."""
    symbol = text(call.params, "symbol")
    names = [call.engine.market(symbol).symbol] if symbol else sorted(call.engine.markets)
    costs = call.engine.costs
    rates = {"takerFeeRate": to_text(costs.taker_fee), "makerFeeRate": to_text(costs.maker_fee)}
    return Answer({"list": [{"symbol": name, "baseCoin": ""} | rates for name in names]})


def account_info(call: Call) -> Answer:
    """GET account/info."""
    return Answer(
        {
            "marginMode": call.account.margin_mode,
            "updatedTime": str(call.at_ms),
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }
    )


def set_margin_mode(call: Call) -> Answer:
    """POST account/set-margin-mode: stored and told back; margin is always reckoned over the whole account."""
    mode = text(call.params, "setMarginMode")
    if mode not in _MARGIN_MODES:
        raise bad_parameter("params error: setMarginMode invalid")
    if any(call.account.open_orders.values()) or call.account.held:
        raise Refusal(3400045, "Set margin mode failed: open orders or positions exist")
    call.account.margin_mode = mode
    return Answer({"reasons": []})


def key_information(call: Call) -> Answer:
    """GET user/query-api."""
    account, key = call.account, call.account.credentials_of(call.key)
    expires = key.expires_ms
    left_days = -2 if expires is None else max(0, (expires - call.desk.now_ms()) // 86_400_000)
    return Answer(
        {
            "id": str(account.uid % 10_000_000),
            "note": account.name,
            "apiKey": key.key,
            "readOnly": int(key.read_only),
            "secret": "",
            "permissions": {
                "ContractTrade": list(key.permissions),
                "Spot": [],
                "Wallet": list(key.wallet_permissions),
                "Options": [],
                "Derivatives": ["DerivativesTrade"],
                "CopyTrading": [],
                "BlockTrade": [],
                "Exchange": [],
                "NFT": [],
                "Affiliate": [],
                "Earn": [],
            },
            "ips": list(key.ips) or ["*"],
            "type": 1,
            "deadlineDay": left_days,
            "expiredAt": _NO_EXPIRY if expires is None else _instant(expires),
            "createdAt": "2024-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": account.uid,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_1",
            "kycRegion": "",
        }
    )


def coin_information(call: Call) -> Answer:
    """GET asset/coin/query-info: USDT, on one chain that takes neither deposits nor withdrawals."""
    wanted = text(call.params, "coin")
    chain = {
        "chainType": "Ethereum (ERC20)",
        "confirmation": "6",
        "withdrawFee": "",
        "depositMin": "0",
        "withdrawMin": "0",
        "chain": "ETH",
        "chainDeposit": "0",
        "chainWithdraw": "0",
        "minAccuracy": "6",
        "withdrawPercentageFee": "0",
        "contractAddress": "",
        "safeConfirmNumber": "64",
    }
    row = {"name": "USDT", "coin": COIN, "remainAmount": "0", "chains": [chain]}
    return Answer({"rows": [row] if wanted in {"", COIN} else []})


def coin_balance(call: Call) -> Answer:
    """GET asset/transfer/query-account-coins-balance."""
    balance = to_text(call.account.wallet)
    row = {"coin": COIN, "walletBalance": balance, "transferBalance": balance, "bonus": ""}
    kind = text(call.params, "accountType") or "UNIFIED"
    return Answer(
        {
            "accountType": kind,
            "memberId": str(call.account.uid),
            "balance": [row] if kind == "UNIFIED" else [],
        }
    )


def _instant(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _range(call: Call) -> tuple[int | None, int | None]:
    start = whole(call.params, "startTime", -1) if text(call.params, "startTime") else None
    end = whole(call.params, "endTime", -1) if text(call.params, "endTime") else None
    if start is not None and end is not None and not 0 <= end - start <= _WEEK_MS:
        raise bad_parameter("The time range between startTime and endTime cannot exceed 7 days")
    if start is not None and end is None:
        end = start + _WEEK_MS
    return start, end


def _query(handler: Callable[[Call], Answer], group: str, limit: int) -> Endpoint:
    return Endpoint(handler, private=True, limit=limit, group=group, waits=Waits.STAMP, settles=Settles.ACCOUNT)


def _plain(handler: Callable[[Call], Answer], group: str, limit: int) -> Endpoint:
    return Endpoint(handler, private=True, limit=limit, group=group)


def _change(handler: Callable[[Call], Answer], group: str, limit: int = 10, waits: Waits = Waits.NOT) -> Endpoint:
    return Endpoint(
        handler,
        private=True,
        changes=True,
        limit=limit,
        group=group,
        waits=waits,
        settles=Settles.NOTHING if waits is Waits.NOT else Settles.SYMBOL,
        needs="Position",
    )


ACCOUNT_ENDPOINTS = {
    ("GET", "/v5/position/list"): _query(listing(positions), "position/list", 50),
    ("GET", "/v5/position/closed-pnl"): _query(listing(closed_pnl), "position/closed-pnl", 50),
    ("POST", "/v5/position/set-leverage"): _change(set_leverage, "position/set-leverage"),
    ("POST", "/v5/position/switch-mode"): _change(switch_mode, "position/switch-mode"),
    ("POST", "/v5/position/trading-stop"): _change(trading_stop, "position/trading-stop", waits=Waits.STAMP),
    ("GET", "/v5/account/wallet-balance"): _query(wallet_balance, "account/wallet-balance", 50),
    ("GET", "/v5/account/transaction-log"): _query(transaction_log, "account/transaction-log", 25),
    ("GET", "/v5/account/fee-rate"): _plain(listing(fee_rate), "account/fee-rate", 5),
    ("GET", "/v5/account/info"): _plain(account_info, "account/info", 50),
    ("POST", "/v5/account/set-margin-mode"): _change(set_margin_mode, "account/set-margin-mode"),
    ("GET", "/v5/user/query-api"): _plain(key_information, "user/query-api", 10),
    ("GET", "/v5/asset/coin/query-info"): _plain(coin_information, "asset/coin/query-info", 5),
    ("GET", "/v5/asset/transfer/query-account-coins-balance"): _query(coin_balance, "asset/account-coins-balance", 5),
}
"""Operations on positions, the wallet and the account."""
