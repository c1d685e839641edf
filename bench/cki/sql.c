// SPDX-License-Identifier: Apache-2.0
/*
 * sql: SQLite as LevelDB's db_bench_sqlite3 asks it: a table of keys of 16 bytes and values of 100,
 * in /tmp, each write a transaction of its own (fillseq, fillrandom, overwrite) or 1,000 in one
 * (batched), then reads.  Built by bench/cki/sql, statically.
 */
#include <sqlite3.h>
#include <unistd.h>

#include "cases.h"

#define FILE_NAME "/tmp/bench.db"
#define VALUE 100
#define BATCH 1000

static sqlite3 *db;
static uint64_t rows; /* in the table */

static void check(int result, int wanted, const char *what)
{
	if (result == wanted)
		return;
	fprintf(stderr, "%s: %s\n", what, db ? sqlite3_errmsg(db) : "no database");
	exit(1);
}

static void execute(const char *sql)
{
	check(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, sql);
}

static sqlite3_stmt *prepare(const char *sql)
{
	sqlite3_stmt *statement;

	check(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK, sql);
	return statement;
}

/* An empty one; what db_bench sets. */
static void open_new(void)
{
	if (db)
		sqlite3_close(db);
	unlink(FILE_NAME);
	check(sqlite3_open(FILE_NAME, &db), SQLITE_OK, "open");
	execute("PRAGMA page_size = 1024");
	execute("PRAGMA cache_size = 4096");
	execute("CREATE TABLE test (key blob, value blob, PRIMARY KEY (key))");
	rows = 0;
}

static void key_of(char key[17], uint64_t n)
{
	snprintf(key, 17, "%016llu", (unsigned long long)n);
}

/* n rows: random keys or 0, 1, ..; per transaction. */
static void write_rows(uint64_t n, int random, uint64_t per, uint64_t seed)
{
	sqlite3_stmt *begin = prepare("BEGIN"), *end = prepare("COMMIT");
	sqlite3_stmt *replace = prepare("REPLACE INTO test (key, value) VALUES (?, ?)");
	uint64_t state = seed;
	char key[17], value[VALUE];

	for (uint64_t i = 0; i < n; i++) {
		if (i % per == 0) {
			check(sqlite3_step(begin), SQLITE_DONE, "begin");
			sqlite3_reset(begin);
		}
		key_of(key, random ? random_next(&state) % n : i);
		for (size_t k = 0; k < VALUE; k += sizeof(state) / 2)
			memcpy(value + k, &(uint64_t){random_next(&state)}, sizeof(state) / 2);
		sqlite3_bind_blob(replace, 1, key, 16, SQLITE_STATIC);
		sqlite3_bind_blob(replace, 2, value, VALUE, SQLITE_STATIC);
		check(sqlite3_step(replace), SQLITE_DONE, "replace");
		sqlite3_reset(replace);
		if (i % per == per - 1 || i == n - 1) {
			check(sqlite3_step(end), SQLITE_DONE, "commit");
			sqlite3_reset(end);
		}
	}
	sqlite3_finalize(begin);
	sqlite3_finalize(end);
	sqlite3_finalize(replace);
	rows = n;
}

static void do_fillseq(uint64_t n)
{
	open_new();
	write_rows(n, 0, 1, 1);
}

static void do_fillrandom(uint64_t n)
{
	open_new();
	write_rows(n, 1, 1, 2);
}

/* What fillrandom has written. */
static void do_overwrite(uint64_t n)
{
	write_rows(n, 1, 1, 3);
}

static void do_batched(uint64_t n)
{
	open_new();
	write_rows(n, 0, BATCH, 4);
}

/* Of what batched has written. */
static void do_readseq(uint64_t n)
{
	sqlite3_stmt *read = prepare("SELECT * FROM test ORDER BY key");

	for (uint64_t i = 0; i < n; i++) {
		int result = sqlite3_step(read);

		if (result == SQLITE_DONE) {
			sqlite3_reset(read);
			result = sqlite3_step(read);
		}
		check(result, SQLITE_ROW, "read");
		if (sqlite3_column_bytes(read, 1) != VALUE || !sqlite3_column_blob(read, 1))
			failed("a value");
	}
	sqlite3_finalize(read);
}

static void do_readrandom(uint64_t n)
{
	sqlite3_stmt *read = prepare("SELECT * FROM test WHERE key = ?");
	uint64_t state = 5;
	char key[17];

	for (uint64_t i = 0; i < n; i++) {
		key_of(key, random_next(&state) % rows);
		sqlite3_bind_blob(read, 1, key, 16, SQLITE_STATIC);
		check(sqlite3_step(read), SQLITE_ROW, "read");
		if (sqlite3_column_bytes(read, 1) != VALUE || !sqlite3_column_blob(read, 1))
			failed("a value");
		sqlite3_reset(read);
	}
	sqlite3_finalize(read);
}

static const struct bench_case cases[] = {
	{"fillseq", do_fillseq, 200},	  {"fillrandom", do_fillrandom, 200},
	{"overwrite", do_overwrite, 200}, {"batched", do_batched, 3000},
	{"readseq", do_readseq, 6000},	  {"readrandom", do_readrandom, 3000},
};

int main(int argc, char **argv)
{
	open_new();
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
