"""What a client asks for when it asks for bars: TWS's texts become values, or one of TWS's refusals.

The order of the checks and the texts are those that public reimplementations of IB's gateway give; users' reports
confirm several of them (10314, the list of bar sizes, "made in years", "adjusted last", "invalid step").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from ibapi.protobuf.HistoricalDataRequest_pb2 import HistoricalDataRequest

from quant.core.barsize import DAY, MINUTE, SECOND, SIZES, BarSize
from quant.tws.exchange.hours import utc
from quant.tws.exchange.refusal import HMDS, Refusal, invalid

# TWS's own spellings, in the order in which it lists them.
SPELLINGS: Final = {
    "1 secs": "1s", "5 secs": "5s", "10 secs": "10s", "15 secs": "15s", "30 secs": "30s", "1 min": "1m", "2 mins": "2m",
    "3 mins": "3m", "5 mins": "5m", "10 mins": "10m", "15 mins": "15m", "20 mins": "20m", "30 mins": "30m",
    "1 hour": "1h", "2 hours": "2h", "3 hours": "3h", "4 hours": "4h", "8 hours": "8h", "1 day": "1d",
    "1W": "1w", "1M": "1mo",
}  # fmt: skip
# Users found these to work too, although the refusal does not list them.
_ALSO: Final = {"1 week": "1w", "1 month": "1mo"}
SHOWN: Final = ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST", "SCHEDULE")
_NOT_LIVE: Final = ("BID_ASK", "ADJUSTED_LAST", "SCHEDULE")

INVALID_END: Final = Refusal(
    10314,
    "End Date/Time: The date, time, or time-zone entered is invalid. The correct format is yyyymmdd hh:mm:ss xx/xxxx "
    "where yyyymmdd and xx/xxxx are optional. E.g.: 20031126 15:59:00 US/Eastern  Note that there is a space between "
    "the date and time, and between the time and time-zone.  If no date is specified, current date is assumed. If no "
    "time-zone is specified, local time-zone is assumed(deprecated).  You can also provide yyyymmddd-hh:mm:ss time is "
    "in UTC. Note that there is a dash between the date and time in UTC notation.",
)
NO_ZONE: Final = Refusal(
    2174, "Warning: You submitted request with date-time attributes without explicit time zone. Please switch to use "
    "yyyymmdd-hh:mm:ss in UTC or use instrument time zone, like US/Eastern. Implied time zone functionality will be "
    "removed in the next API release",
)  # fmt: skip

_SECONDS: Final = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400, "Y": 365 * 86_400}
_MOST: Final = {
    "S": (86_400, "Historical data request for greater than 86400 seconds rejected."),
    "D": (365, "Historical data requests for durations longer than 365 days must be made in years."),
    "W": (52, "Historical data request for durations longer than 52 weeks must be made in years."),
    "M": (12, "Historical data request for durations longer than 12 months must be made in years."),
    "Y": (200, "Historical data requested duration is invalid."),
}
# IB's step table: up to this duration, bars from this size to that one (historical_limitations.html).
STEPS: Final = tuple(
    (upto_s, SIZES[least], SIZES[most])
    for upto_s, least, most in (
        (60, "1s", "1m"), (120, "1s", "2m"), (1800, "1s", "30m"), (3600, "5s", "1h"), (14_400, "10s", "3h"),
        (28_800, "30s", "8h"), (86_400, "1m", "1d"), (2 * 86_400, "2m", "1d"), (7 * 86_400, "3m", "1w"),
        (30 * 86_400, "30m", "1mo"), (365 * 86_400, "1d", "1mo"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Duration:
    """count of S (seconds), D, W, M or Y."""

    count: int
    unit: str

    @property
    def seconds(self) -> int:
        """Nominal length: a month counts as 30 days, a year as 365."""
        return self.count * _SECONDS[self.unit]

    def before(self, moment: datetime) -> datetime:
        """Return the same time of day earlier by the calendar; a month's last days have their like or the last one."""
        if self.unit in ("S", "D", "W"):
            return moment - timedelta(seconds=self.seconds)
        months = self.count * (12 if self.unit == "Y" else 1)
        year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
        for day in (moment.day, 30, 29, 28):
            try:
                return moment.replace(year=max(year, 1), month=month + 1, day=day)
            except ValueError:
                continue
        raise AssertionError("every month has 28 days")


@dataclass(frozen=True, slots=True)
class BarRequest:
    """A request for bars that passed TWS's checks. end: UTC ns, None = now. warning: to be told beside the answer."""

    size: BarSize
    duration: Duration
    what: str
    rth: bool
    format_date: int
    end: int | None
    live: bool
    warning: Refusal | None = None


def parse(
    asked: HistoricalDataRequest, now: int, local_zone: str, strict: bool = True
) -> BarRequest | Refusal:
    """Return what `asked` means, or why TWS would not take it.

    now: UTC ns. local_zone: that of the machine TWS runs on, for an end without a zone. strict: refuse whatever is
    outside of IB's step table; else only small bars over long durations are, as at a real one.
    """
    end = parse_end(asked.endDateTime, now, local_zone)
    if isinstance(end, Refusal):
        return end
    moment, warning = end
    duration = parse_duration(asked.duration)
    if isinstance(duration, Refusal):
        return duration
    adjusted = asked.whatToShow.upper() == "ADJUSTED_LAST"
    if adjusted and moment is not None:
        return invalid("End date not supported with adjusted last")
    size = parse_size(asked.barSizeSetting)
    if isinstance(size, Refusal):
        return size
    if adjusted and size.ns > DAY:
        return invalid("Multi day bar size not supported with adjusted last")
    request = BarRequest(
        size,
        duration,
        asked.whatToShow.upper(),
        asked.useRTH,
        asked.formatDate,
        moment,
        asked.keepUpToDate,
        warning,
    )
    return _shown(request) or step_refusal(size, duration, strict) or request


def _shown(request: BarRequest) -> Refusal | None:
    if request.what not in SHOWN:
        return invalid(f"What to show value of {request.what} rejected.")
    if request.format_date not in (1, 2):
        return invalid(f"Date formatting selection of {request.format_date} rejected.")
    if request.what == "SCHEDULE" and request.size.name != "1d":
        return invalid("Only daily resolution supported for Schedule requests")
    if request.live and request.end is not None:
        return invalid("End date not supported with live updates")
    if request.live and request.what in _NOT_LIVE:
        return invalid("Source price not supported with live updates")
    return None


def parse_size(text: str) -> BarSize | Refusal:
    """Return the bar size that TWS reads from `text`: its own spellings only."""
    name = SPELLINGS.get(text) or _ALSO.get(text)
    if name is None:
        legal = ", ".join(SPELLINGS)
        return invalid(f"Historical data bar size setting is invalid. Legal ones are: {legal}")
    return SIZES[name]


def parse_duration(text: str) -> Duration | Refusal:
    """Return the duration that TWS reads from `text`: "integer{SPACE}unit", or a number of seconds."""
    if not text:
        return invalid("Historical data request duration not specified.")
    match = re.fullmatch(r"([0-9]+)(?: ([SDWMYsdwmy]))?", text)
    if match is None:
        return invalid(
            "When specifying a unit, historical data request duration format is integer{SPACE}unit (S|D|W|M|Y)."
        )
    count, unit = int(match[1]), (match[2] or "S").upper()
    if count < 1 or (unit == "S" and count < 30):
        return invalid("Historical data requested duration is invalid.")
    most, cause = _MOST[unit]
    return invalid(cause) if count > most else Duration(count, unit)


def step_refusal(size: BarSize, duration: Duration, strict: bool) -> Refusal | None:
    """Return why bars of `size` may not be asked for over `duration`, None if they may.

    Small bars over too long a time are refused by IB's data farm in the words that users report. What lies
    outside of the step table otherwise is only slow at IB; `strict` refuses it, so that who relies on it is found out.
    """
    least = next((low for upto, low, _ in STEPS if duration.seconds <= upto), STEPS[-1][1])
    most = next((high for upto, _, high in reversed(STEPS) if duration.seconds >= upto), STEPS[0][2])
    if size.ns < least.ns and size.ns < MINUTE:
        return Refusal(162, f"{HMDS}invalid step: {size.ns // SECOND}")
    if strict and not least.ns <= size.ns <= most.ns:
        told = f"{duration.count} {duration.unit}"
        return invalid(
            f"Bars of {size} are outside of the step table for {told} (simulator: {least} to {most})"
        )
    return None


def parse_end(text: str, now: int, local_zone: str) -> tuple[int | None, Refusal | None] | Refusal:
    """Return (UTC ns or None for "now", a warning or None), or error 10314.

    "20230103-15:00:00" is UTC, "20230103 10:00:00 US/Eastern" says its zone, without one it is the machine's and draws
    warning 2174; the date may lack, then it is today's. "GMT" is refused, as users report.
    """
    words = text.split()
    if not words:
        return None, None
    dashed = re.fullmatch(r"(\d{8})-(\d{2}:\d{2}:\d{2})", words[0])
    if dashed is not None:
        in_utc = _moment(dashed[1], dashed[2], "UTC") if len(words) == 1 else INVALID_END
        return in_utc if isinstance(in_utc, Refusal) else (in_utc, None)
    day = words.pop(0) if re.fullmatch(r"\d{8}", words[0]) else None
    if not words or len(words) > 2 or not re.fullmatch(r"\d{1,2}:\d{2}:\d{2}", words[0]):
        return INVALID_END
    zone = words[1] if len(words) == 2 else local_zone
    if zone == "GMT" or not _known(zone):
        return INVALID_END
    moment = _moment(day or f"{utc(now).astimezone(ZoneInfo(zone)):%Y%m%d}", words[0], zone)
    if isinstance(moment, Refusal):
        return moment
    return moment, None if len(words) == 2 else NO_ZONE


def _moment(day: str, time: str, zone: str) -> int | Refusal:
    try:
        moment = datetime.strptime(f"{day} {time}", "%Y%m%d %H:%M:%S").replace(tzinfo=ZoneInfo(zone))
    except ValueError:
        return INVALID_END
    # int64 ns reach to 2262; before 1978 TWS takes no date.
    return int(moment.timestamp()) * SECOND if 1978 <= moment.year <= 2200 else INVALID_END


def _known(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return False
    return True
