from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Intent(_message.Message):
    __slots__ = ("intent_id", "run_id", "account", "strategy_version", "symbol", "day", "leg", "attempt", "side", "target_price", "trigger_price", "trigger_time_ms", "valid_until_ms", "gross_leverage", "portfolio_size", "epoch")
    class Leg(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LEG_UNSPECIFIED: _ClassVar[Intent.Leg]
        LEG_ENTRY: _ClassVar[Intent.Leg]
        LEG_EXIT: _ClassVar[Intent.Leg]
        LEG_STOP: _ClassVar[Intent.Leg]
        LEG_FLATTEN: _ClassVar[Intent.Leg]
    LEG_UNSPECIFIED: Intent.Leg
    LEG_ENTRY: Intent.Leg
    LEG_EXIT: Intent.Leg
    LEG_STOP: Intent.Leg
    LEG_FLATTEN: Intent.Leg
    class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SIDE_UNSPECIFIED: _ClassVar[Intent.Side]
        SIDE_BUY: _ClassVar[Intent.Side]
        SIDE_SELL: _ClassVar[Intent.Side]
    SIDE_UNSPECIFIED: Intent.Side
    SIDE_BUY: Intent.Side
    SIDE_SELL: Intent.Side
    INTENT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_VERSION_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    LEG_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    TARGET_PRICE_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_PRICE_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    GROSS_LEVERAGE_FIELD_NUMBER: _ClassVar[int]
    PORTFOLIO_SIZE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    intent_id: str
    run_id: str
    account: str
    strategy_version: str
    symbol: str
    day: str
    leg: Intent.Leg
    attempt: int
    side: Intent.Side
    target_price: str
    trigger_price: str
    trigger_time_ms: int
    valid_until_ms: int
    gross_leverage: str
    portfolio_size: int
    epoch: int
    def __init__(self, intent_id: _Optional[str] = ..., run_id: _Optional[str] = ..., account: _Optional[str] = ..., strategy_version: _Optional[str] = ..., symbol: _Optional[str] = ..., day: _Optional[str] = ..., leg: _Optional[_Union[Intent.Leg, str]] = ..., attempt: _Optional[int] = ..., side: _Optional[_Union[Intent.Side, str]] = ..., target_price: _Optional[str] = ..., trigger_price: _Optional[str] = ..., trigger_time_ms: _Optional[int] = ..., valid_until_ms: _Optional[int] = ..., gross_leverage: _Optional[str] = ..., portfolio_size: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...
