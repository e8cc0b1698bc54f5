from atlas.guard.report import GuardError as GuardError
from atlas.guard.verification import verify as verify

__version__: str
