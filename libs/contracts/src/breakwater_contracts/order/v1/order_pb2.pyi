from breakwater_contracts.intent.v1 import intent_pb2 as _intent_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrderEvent(_message.Message):
    __slots__ = ("event_id", "run_id", "account", "symbol", "intent_id", "order_link_id", "child", "status", "leg", "side", "reduce_only", "quantity", "filled_quantity", "average_price", "target_price", "trigger_price", "trigger_time_ms", "reason", "detail", "intent_closed", "event_time_ms", "day", "strategy_version")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[OrderEvent.Status]
        STATUS_SUBMITTED: _ClassVar[OrderEvent.Status]
        STATUS_PARTIALLY_FILLED: _ClassVar[OrderEvent.Status]
        STATUS_FILLED: _ClassVar[OrderEvent.Status]
        STATUS_CANCELLED: _ClassVar[OrderEvent.Status]
        STATUS_REJECTED: _ClassVar[OrderEvent.Status]
        STATUS_UNKNOWN: _ClassVar[OrderEvent.Status]
        STATUS_REFUSED: _ClassVar[OrderEvent.Status]
        STATUS_EXPIRED: _ClassVar[OrderEvent.Status]
        STATUS_FLAT: _ClassVar[OrderEvent.Status]
    STATUS_UNSPECIFIED: OrderEvent.Status
    STATUS_SUBMITTED: OrderEvent.Status
    STATUS_PARTIALLY_FILLED: OrderEvent.Status
    STATUS_FILLED: OrderEvent.Status
    STATUS_CANCELLED: OrderEvent.Status
    STATUS_REJECTED: OrderEvent.Status
    STATUS_UNKNOWN: OrderEvent.Status
    STATUS_REFUSED: OrderEvent.Status
    STATUS_EXPIRED: OrderEvent.Status
    STATUS_FLAT: OrderEvent.Status
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    INTENT_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_LINK_ID_FIELD_NUMBER: _ClassVar[int]
    CHILD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LEG_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    REDUCE_ONLY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    FILLED_QUANTITY_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_PRICE_FIELD_NUMBER: _ClassVar[int]
    TARGET_PRICE_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_PRICE_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    INTENT_CLOSED_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_VERSION_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    run_id: str
    account: str
    symbol: str
    intent_id: str
    order_link_id: str
    child: int
    status: OrderEvent.Status
    leg: _intent_pb2.Intent.Leg
    side: _intent_pb2.Intent.Side
    reduce_only: bool
    quantity: str
    filled_quantity: str
    average_price: str
    target_price: str
    trigger_price: str
    trigger_time_ms: int
    reason: str
    detail: str
    intent_closed: bool
    event_time_ms: int
    day: str
    strategy_version: str
    def __init__(self, event_id: _Optional[str] = ..., run_id: _Optional[str] = ..., account: _Optional[str] = ..., symbol: _Optional[str] = ..., intent_id: _Optional[str] = ..., order_link_id: _Optional[str] = ..., child: _Optional[int] = ..., status: _Optional[_Union[OrderEvent.Status, str]] = ..., leg: _Optional[_Union[_intent_pb2.Intent.Leg, str]] = ..., side: _Optional[_Union[_intent_pb2.Intent.Side, str]] = ..., reduce_only: _Optional[bool] = ..., quantity: _Optional[str] = ..., filled_quantity: _Optional[str] = ..., average_price: _Optional[str] = ..., target_price: _Optional[str] = ..., trigger_price: _Optional[str] = ..., trigger_time_ms: _Optional[int] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., intent_closed: _Optional[bool] = ..., event_time_ms: _Optional[int] = ..., day: _Optional[str] = ..., strategy_version: _Optional[str] = ...) -> None: ...

class Fill(_message.Message):
    __slots__ = ("exec_id", "run_id", "account", "symbol", "order_link_id", "side", "quantity", "price", "fee", "fee_rate", "is_maker", "kind", "exec_time_ms", "order_id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Fill.Kind]
        KIND_TRADE: _ClassVar[Fill.Kind]
        KIND_FUNDING: _ClassVar[Fill.Kind]
        KIND_LIQUIDATION: _ClassVar[Fill.Kind]
        KIND_OTHER: _ClassVar[Fill.Kind]
    KIND_UNSPECIFIED: Fill.Kind
    KIND_TRADE: Fill.Kind
    KIND_FUNDING: Fill.Kind
    KIND_LIQUIDATION: Fill.Kind
    KIND_OTHER: Fill.Kind
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    ORDER_LINK_ID_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    FEE_FIELD_NUMBER: _ClassVar[int]
    FEE_RATE_FIELD_NUMBER: _ClassVar[int]
    IS_MAKER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EXEC_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    exec_id: str
    run_id: str
    account: str
    symbol: str
    order_link_id: str
    side: _intent_pb2.Intent.Side
    quantity: str
    price: str
    fee: str
    fee_rate: str
    is_maker: bool
    kind: Fill.Kind
    exec_time_ms: int
    order_id: str
    def __init__(self, exec_id: _Optional[str] = ..., run_id: _Optional[str] = ..., account: _Optional[str] = ..., symbol: _Optional[str] = ..., order_link_id: _Optional[str] = ..., side: _Optional[_Union[_intent_pb2.Intent.Side, str]] = ..., quantity: _Optional[str] = ..., price: _Optional[str] = ..., fee: _Optional[str] = ..., fee_rate: _Optional[str] = ..., is_maker: _Optional[bool] = ..., kind: _Optional[_Union[Fill.Kind, str]] = ..., exec_time_ms: _Optional[int] = ..., order_id: _Optional[str] = ...) -> None: ...
