from atlas.base.attest import verify as verify
from atlas.base.report import GuardError as GuardError

__version__: str
