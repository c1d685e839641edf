/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timelines of starts (lib/timeline.h), read and shown: as Trace Event JSON, which Perfetto and
 * chrome://tracing open, and as a picture (SVG) of many starts side by side.
 *
 * The phases, who spends them, and the marks between which they lie are one table in
 * trace.c.  A timeline may be one that is still being written, or from an engine that makes
 * fewer marks: a phase is there when both its marks are.  A mark that the table does not
 * know is shown as an instant.
 */
#ifndef CAISSON_RUNTIME_TRACE_H
#define CAISSON_RUNTIME_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/error.h"

#define TRACE_FILE_MAX (1u << 20) /* bytes of one timeline */
#define TRACE_MARKS_MAX 64u	  /* of one start */
#define TRACE_NAME_MAX 128u

enum trace_lane { TRACE_COMMAND, TRACE_MONITOR, TRACE_GUEST, TRACE_PROCESS, TRACE_LANES };

struct trace_mark {
	uint64_t ns; /* CLOCK_MONOTONIC */
	char name[32];
};

struct trace_start {
	char name[TRACE_NAME_MAX]; /* of the container, or of the file; printable ASCII */
	struct trace_mark marks[TRACE_MARKS_MAX];
	unsigned int marks_n;
};

struct trace {
	struct trace_start *starts;
	unsigned int n;
};

/* An interval of a start. */
struct trace_phase {
	const char *label;
	enum trace_lane lane;
	unsigned int number;   /* of the phase, the same in all starts; below trace_phases() */
	const char *from, *to; /* marks */
	uint64_t begin_ns, end_ns;
	bool waits; /* for what another lane does meanwhile */
};

/*
 * Adds the starts of a timeline; each begins with the mark "command".  name: what they are called
 * (cut to TRACE_NAME_MAX).  0, or -EINVAL with a sentence that says which line is no mark.
 */
int trace_add(struct trace *t, const char *name, const char *text, size_t size, struct error *err);
void trace_done(struct trace *t);

/* How many phases there are. */
unsigned int trace_phases(void);
const char *trace_phase_label(unsigned int number);
enum trace_lane trace_phase_lane(unsigned int number);
const char *trace_lane_name(enum trace_lane lane);
/* Phase `number` of a start; false when it is not there. */
bool trace_phase(const struct trace_start *s, unsigned int number, struct trace_phase *ret);
/* A mark that no phase knows, from index *at on; NULL: no more.  *at: where to go on. */
const struct trace_mark *trace_instant(const struct trace_start *s, unsigned int *at);

/* The first mark of a start. */
uint64_t trace_begin(const struct trace_start *s);

/*
 * `align`: each start begins at 0, so that they can be compared; else where it began on the common
 * clock.  Times of the JSON are microseconds, each start is a process, each lane a thread of it.
 */
int trace_write_json(const struct trace *t, bool align, FILE *f, struct error *err);
/* `whole`: also the container's process and the end, not only the start. */
int trace_write_svg(const struct trace *t, bool align, bool whole, FILE *f, struct error *err);

#endif
