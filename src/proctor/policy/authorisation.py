"""Whether the policy authorises what a finding describes."""

from __future__ import annotations

from collections.abc import Sequence

from proctor.policy.records import Authorise, Policy
from proctor.policy.scope import Everywhere, parse

__all__ = ["authority"]


def authority(policy: Policy, category: str, targets: Sequence[str]) -> Authorise | None:
    """Return the entry of ``policy`` that authorises ``category`` done to ``targets``, or None.

    An entry speaks of a finding if its category is the finding's, or the finding's family (``compute``). Every target
    must lie in the scope of an entry that speaks of it; several entries may cover the targets together, and then the
    one that covers most of them is returned, the earlier of two that cover as many. One target outside is enough for
    None: a probe that leaves the range it was asked to audit is not authorised. Without targets only ``*`` covers.

    A target is an absolute path, an address, ``address:port`` or ``host:port``.
    """
    family = category.partition(".")[0]
    entries = [entry for entry in policy.authorise if entry.category in (category, family)]
    if not entries:
        return None
    scopes = [parse(entry.scope, policy.workspace) for entry in entries]
    if not targets:
        return next(
            (entry for entry, scope in zip(entries, scopes, strict=True) if isinstance(scope, Everywhere)), None
        )
    covered = [0] * len(entries)
    for target in targets:
        holding = [index for index, scope in enumerate(scopes) if scope.covers(target)]
        if not holding:
            return None
        for index in holding:
            covered[index] += 1
    return entries[covered.index(max(covered))]
