from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Position(_message.Message):
    __slots__ = ("symbol", "size", "average_price", "mark_price", "unrealised_pnl")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_PRICE_FIELD_NUMBER: _ClassVar[int]
    MARK_PRICE_FIELD_NUMBER: _ClassVar[int]
    UNREALISED_PNL_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    size: str
    average_price: str
    mark_price: str
    unrealised_pnl: str
    def __init__(self, symbol: _Optional[str] = ..., size: _Optional[str] = ..., average_price: _Optional[str] = ..., mark_price: _Optional[str] = ..., unrealised_pnl: _Optional[str] = ...) -> None: ...

class AccountSnapshot(_message.Message):
    __slots__ = ("run_id", "account", "kind", "day", "equity", "wallet_balance", "net_deposits", "positions", "fills_total", "event_time_ms")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[AccountSnapshot.Kind]
        KIND_PERIODIC: _ClassVar[AccountSnapshot.Kind]
        KIND_DAY_OPEN: _ClassVar[AccountSnapshot.Kind]
    KIND_UNSPECIFIED: AccountSnapshot.Kind
    KIND_PERIODIC: AccountSnapshot.Kind
    KIND_DAY_OPEN: AccountSnapshot.Kind
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    EQUITY_FIELD_NUMBER: _ClassVar[int]
    WALLET_BALANCE_FIELD_NUMBER: _ClassVar[int]
    NET_DEPOSITS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    FILLS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    account: str
    kind: AccountSnapshot.Kind
    day: str
    equity: str
    wallet_balance: str
    net_deposits: str
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    fills_total: int
    event_time_ms: int
    def __init__(self, run_id: _Optional[str] = ..., account: _Optional[str] = ..., kind: _Optional[_Union[AccountSnapshot.Kind, str]] = ..., day: _Optional[str] = ..., equity: _Optional[str] = ..., wallet_balance: _Optional[str] = ..., net_deposits: _Optional[str] = ..., positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., fills_total: _Optional[int] = ..., event_time_ms: _Optional[int] = ...) -> None: ...

class DailyPerformance(_message.Message):
    __slots__ = ("run_id", "account", "day", "equity", "net_deposits", "ror", "cumulative", "drawdown", "mdd", "orders", "fills")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    EQUITY_FIELD_NUMBER: _ClassVar[int]
    NET_DEPOSITS_FIELD_NUMBER: _ClassVar[int]
    ROR_FIELD_NUMBER: _ClassVar[int]
    CUMULATIVE_FIELD_NUMBER: _ClassVar[int]
    DRAWDOWN_FIELD_NUMBER: _ClassVar[int]
    MDD_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    FILLS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    account: str
    day: str
    equity: str
    net_deposits: str
    ror: str
    cumulative: str
    drawdown: str
    mdd: str
    orders: int
    fills: int
    def __init__(self, run_id: _Optional[str] = ..., account: _Optional[str] = ..., day: _Optional[str] = ..., equity: _Optional[str] = ..., net_deposits: _Optional[str] = ..., ror: _Optional[str] = ..., cumulative: _Optional[str] = ..., drawdown: _Optional[str] = ..., mdd: _Optional[str] = ..., orders: _Optional[int] = ..., fills: _Optional[int] = ...) -> None: ...

class DayParity(_message.Message):
    __slots__ = ("run_id", "account", "day", "comparable", "reason", "orders_equal", "orders_different", "total_bps", "differences", "differences_total")
    class Difference(_message.Message):
        __slots__ = ("subject", "cause", "field", "expected", "actual", "cost_bps")
        SUBJECT_FIELD_NUMBER: _ClassVar[int]
        CAUSE_FIELD_NUMBER: _ClassVar[int]
        FIELD_FIELD_NUMBER: _ClassVar[int]
        EXPECTED_FIELD_NUMBER: _ClassVar[int]
        ACTUAL_FIELD_NUMBER: _ClassVar[int]
        COST_BPS_FIELD_NUMBER: _ClassVar[int]
        subject: str
        cause: str
        field: str
        expected: str
        actual: str
        cost_bps: str
        def __init__(self, subject: _Optional[str] = ..., cause: _Optional[str] = ..., field: _Optional[str] = ..., expected: _Optional[str] = ..., actual: _Optional[str] = ..., cost_bps: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    COMPARABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORDERS_EQUAL_FIELD_NUMBER: _ClassVar[int]
    ORDERS_DIFFERENT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BPS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    account: str
    day: str
    comparable: bool
    reason: str
    orders_equal: int
    orders_different: int
    total_bps: str
    differences: _containers.RepeatedCompositeFieldContainer[DayParity.Difference]
    differences_total: int
    def __init__(self, run_id: _Optional[str] = ..., account: _Optional[str] = ..., day: _Optional[str] = ..., comparable: _Optional[bool] = ..., reason: _Optional[str] = ..., orders_equal: _Optional[int] = ..., orders_different: _Optional[int] = ..., total_bps: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[DayParity.Difference, _Mapping]]] = ..., differences_total: _Optional[int] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("alert_id", "run_id", "severity", "service", "name", "summary", "facts", "event_time_ms", "account", "symbol")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Alert.Severity]
        SEVERITY_INFO: _ClassVar[Alert.Severity]
        SEVERITY_WARNING: _ClassVar[Alert.Severity]
        SEVERITY_CRITICAL: _ClassVar[Alert.Severity]
    SEVERITY_UNSPECIFIED: Alert.Severity
    SEVERITY_INFO: Alert.Severity
    SEVERITY_WARNING: Alert.Severity
    SEVERITY_CRITICAL: Alert.Severity
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    alert_id: str
    run_id: str
    severity: Alert.Severity
    service: str
    name: str
    summary: str
    facts: _containers.ScalarMap[str, str]
    event_time_ms: int
    account: str
    symbol: str
    def __init__(self, alert_id: _Optional[str] = ..., run_id: _Optional[str] = ..., severity: _Optional[_Union[Alert.Severity, str]] = ..., service: _Optional[str] = ..., name: _Optional[str] = ..., summary: _Optional[str] = ..., facts: _Optional[_Mapping[str, str]] = ..., event_time_ms: _Optional[int] = ..., account: _Optional[str] = ..., symbol: _Optional[str] = ...) -> None: ...
