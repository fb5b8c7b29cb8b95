from dispatchd.sdk.result import ComputeResult as ComputeResult
from dispatchd.sdk.router import ComputeRouter as ComputeRouter
from dispatchd.sdk.wallet import Wallet as Wallet

__version__: str
