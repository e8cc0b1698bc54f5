from atlas.guard.report import GuardError as GuardError
from atlas.guard.verification import verify as verify

__version__: str

def _is_own(argv: list[str], original: list[str]) -> bool: ...
