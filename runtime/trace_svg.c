// SPDX-License-Identifier: Apache-2.0
/*
 * The picture: a row per start, its phases as bars on a common axis, and below them what the
 * colours mean, with the median of each phase.  What only waits for another lane is left out, so
 * that the bars of a row lie one after the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "runtime/trace.h"

#define WIDTH 1100
#define LEFT 190 /* names */
#define RIGHT 90 /* totals */
#define TOP 56
#define ROW 20
#define BAR 14
#define LEGEND_ROW 18
#define LEGEND_COLUMNS 3
#define NAME_SHOWN 26

/* A hue per lane, a shade per phase of it. */
static const char *const colours[TRACE_LANES][8] = {
	[TRACE_COMMAND] = {"#1f5fa8", "#3f7fc4", "#6fa3d8", "#16467c", "#8fbbe4", "#2b6fb8",
			   "#5591cc", "#a9cbea"},
	[TRACE_MONITOR] = {"#b8541a", "#e07b39", "#f2a66c", "#8f3f10", "#f7c69f", "#cc6a2a",
			   "#e8935a", "#fadcc4"},
	[TRACE_GUEST] = {"#2f7d3b", "#58a866", "#8fcf99", "#1f5c2a", "#b5e0bc", "#44924f",
			 "#74bd80", "#d3eed7"},
	[TRACE_PROCESS] = {"#6b6b6b", "#8e8e8e", "#b0b0b0", "#4c4c4c", "#c8c8c8", "#7d7d7d",
			   "#9f9f9f", "#dcdcdc"},
};

struct picture {
	const struct trace *t;
	FILE *f;
	bool align, whole;
	uint64_t zero_ns, span_ns; /* of the axis */
};

static const char *colour(unsigned int number)
{
	enum trace_lane lane = trace_phase_lane(number);
	unsigned int nth = 0;

	for (unsigned int i = 0; i < number; i++)
		nth += trace_phase_lane(i) == lane;
	return colours[lane][nth % ARRAY_SIZE(colours[lane])];
}

/* Phases up to this are the start. */
static bool is_shown(const struct picture *p, const struct trace_phase *phase)
{
	return !phase->waits && (p->whole || phase->lane != TRACE_PROCESS) &&
	       (p->whole ||
		(strcmp(phase->to, "machine-gone") != 0 && strcmp(phase->to, "destroyed") != 0));
}

static bool shown(const struct picture *p, const struct trace_start *s, unsigned int number,
		  struct trace_phase *ret)
{
	return trace_phase(s, number, ret) && is_shown(p, ret);
}

static uint64_t end_of(const struct picture *p, const struct trace_start *s)
{
	uint64_t end = trace_begin(s);
	struct trace_phase phase;

	for (unsigned int i = 0; i < trace_phases(); i++)
		if (shown(p, s, i, &phase) && phase.end_ns > end)
			end = phase.end_ns;
	return end;
}

static void set_axis(struct picture *p)
{
	uint64_t zero = UINT64_MAX, end = 0;

	for (unsigned int i = 0; i < p->t->n; i++) {
		uint64_t begin = trace_begin(&p->t->starts[i]), last = end_of(p, &p->t->starts[i]);

		if (p->align) {
			last -= begin;
			begin = 0;
		}
		zero = begin < zero ? begin : zero;
		end = last > end ? last : end;
	}
	p->zero_ns = zero;
	p->span_ns = end > zero ? end - zero : 1;
}

/* Text of ours, or a name: printable ASCII. */
static void put_text(FILE *f, const char *text, size_t most)
{
	for (size_t i = 0; text[i] && i < most; i++)
		switch (text[i]) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		default:
			fputc(text[i], f);
		}
	if (strlen(text) > most)
		fputs("...", f);
}

static double scale(const struct picture *p, uint64_t ns)
{
	return (double)ns / (double)p->span_ns * (WIDTH - LEFT - RIGHT);
}

/* 1, 2 or 5 times a power of ten, so that there are at most ten of them. */
static uint64_t step_of(uint64_t span)
{
	static const uint64_t factors[] = {1, 2, 5};

	for (uint64_t ten = 1;; ten *= 10)
		for (size_t i = 0; i < ARRAY_SIZE(factors); i++)
			if (span / (ten * factors[i]) <= 10)
				return ten * factors[i];
}

static void put_time(FILE *f, uint64_t ns, uint64_t step)
{
	if (step >= 100000000)
		fprintf(f, "%.1f s", (double)ns / 1e9);
	else if (step >= 1000000)
		fprintf(f, "%.0f ms", (double)ns / 1e6);
	else
		fprintf(f, "%.0f \302\265s", (double)ns / 1e3);
}

static void put_axis(const struct picture *p, unsigned int height)
{
	uint64_t step = step_of(p->span_ns);

	for (uint64_t ns = 0; ns <= p->span_ns; ns += step) {
		double x = LEFT + scale(p, ns);

		fprintf(p->f, "<line x1='%.1f' y1='%d' x2='%.1f' y2='%u' stroke='#ddd'/>", x,
			TOP - 6, x, height);
		fprintf(p->f, "<text x='%.1f' y='%d' text-anchor='middle' fill='#555'>", x,
			TOP - 10);
		put_time(p->f, ns, step);
		fprintf(p->f, "</text>\n");
	}
}

static void put_phase(const struct picture *p, const struct trace_phase *phase, uint64_t zero,
		      unsigned int y)
{
	double x = LEFT + scale(p, phase->begin_ns - zero);
	double w = scale(p, phase->end_ns - phase->begin_ns);

	fprintf(p->f, "<rect x='%.2f' y='%u' width='%.2f' height='%d' fill='%s'><title>", x, y,
		w > 0.3 ? w : 0.3, BAR, colour(phase->number));
	put_text(p->f, phase->label, SIZE_MAX);
	fprintf(p->f, ": %.3f ms</title></rect>\n",
		(double)(phase->end_ns - phase->begin_ns) / 1e6);
}

static void put_row(const struct picture *p, const struct trace_start *s, unsigned int y)
{
	uint64_t begin = trace_begin(s), zero = p->align ? begin : p->zero_ns;
	uint64_t end = end_of(p, s);
	struct trace_phase phase;

	fprintf(p->f, "<text x='%d' y='%u' text-anchor='end'>", LEFT - 8, y + BAR - 3);
	put_text(p->f, s->name, NAME_SHOWN);
	fprintf(p->f, "<title>");
	put_text(p->f, s->name, SIZE_MAX);
	fprintf(p->f, "</title></text>\n");
	for (unsigned int i = 0; i < trace_phases(); i++)
		if (shown(p, s, i, &phase))
			put_phase(p, &phase, zero, y);
	fprintf(p->f, "<text x='%.1f' y='%u' fill='#555'>%.1f ms</text>\n",
		LEFT + scale(p, end - zero) + 5, y + BAR - 3, (double)(end - begin) / 1e6);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of those starts that have the phase; how many they are. */
static unsigned int median(const struct picture *p, unsigned int number, uint64_t *values,
			   double *ret_ms)
{
	struct trace_phase phase;
	unsigned int n = 0;

	for (unsigned int i = 0; i < p->t->n; i++)
		if (shown(p, &p->t->starts[i], number, &phase))
			values[n++] = phase.end_ns - phase.begin_ns;
	if (!n)
		return 0;
	qsort(values, n, sizeof(*values), ascending);
	*ret_ms = (double)(values[(n - 1) / 2] + values[n / 2]) / 2e6;
	return n;
}

static unsigned int put_legend(const struct picture *p, unsigned int y, uint64_t *values)
{
	unsigned int at = 0;
	double ms = 0;

	for (unsigned int i = 0; i < trace_phases(); i++) {
		unsigned int x = 20 + at % LEGEND_COLUMNS * ((WIDTH - 40) / LEGEND_COLUMNS);
		unsigned int row = y + at / LEGEND_COLUMNS * LEGEND_ROW;

		if (!median(p, i, values, &ms))
			continue;
		fprintf(p->f, "<rect x='%u' y='%u' width='12' height='12' fill='%s'/>", x, row,
			colour(i));
		fprintf(p->f, "<text x='%u' y='%u'>%s: %s, median %.2f ms</text>\n", x + 18,
			row + 10, trace_lane_name(trace_phase_lane(i)), trace_phase_label(i), ms);
		at++;
	}
	return (at + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS;
}

static unsigned int legend_rows(const struct picture *p)
{
	struct trace_phase phase;
	unsigned int n = 0;

	for (unsigned int i = 0; i < trace_phases(); i++)
		for (unsigned int k = 0; k < p->t->n; k++)
			if (shown(p, &p->t->starts[k], i, &phase)) {
				n++;
				break;
			}
	return (n + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS;
}

int trace_write_svg(const struct trace *t, bool align, bool whole, FILE *f, struct error *err)
{
	_cleanup_free_ uint64_t *values = calloc(t->n + 1, sizeof(*values));
	struct picture p = {.t = t, .f = f, .align = align, .whole = whole};
	const unsigned int rows_end = TOP + t->n * ROW;

	if (!values)
		return error_set(err, ENOMEM, "out of memory");
	set_axis(&p);
	fprintf(f,
		"<?xml version='1.0' encoding='UTF-8'?>\n"
		"<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%u' font-size='11' "
		"font-family='sans-serif'>\n<rect width='100%%' height='100%%' fill='white'/>\n",
		WIDTH, rows_end + 24 + legend_rows(&p) * LEGEND_ROW);
	fprintf(f, "<text x='20' y='22' font-size='15'>%u start%s, %s</text>\n", t->n,
		t->n == 1 ? "" : "s",
		align ? "each from its own beginning" : "on the machine's clock");
	put_axis(&p, rows_end);
	for (unsigned int i = 0; i < t->n; i++)
		put_row(&p, &t->starts[i], TOP + i * ROW);
	put_legend(&p, rows_end + 16, values);
	fprintf(f, "</svg>\n");
	return fflush(f) == EOF ? error_errno(err, "write the picture") : 0;
}
