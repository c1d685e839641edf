// SPDX-License-Identifier: Apache-2.0
/* What the tests need inside a container and busybox does not have. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes text at the start of a file through a shared mapping. */
static int map_write(const char *path, const char *text)
{
	int fd = open(path, O_RDWR);
	char *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		perror(path);
		return 1;
	}
	memcpy(p, text, strlen(text));
	if (msync(p, 4096, MS_SYNC) < 0) {
		perror("msync");
		return 1;
	}
	return 0;
}

/* What is written is seen through a mapping, and the other way round, as databases expect. */
static int coherent(const char *path)
{
	int fd = open(path, O_RDWR);
	char *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char buf[8];

	if (p == MAP_FAILED) {
		perror(path);
		return 1;
	}
	for (char c = 'a'; c <= 'z'; c++) {
		memset(buf, c, sizeof(buf));
		if (pwrite(fd, buf, sizeof(buf), 100) != sizeof(buf) || p[100] != c) {
			printf("write: %c, mapping: %c\n", c, p[100]);
			return 1;
		}
		p[200] = c;
		if (pread(fd, buf, sizeof(buf), 200) != sizeof(buf) || buf[0] != c) {
			printf("mapping: %c, read: %c\n", c, buf[0]);
			return 1;
		}
	}
	return 0;
}

/* Takes memory until it is killed. */
static int eat(void)
{
	for (;;) {
		char *p = malloc(1 << 20);

		if (p)
			memset(p, 1, 1 << 20);
	}
}

/* Keeps a file open and says what it reads whenever a line comes in. */
static int follow(const char *path)
{
	int fd = open(path, O_RDONLY);
	char line[16], buf[256];

	while (fd >= 0 && fgets(line, sizeof(line), stdin)) {
		ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

		buf[n < 0 ? 0 : n] = '\0';
		printf("[%s]\n", buf);
		fflush(stdout);
	}
	return 0;
}

/* Descriptors that are open, by number. */
static int list_fds(void)
{
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d ", fd);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "map") && argc == 4)
		return map_write(argv[2], argv[3]);
	if (!strcmp(what, "coherent") && argc == 3)
		return coherent(argv[2]);
	if (!strcmp(what, "eat"))
		return eat();
	if (!strcmp(what, "follow") && argc == 3)
		return follow(argv[2]);
	if (!strcmp(what, "fds"))
		return list_fds();
	return 2;
}
