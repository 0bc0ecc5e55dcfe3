"""The one place that imports MapProxy's WMS, which asks for MapProxy's configuration as it is imported.

Without one MapProxy warns, and keeps a default for the thread that happened to import it.
"""

from __future__ import annotations

from typing import Any

from mapproxy.config.config import finish_base_config, load_default_config, local_base_config


def _configuration() -> Any:
    configuration = load_default_config()
    configuration.conf_base_dir = "."  # no file is named relative to it
    configuration.http.access_control_allow_origin = ""
    finish_base_config(configuration)
    return configuration


CONFIGURATION = _configuration()
"""MapProxy's defaults; CORS headers are the server's."""

with local_base_config(CONFIGURATION):
    from mapproxy.service.wms import WMSServer

__all__ = ["CONFIGURATION", "WMSServer", "local_base_config"]
