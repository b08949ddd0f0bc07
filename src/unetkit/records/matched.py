"""What became of a file's tensors when a network was started from them."""

from __future__ import annotations

from unetkit.records.saved import Saved


class Matched(Saved):
    """What became of the tensors of a file and of a network.

    Args:
        source: Where the weights come from.
        matched: Names in the network that were filled, folded and inflated ones among them.
        folded: Those of them that were folded to other image channels.
        inflated: Those of them that were given a further axis.
        left: Names in the network that stayed as they were, for want of a match.
        unmatched: Names in the file that found no place.
    """

    source: str
    matched: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    inflated: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All of it in one line.

        Example:
            >>> Matched(source="a", matched=("b", "c"), left=("d",)).sentence()
            '2 tensors from a (0 folded, 0 inflated), 1 left as they were, 0 of the source unused'
        """
        return (
            f"{len(self.matched)} tensors from {self.source} ({len(self.folded)} folded, "
            f"{len(self.inflated)} inflated), {len(self.left)} left as they were, "
            f"{len(self.unmatched)} of the source unused"
        )
