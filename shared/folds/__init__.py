"""What the log is folded into: pure, for the persister that folds and the edges that read.

Whoever adds a projection adds it to `PROJECTIONS`. The persister follows the log for each of them.
"""

from __future__ import annotations

from shared.folds.inbox import INBOX
from shared.folds.projection import Projection
from shared.folds.streams import STREAMS

PROJECTIONS: tuple[Projection, ...] = (STREAMS, INBOX)
