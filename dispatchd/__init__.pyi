from dispatchd.sdk.result import ComputeResult as ComputeResult
from dispatchd.sdk.router import ComputeRouter as ComputeRouter

__version__: str
