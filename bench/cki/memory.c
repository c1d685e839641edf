// SPDX-License-Identifier: Apache-2.0
/*
 * memory: what programs do with memory that live on page faults.  Each case is the pattern of a
 * known program, not the program: a B-tree that grows; XSBench's tables and lookups; PARSEC's dedup
 * (pieces of a stream in buffers that come and go), canneal (exchanges in a netlist) and
 * fluidanimate (particles that are sorted into cells anew each frame).  All memory comes from the
 * kernel in the case's time and goes back in it, in pages of 4 KiB.
 */
#include <math.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "cases.h"

static volatile uint64_t sink; /* what was computed is used */

static void *get(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		failed("mmap");
	return p;
}

/* Memory that grows by pieces, as a heap does, and goes as a whole. */
struct arena {
	uint8_t *base;
	size_t size, used;
};

static struct arena arena_new(size_t size)
{
	return (struct arena){get(size), size, 0};
}

static void *arena_get(struct arena *a, size_t size)
{
	void *p = a->base + a->used;

	a->used += (size + 15) & ~(size_t)15;
	if (a->used > a->size) {
		fprintf(stderr, "the arena is too small\n");
		exit(1);
	}
	return p;
}

/* --- A B-tree: n keys go in, each with a value of 64 bytes; then n are looked up. --- */

#define KEYS 31

struct node {
	int n, leaf;
	uint64_t keys[KEYS];
	uint8_t *values[KEYS];
	struct node *children[KEYS + 1];
};

static struct node *node_new(struct arena *a, int leaf)
{
	struct node *node = arena_get(a, sizeof(*node));

	node->leaf = leaf;
	return node;
}

/* The first key that is not smaller. */
static int node_find(const struct node *node, uint64_t key)
{
	int low = 0, high = node->n;

	while (low < high) {
		int middle = (low + high) / 2;

		if (node->keys[middle] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void node_insert(struct node *node, int i, uint64_t key, uint8_t *value, struct node *right)
{
	const size_t after = (size_t)(node->n - i);

	memmove(&node->keys[i + 1], &node->keys[i], after * sizeof(node->keys[0]));
	memmove(&node->values[i + 1], &node->values[i], after * sizeof(node->values[0]));
	node->keys[i] = key;
	node->values[i] = value;
	if (!node->leaf) {
		memmove(&node->children[i + 2], &node->children[i + 1],
			after * sizeof(node->children[0]));
		node->children[i + 1] = right;
	}
	node->n++;
}

static void node_split(struct arena *a, struct node *parent, int i)
{
	struct node *left = parent->children[i], *right = node_new(a, left->leaf);
	const int half = KEYS / 2;

	right->n = KEYS - half - 1;
	memcpy(right->keys, &left->keys[half + 1], (size_t)right->n * sizeof(right->keys[0]));
	memcpy(right->values, &left->values[half + 1], (size_t)right->n * sizeof(right->values[0]));
	memcpy(right->children, &left->children[half + 1],
	       (size_t)(right->n + 1) * sizeof(right->children[0]));
	left->n = half;
	node_insert(parent, i, left->keys[half], left->values[half], right);
}

static struct node *tree_insert(struct arena *a, struct node *root, uint64_t key)
{
	uint8_t *value = arena_get(a, 64);
	struct node *node = root;

	memset(value, (int)key, 64);
	if (root->n == KEYS) {
		node = node_new(a, 0);
		node->children[0] = root;
		node_split(a, node, 0);
		root = node;
	}
	for (;;) {
		int i = node_find(node, key);

		if (node->leaf) {
			node_insert(node, i, key, value, NULL);
			return root;
		}
		if (node->children[i]->n == KEYS) {
			node_split(a, node, i);
			if (node->keys[i] < key)
				i++;
		}
		node = node->children[i];
	}
}

static void do_btree(uint64_t n)
{
	struct arena a = arena_new(n * 256 + (1 << 20));
	struct node *root = node_new(&a, 1);
	uint64_t state = 1, sum = 0;

	for (uint64_t i = 0; i < n; i++)
		root = tree_insert(&a, root, random_next(&state));
	state = 1;
	for (uint64_t i = 0; i < n; i++) {
		const uint64_t key = random_next(&state);
		const struct node *node = root;

		for (;;) {
			const int at = node_find(node, key);

			if (at < node->n && node->keys[at] == key) {
				sum += node->values[at][7];
				break;
			}
			if (node->leaf) {
				fprintf(stderr, "a key is lost\n");
				exit(1);
			}
			node = node->children[at];
		}
	}
	sink = sum;
	munmap(a.base, a.size);
}

/* --- XSBench: a grid of energies of all nuclides, with where each nuclide is at that energy; n
 * lookups. --- */

#define NUCLIDES 24
#define POINTS 2048
#define CHANNELS 5

struct point {
	double energy, xs[CHANNELS];
};

struct grid {
	double energy;
	uint32_t at[NUCLIDES];
};

static int compare_energy(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / (double)(1ull << 53);
}

static void do_xsbench(uint64_t n)
{
	const size_t points = (size_t)NUCLIDES * POINTS;
	struct point *nuclides = get(points * sizeof(*nuclides));
	struct grid *grid = get(points * sizeof(*grid));
	double *energies = get(points * sizeof(*energies)), sum = 0;
	uint32_t next[NUCLIDES] = {0};
	uint64_t state = 2;

	for (size_t k = 0; k < NUCLIDES; k++) {
		double energy = 0;

		for (size_t i = 0; i < POINTS; i++) {
			struct point *p = &nuclides[k * POINTS + i];

			energy += random_unit(&state);
			p->energy = energies[k * POINTS + i] = energy;
			for (int c = 0; c < CHANNELS; c++)
				p->xs[c] = random_unit(&state);
		}
	}
	qsort(energies, points, sizeof(*energies), compare_energy);
	for (size_t i = 0; i < points; i++) {
		grid[i].energy = energies[i];
		for (size_t k = 0; k < NUCLIDES; k++) {
			while (next[k] < POINTS - 2 &&
			       nuclides[k * POINTS + next[k] + 1].energy <= energies[i])
				next[k]++;
			grid[i].at[k] = next[k];
		}
	}
	for (uint64_t i = 0; i < n; i++) {
		const double energy = random_unit(&state) * energies[points - 1];
		size_t low = 0, high = points - 1;

		while (low + 1 < high) {
			const size_t middle = (low + high) / 2;

			if (grid[middle].energy > energy)
				high = middle;
			else
				low = middle;
		}
		for (size_t k = 0; k < NUCLIDES; k++) {
			const struct point *p = &nuclides[k * POINTS + grid[low].at[k]];
			const double f = (p[1].energy - energy) / (p[1].energy - p->energy);

			for (int c = 0; c < CHANNELS; c++)
				sum += p[1].xs[c] - f * (p[1].xs[c] - p->xs[c]);
		}
	}
	sink = (uint64_t)sum;
	munmap(energies, points * sizeof(*energies));
	munmap(grid, points * sizeof(*grid));
	munmap(nuclides, points * sizeof(*nuclides));
}

/* --- dedup: n pieces of 256 KiB, cut where their content says; what is new is kept, packed. --- */

#define PIECE (256u << 10)
#define BUCKETS (1u << 16)

struct chunk {
	uint64_t hash;
	struct chunk *next;
	uint32_t size;
	uint8_t data[];
};

static size_t pack(uint8_t *to, const uint8_t *from, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < size;) {
		size_t run = 1;

		while (run < 255 && i + run < size && from[i + run] == from[i])
			run++;
		to[used++] = (uint8_t)run;
		to[used++] = from[i];
		i += run;
	}
	return used;
}

static void do_dedup(uint64_t n)
{
	struct chunk **table = get(BUCKETS * sizeof(*table)), *found;
	struct arena kept = arena_new(n * PIECE * 2 + (1 << 20));
	uint64_t state = 3, chunks = 0;

	for (uint64_t piece = 0; piece < n; piece++) {
		uint8_t *data = get(PIECE), *packed = get(2 * PIECE);
		size_t start = 0;
		uint64_t hash = 14695981039346656037ull, roll = 0;

		for (size_t i = 0; i < PIECE; i += 4096) {
			/* Half of the pages are one of 64 that come again and again. */
			uint64_t seed = random_next(&state);

			seed = seed & 1 ? seed : (seed >> 8 & 63) + 1000;
			for (size_t k = 0; k < 4096; k += 8) {
				const uint64_t word = random_next(&seed) & 0x0f0f0f0f00000000ull;

				memcpy(data + i + k, &word, 8);
			}
		}
		for (size_t i = 0; i < PIECE; i++) {
			hash = (hash ^ data[i]) * 1099511628211ull;
			roll = (roll << 1) + data[i] * 0x9e3779b1u;
			if ((roll >> 8 & 0xfff) != 0xfff && i + 1 < PIECE)
				continue;
			for (found = table[hash % BUCKETS]; found; found = found->next)
				if (found->hash == hash)
					break;
			if (!found) {
				const size_t size = pack(packed, data + start, i + 1 - start);

				found = arena_get(&kept, sizeof(*found) + size);
				found->hash = hash;
				found->size = (uint32_t)size;
				found->next = table[hash % BUCKETS];
				table[hash % BUCKETS] = found;
				memcpy(found->data, packed, size);
			}
			chunks++;
			start = i + 1;
			hash = 14695981039346656037ull;
		}
		munmap(packed, 2 * PIECE);
		munmap(data, PIECE);
	}
	sink = chunks;
	munmap(kept.base, kept.size);
	munmap(table, BUCKETS * sizeof(*table));
}

/* --- canneal: elements of a netlist, n tries to exchange the places of two. --- */

#define ELEMENTS 100000u
#define FAN 6

struct element {
	struct element *fan[FAN];
	int32_t x, y;
	char name[24];
};

static int64_t wire(const struct element *e, int32_t x, int32_t y)
{
	int64_t length = 0;

	for (int i = 0; i < FAN; i++)
		length += labs((long)e->fan[i]->x - x) + labs((long)e->fan[i]->y - y);
	return length;
}

static void do_canneal(uint64_t n)
{
	struct element *all = get(ELEMENTS * sizeof(*all));
	uint64_t state = 4, taken = 0;
	int64_t heat = 2000;

	for (uint32_t i = 0; i < ELEMENTS; i++) {
		all[i].x = (int32_t)(i % 316);
		all[i].y = (int32_t)(i / 316);
		memcpy(all[i].name, "element", 8);
		for (int k = 0; k < FAN; k++)
			all[i].fan[k] = &all[random_next(&state) % ELEMENTS];
	}
	for (uint64_t i = 0; i < n; i++) {
		struct element *a = &all[random_next(&state) % ELEMENTS];
		struct element *b = &all[random_next(&state) % ELEMENTS];
		const int64_t change = wire(a, b->x, b->y) + wire(b, a->x, a->y) -
				       wire(a, a->x, a->y) - wire(b, b->x, b->y);

		if (change < (int64_t)(random_next(&state) % (uint64_t)heat)) {
			const int32_t x = a->x, y = a->y;

			a->x = b->x;
			a->y = b->y;
			b->x = x;
			b->y = y;
			taken++;
		}
		if (i % 1000 == 999 && heat > 1)
			heat = heat * 9 / 10;
	}
	sink = taken;
	munmap(all, ELEMENTS * sizeof(*all));
}

/* --- fluidanimate: n frames; the cells of each are new memory. --- */

#define SIDE 16
#define PARTICLES 16000
#define IN_CELL 32

struct particle {
	float place[3], speed[3], density;
};

struct cell {
	struct particle particles[IN_CELL];
	int n;
};

static int cell_of(float place)
{
	const int i = (int)(place * SIDE);

	return i < 0 ? 0 : i >= SIDE ? SIDE - 1 : i;
}

static struct cell *cell_at(struct cell *cells, const struct particle *p)
{
	return &cells[(cell_of(p->place[0]) * SIDE + cell_of(p->place[1])) * SIDE +
		      cell_of(p->place[2])];
}

static void cell_add(struct cell *cells, const struct particle *p)
{
	struct cell *cell = cell_at(cells, p);

	if (cell->n < IN_CELL)
		cell->particles[cell->n++] = *p;
}

static float density(const struct cell *cells, const struct particle *p)
{
	const int at[3] = {cell_of(p->place[0]), cell_of(p->place[1]), cell_of(p->place[2])};
	float sum = 0;

	for (int x = at[0] > 0 ? at[0] - 1 : 0; x <= at[0] + 1 && x < SIDE; x++)
		for (int y = at[1] > 0 ? at[1] - 1 : 0; y <= at[1] + 1 && y < SIDE; y++)
			for (int z = at[2] > 0 ? at[2] - 1 : 0; z <= at[2] + 1 && z < SIDE; z++) {
				const struct cell *cell = &cells[(x * SIDE + y) * SIDE + z];

				for (int i = 0; i < cell->n; i++) {
					float square = 0;

					for (int d = 0; d < 3; d++) {
						const float by = cell->particles[i].place[d] -
								 p->place[d];

						square += by * by;
					}
					if (square < 1.0f / (SIDE * SIDE))
						sum += 1.0f / (SIDE * SIDE) - square;
				}
			}
	return sum;
}

static void do_fluidanimate(uint64_t n)
{
	const size_t size = (size_t)SIDE * SIDE * SIDE * sizeof(struct cell);
	struct cell *cells = get(size);
	uint64_t state = 5;

	for (int i = 0; i < PARTICLES; i++) {
		struct particle p = {0};

		for (int d = 0; d < 3; d++) {
			p.place[d] = (float)random_unit(&state);
			p.speed[d] = (float)random_unit(&state) / 64;
		}
		cell_add(cells, &p);
	}
	for (uint64_t frame = 0; frame < n; frame++) {
		struct cell *next = get(size);

		for (int c = 0; c < SIDE * SIDE * SIDE; c++)
			for (int i = 0; i < cells[c].n; i++) {
				struct particle *p = &cells[c].particles[i], moved;

				p->density = density(cells, p);
				moved = *p;
				for (int d = 0; d < 3; d++) {
					moved.place[d] += p->speed[d] - p->density / 8;
					if (moved.place[d] < 0 || moved.place[d] > 1)
						moved.speed[d] = -p->speed[d];
				}
				cell_add(next, &moved);
			}
		munmap(cells, size);
		cells = next;
	}
	sink = (uint64_t)cells[0].n;
	munmap(cells, size);
}

static const struct bench_case cases[] = {
	{"btree", do_btree, 60000},
	{"xsbench", do_xsbench, 10000},
	{"dedup", do_dedup, 24},
	{"canneal", do_canneal, 60000},
	{"fluidanimate", do_fluidanimate, 4},
};

int main(int argc, char **argv)
{
	/* Faults are what this is about; with huge pages, which both kernels give, there are few.
	 */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0)
		failed("PR_SET_THP_DISABLE");
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
