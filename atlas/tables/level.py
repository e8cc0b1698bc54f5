"""The level of all tests of a study, and what so many seeds can reach."""

LEVEL = 0.05


def attainable(seeds: int) -> float:
    """The smallest p-value that the sign-flip test of so many seeds can give, 2 / 2^n, in a family of any size: where
    it is not below ``LEVEL``, nothing can be found however large the difference."""
    return min(1.0, 2.0 ** (1 - seeds))
