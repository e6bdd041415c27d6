"""Imports redis-py without OpenTelemetry's SDK: where both are installed it takes that along, for metrics that are off.

It is for whoever starts the process: 2.5 MB and 25 ms.
"""

import importlib
import sys
from types import ModuleType
from typing import cast

SDK = "opentelemetry.sdk"

if SDK not in sys.modules:
    sys.modules[SDK] = cast(ModuleType, None)  # which makes its import an ImportError
    importlib.import_module("redis")
    del sys.modules[SDK]
