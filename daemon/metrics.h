/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics for Prometheus: a file in its text format, replaced atomically when something has
 * changed and every 15 s, for node_exporter's textfile collector.  A file and not a socket: its
 * readers need no right to talk to the daemon, and cannot keep it from its work.  The time in it
 * says whether the daemon is alive; it is removed when the daemon ends in order.
 */
#ifndef CAISSON_DAEMON_METRICS_H
#define CAISSON_DAEMON_METRICS_H

#include "daemon/lender.h"

#define METRICS_EVERY_MS 15000

void metrics_write(const struct lender *l);
void metrics_remove(const struct lender *l);

#endif
