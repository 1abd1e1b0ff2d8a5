"""What an operator can set: the table of settings, its kinds of values, reading the environment, and display."""

from spanmeter.settings.display import SettingRow, rows
from spanmeter.settings.kinds import Estimates, ListenAddress, ProviderNames, SettlementMode, usable_cores
from spanmeter.settings.loading import load, unknown_variables
from spanmeter.settings.table import TENANT_ATTRIBUTES, Settings, variables

__all__ = [
    "TENANT_ATTRIBUTES",
    "Estimates",
    "ListenAddress",
    "ProviderNames",
    "SettingRow",
    "Settings",
    "SettlementMode",
    "load",
    "rows",
    "unknown_variables",
    "usable_cores",
    "variables",
]
