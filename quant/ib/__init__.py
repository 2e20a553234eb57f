"""Client of TWS and IB Gateway. Its modules import ibapi, so the library is checked before the first of them."""

from quant.ib.library import check_library

check_library()
