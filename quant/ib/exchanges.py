"""IB's names of exchanges and time zones, as calendars and zones that everybody knows.

IB's names: its exchange listings (interactivebrokers.com > Products > Exchange Listings) and what contract details
carry. Calendars: exchange_calendars, whose own table names the markets (ISO 10383 codes). A venue that is not here has
no calendar (None), which the store and the engines say where they need one.
"""

from __future__ import annotations

from typing import Final

STOCKS: Final = {
    # United States: one calendar for all venues
    **dict.fromkeys(("NYSE", "NASDAQ", "ARCA", "AMEX", "BATS", "IEX", "ISLAND", "CBOE", "PINK"), "XNYS"),
    **dict.fromkeys(("BEX", "NYSENAT", "CHX", "EDGEA", "PSX", "MEMX", "LTSE", "OTCLNKECN", "NMS"), "XNYS"),
    # Canada
    **dict.fromkeys(("TSE", "VENTURE", "AEQLIT", "PURE"), "XTSE"),
    # Europe
    **dict.fromkeys(("LSE", "LSEETF", "LSEIOB1"), "XLON"),
    **dict.fromkeys(("IBIS", "IBIS2"), "XETR"),  # IB's names of Xetra
    **dict.fromkeys(("FWB", "FWB2"), "XFRA"),  # Frankfurt's floor
    "SWB": "XSTU",
    "SBF": "XPAR",
    "AEB": "XAMS",
    "ENEXT.BE": "XBRU",
    "BVL": "XLIS",
    **dict.fromkeys(("BVME", "BVME.ETF"), "XMIL"),
    "BM": "XMAD",
    **dict.fromkeys(("EBS", "VIRTX"), "XSWX"),
    "VSE": "XWBO",
    "SFB": "XSTO",
    "CPH": "XCSE",
    "HEX": "XHEL",
    "OSE": "XOSL",  # of Norway; Osaka is OSE.JPN
    "ISED": "XDUB",
    "WSE": "XWAR",
    "BUX": "XBUD",
    "PRA": "XPRA",
    # Asia, Pacific
    **dict.fromkeys(("TSEJ", "JPNNEXT", "CHIXJ"), "XTKS"),
    "SEHK": "XHKG",
    **dict.fromkeys(("SEHKNTL", "SEHKSTAR"), "XSHG"),  # Shanghai by way of Hong Kong
    "ASX": "XASX",
    "SGX": "XSES",
    "NSE": "XBOM",  # the two Indian exchanges keep one calendar
    "KSE": "XKRX",
    "TWSE": "XTAI",
    # elsewhere
    "MEXI": "XMEX",
    "TASE": "XTAE",
    "JSE": "XJSE",
}
FUTURES: Final = {
    **dict.fromkeys(("CME", "GLOBEX", "CBOT", "ECBOT", "NYMEX", "COMEX"), "CMES"),
    **dict.fromkeys(("NYBOT", "NYBOTF", "IPE", "ICEUS", "ICEEU", "ICEEUSOFT"), "IEPA"),
    "CFE": "XCBF",
    **dict.fromkeys(("EUREX", "DTB"), "XEUR"),
}
# The market that an index is computed from; what of it is quoted outside those hours is not asked for.
INDICES: Final = {
    **dict.fromkeys(("CBOE", "NASDAQ", "NYSE", "AMEX", "CME", "RUSSELL"), "XNYS"),
    **dict.fromkeys(("EUREX", "DTB", "IBIS"), "XETR"),
    "LSE": "XLON",
    **dict.fromkeys(("MONEP", "SBF"), "XPAR"),
    **dict.fromkeys(("FTA", "AEB"), "XAMS"),
    **dict.fromkeys(("OSE.JPN", "TSEJ"), "XTKS"),
    **dict.fromkeys(("HKFE", "SEHK"), "XHKG"),
    "ASX": "XASX",
}

# timeZoneId as TWS sends it; what is not here is an IANA name, or has one at its beginning: "EST (Eastern ...)".
# IB's three-letter names are places with summer time, not fixed offsets (ib_async contract hours, IB's examples).
ZONES: Final = {
    "EST": "America/New_York",
    "EST5EDT": "America/New_York",
    "US/Eastern": "America/New_York",
    "CST": "America/Chicago",
    "CST6CDT": "America/Chicago",
    "US/Central": "America/Chicago",
    "MET": "Europe/Berlin",
    "CET": "Europe/Berlin",
    "GMT": "Europe/London",
    "BST": "Europe/London",
    "GB": "Europe/London",
    "GB-Eire": "Europe/London",
    "JST": "Asia/Tokyo",
    "Japan": "Asia/Tokyo",
    "Hongkong": "Asia/Hong_Kong",
    "HKT": "Asia/Hong_Kong",
    "AET": "Australia/Sydney",
    "Australia/NSW": "Australia/Sydney",
}


def calendar_of(sec_type: str, listing: str) -> str | None:
    """Return the name in exchange_calendars of the sessions of a contract, None if we know none."""
    if sec_type in ("CASH", "CMDTY"):
        return "24/5"
    if sec_type == "CRYPTO":
        return "24/7"
    if sec_type in ("FUT", "CONTFUT", "FOP"):
        return FUTURES.get(listing)
    if sec_type == "IND":
        return INDICES.get(listing)
    return STOCKS.get(listing)


def zone_of(time_zone: str) -> str:
    """Return the IANA name of IB's `time_zone`; as it is where it needs no translation."""
    name = time_zone.partition("(")[0].strip()
    return ZONES.get(name, name)
