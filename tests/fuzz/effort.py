"""How many requests are made, and which; and what no answer may be.

AIRLOCK_FUZZ_REQUESTS: in all, 2,500 in `make test`, 100,000 in `make test-fuzz`. AIRLOCK_FUZZ_SEED: the same number
makes the same requests; `make test` always has 0, `make test-fuzz` another one each time, and says which.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

REQUESTS = int(os.environ.get("AIRLOCK_FUZZ_REQUESTS", "2500"))
BRAKES = ("POST /v1/admin/engine/drain", "POST /v1/admin/engine/maintenance")
"""They do what they are for: after them a server answers 503. So nobody asks for them who has a key."""
SEED = int(os.environ.get("AIRLOCK_FUZZ_SEED", "0"))


_BUSY = ("busy", "request_throttled", "endpoint_off")
"""What a server that is well answers with 503: not in this moment, or not while its owner has switched it off."""


@dataclass
class Made:
    """Hypothesis stops early where there is nothing new to ask, so what was asked for says little."""

    count: int = 0


made = Made()


def is_fault(status: int, content: bytes) -> bool:
    """Whether the server failed."""
    return status >= 500 and not (status == 503 and json.loads(content).get("code") in _BUSY)
