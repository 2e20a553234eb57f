"""`quant config show`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from quant.app import config, output
from quant.app.command import command, data_option
from quant.app.output import Result

HIDDEN: Final = "(set, not shown)"


@command("show")
@data_option
def show(data: Path | None) -> Result:
    """Show every setting, its value and where that came from.

    Later layers win: defaults, quant.toml, quant.local.toml, QUANT__SECTION__KEY, the command line.
    """
    settings = config.load({"project.data": None if data is None else str(data)})
    secret = {key.full for key in config.KEYS if key.secret}
    found = {
        n: replace(s, value=HIDDEN) if n in secret and s.value else s for n, s in settings.values.items()
    }
    for strategy, params in settings.params.items():
        found |= {f"{config.PARAMS}.{strategy}.{name}": s for name, s in params.items()}
    helps = {key.full: key.help for key in config.KEYS}
    document = {
        "project": settings.project,
        "data": settings.data,
        "settings": {n: {"value": s.value, "from": s.origin, "help": helps.get(n)} for n, s in found.items()},
    }
    rows = [(n, "none" if s.value in (None, ()) else s.value, s.origin) for n, s in found.items()]
    project = (
        "none found (no quant.toml here or above)" if settings.project is None else str(settings.project)
    )
    head = [f"project  {project}", f"data     {settings.data}", ""]
    return Result(document, [*head, output.table(("setting", "value", "from"), rows)])
