// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_slots(const struct lender *l, FILE *f)
{
	unsigned int n[SLOT_STATES][2] = {0};
	uint64_t bytes[SLOT_STATES] = {0};

	for (uint32_t i = 0; i < l->pool.n; i++) {
		const struct slot *s = l->pool.v[i];

		n[s->state][slot_has_function(s)]++;
		bytes[s->state] += s->memory + s->growth;
	}
	head(f, "caisson_slots", "gauge", "Slots by state, and whether they have a function.");
	for (uint8_t i = 0; i < SLOT_STATES; i++)
		for (int k = 0; k < 2; k++)
			fprintf(f, "caisson_slots{state=\"%s\",function=\"%s\"} %u\n",
				lease_state_name(i), k ? "yes" : "no", n[i][k]);
	head(f, "caisson_slots_memory_bytes", "gauge", "Guest memory of slots by state.");
	for (uint8_t i = 0; i < SLOT_STATES; i++)
		fprintf(f, "caisson_slots_memory_bytes{state=\"%s\"} %" PRIu64 "\n",
			lease_state_name(i), bytes[i]);
}

static void put_one(FILE *f, const char *name, const char *type, const char *help, uint64_t n)
{
	head(f, name, type, help);
	fprintf(f, "%s %" PRIu64 "\n", name, n);
}

static void put_all(const struct lender *l, FILE *f)
{
	put_slots(l, f);
	put_one(f, "caisson_slots_jobs", "gauge", "Slots being worked on.", l->jobs);
	put_one(f, "caisson_slots_draining", "gauge", "1: nothing is lent.", l->pool.draining);
	put_one(f, "caisson_leases_granted_total", "counter", "Leases since the start.",
		l->granted);
	put_one(f, "caisson_leases_refused_total", "counter", "Requests for one that failed.",
		l->refused);
	put_one(f, "caisson_leases_returned_total", "counter",
		"Leases that came back, having been "
		"taken.",
		l->returned);
	put_one(f, "caisson_slots_quarantined_total", "counter", "Slots that went into quarantine.",
		l->quarantined);
	put_one(f, "caissond_start_time_seconds", "gauge", "When the daemon was started.",
		(uint64_t)l->since);
	put_one(f, "caissond_written_time_seconds", "gauge",
		"When this was written: long ago, the daemon is not alive.", (uint64_t)time(NULL));
}

void metrics_write(const struct lender *l)
{
	char tmp[PATH_MAX];
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.tmp", l->config.metrics);
	f = fopen(tmp, "we");
	if (!f)
		return;
	put_all(l, f);
	/* Missing metrics are no reason to stop lending. */
	if (fclose(f) != 0 || rename(tmp, l->config.metrics) < 0)
		unlink(tmp);
}

void metrics_remove(const struct lender *l)
{
	unlink(l->config.metrics);
}
