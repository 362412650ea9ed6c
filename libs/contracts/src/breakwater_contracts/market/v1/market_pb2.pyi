from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TradeBatch(_message.Message):
    __slots__ = ("run_id", "venue", "symbol", "time_ms", "price", "size", "taker_side", "window")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TAKER_SIDE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    venue: str
    symbol: str
    time_ms: _containers.RepeatedScalarFieldContainer[int]
    price: _containers.RepeatedScalarFieldContainer[float]
    size: _containers.RepeatedScalarFieldContainer[float]
    taker_side: bytes
    window: int
    def __init__(self, run_id: _Optional[str] = ..., venue: _Optional[str] = ..., symbol: _Optional[str] = ..., time_ms: _Optional[_Iterable[int]] = ..., price: _Optional[_Iterable[float]] = ..., size: _Optional[_Iterable[float]] = ..., taker_side: _Optional[bytes] = ..., window: _Optional[int] = ...) -> None: ...

class DailyBar(_message.Message):
    __slots__ = ("run_id", "venue", "symbol", "day", "state", "open", "high", "low", "close", "volume", "complete", "window")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[DailyBar.State]
        STATE_OPEN: _ClassVar[DailyBar.State]
        STATE_CLOSED: _ClassVar[DailyBar.State]
    STATE_UNSPECIFIED: DailyBar.State
    STATE_OPEN: DailyBar.State
    STATE_CLOSED: DailyBar.State
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    venue: str
    symbol: str
    day: str
    state: DailyBar.State
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool
    window: int
    def __init__(self, run_id: _Optional[str] = ..., venue: _Optional[str] = ..., symbol: _Optional[str] = ..., day: _Optional[str] = ..., state: _Optional[_Union[DailyBar.State, str]] = ..., open: _Optional[float] = ..., high: _Optional[float] = ..., low: _Optional[float] = ..., close: _Optional[float] = ..., volume: _Optional[float] = ..., complete: _Optional[bool] = ..., window: _Optional[int] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ("run_id", "venue", "kind", "now_ms", "trades_through_ms", "window", "trades_total", "day")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Clock.Kind]
        KIND_ADVANCED: _ClassVar[Clock.Kind]
        KIND_DAY_OPENED: _ClassVar[Clock.Kind]
        KIND_ENDED: _ClassVar[Clock.Kind]
    KIND_UNSPECIFIED: Clock.Kind
    KIND_ADVANCED: Clock.Kind
    KIND_DAY_OPENED: Clock.Kind
    KIND_ENDED: Clock.Kind
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    TRADES_THROUGH_MS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TRADES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    venue: str
    kind: Clock.Kind
    now_ms: int
    trades_through_ms: int
    window: int
    trades_total: int
    day: str
    def __init__(self, run_id: _Optional[str] = ..., venue: _Optional[str] = ..., kind: _Optional[_Union[Clock.Kind, str]] = ..., now_ms: _Optional[int] = ..., trades_through_ms: _Optional[int] = ..., window: _Optional[int] = ..., trades_total: _Optional[int] = ..., day: _Optional[str] = ...) -> None: ...
