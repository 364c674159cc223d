"""Whose entries an agent runs: running an entry is running its author's code.

Trusted are the agent's own user, root, and who is named explicitly. In a store that is shared on purpose
(``localtrack init --shared``) every member of the group that owns the store's folder is trusted too: such a member
can write any file of the store, so a narrower rule would only look safer.

Source: docs/format/v1.md, "Who may enqueue".
"""

from __future__ import annotations

import os
from pathlib import Path

from localtrack.records.plain import dataclass, field

ROOT_UID = 0


@dataclass(frozen=True, slots=True)
class Trust:
    """Decides by user id.

    Attributes:
        uids: users that are trusted in any case.
        group: group whose members are trusted; None for none.
    """

    uids: frozenset[int]
    group: int | None = None
    _known: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def allows(self, uid: int) -> bool:
        """Tell whether entries of user ``uid`` may run."""
        if uid in self.uids:
            return True
        if self.group is None:
            return False
        if uid not in self._known:
            self._known[uid] = _is_member(uid, self.group)
        return self._known[uid]


def store_trust(root: Path, *, is_shared: bool, also: frozenset[int] = frozenset()) -> Trust:
    """Return the rule for the store at ``root``.

    Args:
        root: the store's folder; its group counts when the store is shared.
        is_shared: whether the store was made for a team.
        also: user ids that the operator of the agent trusts as well.
    """
    group = root.stat().st_gid if is_shared else None
    return Trust(frozenset({os.getuid(), ROOT_UID}) | also, group)


def _is_member(uid: int, gid: int) -> bool:
    import grp
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return False
    if user.pw_gid == gid:
        return True
    try:
        return user.pw_name in grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
