"""The engine's records as rows of Bybit's answers and streams: every field present, numbers as decimal text."""

from decimal import Decimal
from typing import Any

from breakwater_core.decimals import to_text
from breakwater_core.events import Side
from paper_exchange_service.engine.accounts import Account, ClosedPnl, Transaction
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.margin import Valuation, liquidation_price, position_margin
from paper_exchange_service.engine.orders import Execution, Order
from paper_exchange_service.engine.positions import Position

Row = dict[str, Any]

ZERO = Decimal(0)
COIN = "USDT"
RISK_LIMIT_VALUE = "1000000000"
_CENTI_MICRO = Decimal("1e-8")
_AVERAGE = Decimal("1e-10")


def side_text(side: Side | None) -> str:
    """Return Bybit's name of a side; empty when there is none."""
    if side is None:
        return ""
    return "Buy" if side is Side.BUY else "Sell"


def rounded(value: Decimal) -> str:
    """Return a derived amount with at most 8 decimals."""
    return to_text(value.quantize(_CENTI_MICRO))


def optional(value: Decimal | None, absent: str = "") -> str:
    """Return decimal text, or the text for "none"."""
    return absent if value is None else to_text(value)


def order_row(order: Order) -> Row:
    """Return an order as `order/realtime` and `order/history` show it."""
    request, average = order.request, order.average
    fee = to_text(order.fee)
    leaves = order.leaves
    trigger = order.trigger_price
    return {
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "blockTradeId": "",
        "symbol": order.symbol,
        "price": "" if trigger is not None and order.is_market and not order.fills else to_text(order.bound),
        "qty": to_text(order.quantity),
        "side": side_text(order.side),
        "isLeverage": "",
        "positionIdx": request.position_index,
        "orderStatus": order.status.value,
        "createType": order.create_type,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "avgPrice": "" if average is None else to_text(average.quantize(_AVERAGE)),
        "leavesQty": to_text(leaves),
        "leavesValue": to_text(leaves * order.bound),
        "cumExecQty": to_text(order.filled),
        "cumExecValue": to_text(order.filled_value),
        "cumExecFee": fee,
        "cumFeeDetail": {COIN: fee} if order.fills else {},
        "timeInForce": "IOC" if order.is_market else request.time_in_force.value,
        "orderType": request.order_type.value,
        "stopOrderType": order.stop_order_type,
        "orderIv": "",
        "marketUnit": "",
        "triggerPrice": optional(trigger),
        "takeProfit": optional(request.take_profit),
        "stopLoss": optional(request.stop_loss),
        "tpslMode": "Full" if request.take_profit or request.stop_loss else "",
        "tpLimitPrice": "0",
        "slLimitPrice": "0",
        "tpTriggerBy": "LastPrice" if request.take_profit else "",
        "slTriggerBy": "LastPrice" if request.stop_loss else "",
        "triggerDirection": request.trigger_direction,
        "triggerBy": request.trigger_by,
        "lastPriceOnCreated": to_text(order.last_price_on_created),
        "reduceOnly": request.reduce_only,
        "closeOnTrigger": request.close_on_trigger,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "slippageToleranceType": "UNKNOWN",
        "slippageTolerance": "0",
        "extraFees": "",
        "createdTime": str(order.created_ms),
        "updatedTime": str(order.updated_ms),
    }


def order_frame_row(order: Order) -> Row:
    """Return an order as the private stream shows it."""
    return order_row(order) | {
        "category": "linear",
        "feeCurrency": COIN,
        "closedPnl": to_text(order.closed_pnl.quantize(_CENTI_MICRO)),
    }


def execution_row(fill: Execution) -> Row:
    """Return an execution as `execution/list` shows it."""
    order = fill.order
    return {
        "symbol": fill.symbol,
        "orderId": fill.order_id,
        "orderLinkId": order.link_id if order else "",
        "side": side_text(fill.side),
        "orderPrice": to_text(order.bound) if order else "0",
        "orderQty": to_text(order.quantity) if order else "0",
        "leavesQty": to_text(fill.leaves),
        "createType": order.create_type if order else "",
        "orderType": order.request.order_type.value if order else "UNKNOWN",
        "stopOrderType": (order.stop_order_type if order else "") or "UNKNOWN",
        "execFee": to_text(fill.fee),
        "execFeeV2": "",
        "execId": fill.exec_id,
        "execPrice": to_text(fill.price),
        "execQty": to_text(fill.quantity),
        "execType": fill.kind,
        "execValue": to_text(fill.value),
        "execTime": str(fill.time_ms),
        "feeCurrency": COIN,
        "isMaker": fill.is_maker,
        "feeRate": to_text(fill.fee_rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": to_text(fill.mark),
        "indexPrice": to_text(fill.mark),
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": to_text(fill.closed),
        "seq": fill.sequence,
        "extraFees": "",
    }


def execution_frame_row(fill: Execution) -> Row:
    """Return an execution as the private stream shows it."""
    return execution_row(fill) | {"category": "linear", "isLeverage": "0", "execPnl": to_text(fill.pnl)}


def fast_execution_row(fill: Execution) -> Row:
    """Return an execution as `execution.fast` shows it: few fields, no client id for makers."""
    return {
        "category": "linear",
        "symbol": fill.symbol,
        "execId": fill.exec_id,
        "execPrice": to_text(fill.price),
        "execQty": to_text(fill.quantity),
        "orderId": fill.order_id,
        "isMaker": fill.is_maker,
        "orderLinkId": fill.order.link_id if fill.order and not fill.is_maker else "",
        "side": side_text(fill.side),
        "execTime": str(fill.time_ms),
        "seq": fill.sequence,
    }


def position_row(
    engine: Engine, account: Account, position: Position, at_ms: int, worth: Valuation | None = None
) -> Row:
    """Return a position as `position/list` shows it, with the mark price of the time."""
    market = engine.markets[position.symbol]
    mark = market.last_at(at_ms) or position.average
    leverage = account.leverage_of(position.symbol)
    margin = position_margin(position, mark, leverage, engine.costs)
    liquidation = None
    if position.size:
        worth = worth or engine.value(account, at_ms)
        liquidation = liquidation_price(account, position, worth, mark, engine.costs)
    flat = not position.size
    return {
        "positionIdx": position.index,
        "riskId": 1,
        "riskLimitValue": RISK_LIMIT_VALUE,
        "symbol": position.symbol,
        "side": side_text(position.side),
        "size": to_text(abs(position.size)),
        "avgPrice": to_text(position.average),
        "positionValue": "" if flat else to_text(position.entry_value),
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 0 if flat else 2,
        "leverage": to_text(leverage),
        "positionBalance": "0",
        "markPrice": to_text(mark),
        "liqPrice": "" if liquidation is None else to_text(liquidation.quantize(market.rules.tick)),
        "bustPrice": "",
        "positionMM": rounded(margin.maintenance),
        "positionIM": rounded(margin.initial),
        "positionMMByMp": rounded(margin.maintenance),
        "positionIMByMp": rounded(margin.initial),
        "tpslMode": "Full",
        "takeProfit": optional(position.take_profit),
        "stopLoss": optional(position.stop_loss),
        "trailingStop": "0",
        "sessionAvgPrice": "",
        "unrealisedPnl": "" if flat else rounded(margin.unrealised),
        "curRealisedPnl": rounded(position.realised),
        "cumRealisedPnl": rounded(position.realised_total),
        "seq": position.sequence or -1,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "createdTime": str(position.created_ms),
        "updatedTime": str(position.updated_ms),
    }


def position_frame_row(engine: Engine, account: Account, position: Position, at_ms: int) -> Row:
    """Return a position as the private stream shows it: `entryPrice` where REST says `avgPrice`."""
    row = position_row(engine, account, position, at_ms)
    row["entryPrice"] = row.pop("avgPrice")
    for name in ("positionValue", "unrealisedPnl"):
        row[name] = row[name] or "0"
    for name in ("takeProfit", "stopLoss"):
        row[name] = row[name] or "0"
    row["category"] = "linear"
    return row


def wallet_row(engine: Engine, account: Account, at_ms: int) -> Row:
    """Return the wallet as `account/wallet-balance` and the stream show it; 1 USDT counts as 1 USD."""
    worth = engine.value(account, at_ms)
    equity, maintenance = worth.equity, worth.maintenance
    initial = worth.position_initial + worth.order_initial
    initial_rate, maintenance_rate = (rounded(part / equity) if equity > 0 else "0" for part in (initial, maintenance))
    return {
        "accountIMRate": initial_rate,
        "accountMMRate": maintenance_rate,
        "accountIMRateByMp": initial_rate,
        "accountMMRateByMp": maintenance_rate,
        "accountLTV": "0",
        "accountType": "UNIFIED",
        "totalEquity": to_text(equity),
        "totalWalletBalance": to_text(worth.wallet),
        "totalMarginBalance": to_text(equity),
        "totalAvailableBalance": rounded(worth.available),
        "totalPerpUPL": to_text(worth.unrealised),
        "totalInitialMargin": rounded(initial),
        "totalMaintenanceMargin": rounded(maintenance),
        "totalInitialMarginByMp": rounded(initial),
        "totalMaintenanceMarginByMp": rounded(maintenance),
        "coin": [
            {
                "coin": COIN,
                "equity": to_text(equity),
                "usdValue": to_text(equity),
                "walletBalance": to_text(worth.wallet),
                "availableToWithdraw": "",
                "availableToBorrow": "",
                "borrowAmount": "0",
                "accruedInterest": "0",
                "totalOrderIM": rounded(worth.order_initial),
                "totalPositionIM": rounded(worth.position_initial),
                "totalPositionMM": rounded(maintenance),
                "unrealisedPnl": to_text(worth.unrealised),
                "cumRealisedPnl": to_text(account.realised - account.fees + account.funding),
                "bonus": "0",
                "locked": "0",
                "free": "",
                "spotBorrow": "0",
                "spotHedgingQty": "0",
                "collateralSwitch": True,
                "marginCollateral": True,
            }
        ],
    }


def transaction_row(account: Account, entry: Transaction, balance: Decimal) -> Row:
    """Return a wallet change as `account/transaction-log` shows it; `balance` is the wallet after it."""
    fill = entry.execution
    order = fill.order if fill else None
    return {
        "id": f"{account.uid}_{entry.symbol}_{entry.record_id}",
        "symbol": entry.symbol,
        "category": "linear" if entry.symbol else "",
        "side": side_text(entry.side) or "None",
        "transactionTime": str(entry.time_ms),
        "type": entry.kind,
        "transSubType": "",
        "qty": to_text(fill.quantity if fill else abs(entry.cash_flow)),
        "size": to_text(entry.size),
        "currency": COIN,
        "tradePrice": to_text(fill.price) if fill else "0",
        "funding": to_text(entry.funding) if entry.kind == "SETTLEMENT" else "",
        "fee": to_text(entry.fee),
        "cashFlow": to_text(entry.cash_flow),
        "change": to_text(entry.change),
        "cashBalance": to_text(balance),
        "feeRate": to_text(fill.fee_rate) if fill else "",
        "bonusChange": "",
        "tradeId": fill.exec_id if fill else "",
        "orderId": fill.order_id if fill else "",
        "orderLinkId": order.link_id if order else "",
        "extraFees": "",
    }


def closed_pnl_row(closed: ClosedPnl) -> Row:
    """Return what `position/closed-pnl` shows of a closed position or a part of it."""
    order = closed.order
    return {
        "symbol": order.symbol,
        "orderType": order.request.order_type.value,
        "leverage": to_text(closed.leverage),
        "updatedTime": str(closed.time_ms),
        "createdTime": str(closed.time_ms),
        "side": side_text(order.side),
        "orderId": order.order_id,
        "closedPnl": rounded(closed.pnl),
        "avgEntryPrice": to_text(closed.entry_price),
        "qty": to_text(order.quantity),
        "cumEntryValue": to_text(closed.entry_value),
        "orderPrice": to_text(order.bound),
        "closedSize": to_text(closed.quantity),
        "avgExitPrice": rounded(closed.exit_value / closed.quantity),
        "execType": closed.kind,
        "fillCount": "1",
        "cumExitValue": to_text(closed.exit_value),
        "openFee": "",
        "closeFee": "",
    }
