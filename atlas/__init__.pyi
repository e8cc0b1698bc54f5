from atlas.guard.attest import verify as verify
from atlas.guard.report import GuardError as GuardError

__version__: str
