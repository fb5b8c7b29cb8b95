"""How a model's weights are rounded: what can be asked for, and what that means on a device."""

from typing import Literal, get_args

from dispatchd.engine import Device
from dispatchd.engine.prepare.manifest import Precision

Asked = Literal["auto"] | Precision

PRECISIONS: tuple[str, ...] = ("auto", *get_args(Precision))


def chosen_precision(asked: Asked, device: Device) -> Precision:
    """The precision in which weights are prepared for that device.

    `auto` is the one in which a job's answer does not depend on its company: int8 on the CPU. It
    depends on the device alone, never on the load.
    """
    if asked != "auto":
        return asked
    return "fp16" if device == "cuda" else "int8"
