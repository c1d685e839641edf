# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest (-p instant): prints a failure when it happens, not only at the end of the run,
which a host of the lab may not live to see."""
import pytest


class Instant:
    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.terminal.ensure_newline()
            self.terminal.section(f"{report.nodeid} ({report.when})")
            self.terminal.line(report.longreprtext)


@pytest.hookimpl(trylast=True)     # after the terminal's reporter
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal:    # xdist's workers have none; they report to the one that has
        config.pluginmanager.register(Instant(terminal))
