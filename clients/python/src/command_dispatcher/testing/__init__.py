"""Test an agent without a dispatcher: `Service` plays it in memory, and the test controls the time.

```python
async with testing.Service(agent) as service:
    command = await service.deliver("restart", {"now": True}).ended()
    assert command.status == "completed"
```
"""

from .memory import Crash, MemoryStorage
from .service import Sent, Service

__all__ = ["Crash", "MemoryStorage", "Sent", "Service"]
