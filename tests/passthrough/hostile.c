// SPDX-License-Identifier: Apache-2.0
/*
 * hostile DEVICE WHAT [ADDRESS]...: in a guest, makes an igb virtual function read or write memory
 * at guest-physical addresses that need not be the guest's.  DEVICE is its directory in sysfs; its
 * network interface must be down.  For each ADDRESS ("own": a page of this program's; "high": one
 * above 4 GiB; "table": on engine cki, where the guest's page tables begin):
 *
 *	send      a frame whose payload the function reads from there
 *	receive   a buffer there, for the function to write a frame to; the next one to arrive
 *		  goes to an own page
 *	ring      the ring of descriptors there, for the function to read
 *
 * and a line with what came of it.  What is sent has the EtherType HOSTILE_TYPE and, from an own
 * page, the text OWN_TEXT.  Registers: Intel 82576 data sheet, 8.
 *
 * hostile DEVICE wild: reads and writes every register of the function's second window, where its
 * interrupts' table is, and of configuration space, whatever comes of it.  What of the window
 *cannot be had is said.
 *
 * hostile hold TEXT MIB: fills memory with a text and keeps it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define HOSTILE_TYPE 0x88b5
#define OWN_TEXT "mine to send"
#define PAYLOAD 256u

enum { /* registers of queue 0 */
       CTRL = 0x0000,
       RX = 0x2800,
       TX = 0x3800,
       BASE_LOW = 0x00,
       BASE_HIGH = 0x04,
       LENGTH = 0x08,
       SPLIT = 0x0c, /* receiving only: SRRCTL */
       HEAD = 0x10,
       TAIL = 0x18,
       CONTROL = 0x28,
};

#define QUEUE_ENABLE (1u << 25)
#define ONE_BUFFER (1u << 25) /* SRRCTL: advanced, one buffer ... */
#define BUFFER_KIB 2u	      /* ... of so many KiB */
#define DESC_DATA 0x22300000u /* advanced data descriptor: DTYP, DEXT, IFCS */
#define DESC_EOP (1u << 24)
#define DESC_RS (1u << 27)
#define DONE 1u

struct desc {
	uint64_t address;
	uint32_t command, status;
};

static volatile uint8_t *registers;
/* Pages, which are where the kernel says they are: locked, and physical addresses known. */
static struct desc *ring;
static uint8_t *own;
static uint64_t ring_at, own_at;

static void die(const char *what)
{
	printf("hostile: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t get(uint32_t reg)
{
	return *(volatile uint32_t *)(registers + reg);
}

static void set(uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)(registers + reg) = v;
}

static void wait_ms(long ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

static void *page(uint64_t *ret_at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
	uint64_t entry;

	if (fd < 0 || at == MAP_FAILED)
		die("make a page");
	memset(at, 0, PAGE);
	if (pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * sizeof(entry))) !=
	    (ssize_t)sizeof(entry))
		die("read where a page is");
	close(fd);
	*ret_at = (entry & ((1ull << 55) - 1)) * PAGE;
	return at;
}

static uint64_t high_page(void)
{
	uint64_t at = 0;

	for (int i = 0; i < 4096; i++) {
		uint8_t *p = page(&at);

		if (at >> 32) {
			snprintf((char *)p, PAYLOAD, OWN_TEXT);
			return at;
		}
	}
	errno = ENOMEM;
	die("there is no page above 4 GiB");
	return 0;
}

static uint64_t table_page(void)
{
	FILE *f = fopen("/proc/iomem", "re");
	char line[256];
	unsigned long long at;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, ": Page tables") && sscanf(line, " %llx-", &at) == 1) {
			fclose(f);
			return at;
		}
	errno = ENOENT;
	die("find page tables");
	return 0;
}

static void open_device(const char *dir)
{
	char path[256];
	int fd;
	void *at;

	snprintf(path, sizeof(path), "%s/resource0", dir);
	fd = open(path, O_RDWR | O_SYNC);
	at = fd < 0 ? MAP_FAILED : mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die(path);
	registers = at;
}

/* A queue of 256 descriptors (a page) at `at`, empty. */
static void start_queue(uint32_t queue, uint64_t at)
{
	set(queue + CONTROL, 0);
	set(queue + BASE_LOW, (uint32_t)at);
	set(queue + BASE_HIGH, (uint32_t)(at >> 32));
	set(queue + LENGTH, PAGE);
	set(queue + HEAD, 0);
	set(queue + TAIL, 0);
	if (queue == RX)
		set(queue + SPLIT, ONE_BUFFER | BUFFER_KIB);
	set(queue + CONTROL, QUEUE_ENABLE);
	for (int i = 0; i < 100 && !(get(queue + CONTROL) & QUEUE_ENABLE); i++)
		wait_ms(1);
}

/* Where a descriptor that was sent, and one that was received to, says so. */
static bool sent(unsigned int i)
{
	return *(volatile uint32_t *)&ring[i].status & DONE;
}

static bool received(unsigned int i)
{
	return *(volatile uint32_t *)&ring[i].command & DONE;
}

static void frame_header(uint8_t *to, const uint8_t mac[6])
{
	memset(to, 0xff, 6);
	memcpy(to + 6, mac, 6);
	to[12] = HOSTILE_TYPE >> 8;
	to[13] = HOSTILE_TYPE & 0xff;
}

static const char *send_from(uint64_t at, const uint8_t mac[6])
{
	frame_header(own, mac);
	snprintf((char *)own + 64, PAYLOAD, OWN_TEXT);
	ring[0] = (struct desc){own_at, DESC_DATA | 14, (14 + PAYLOAD) << 14};
	ring[1] = (struct desc){at, DESC_DATA | DESC_RS | DESC_EOP | PAYLOAD, 0};
	start_queue(TX, ring_at);
	set(TX + TAIL, 2);
	for (int i = 0; i < 200 && !sent(1); i++)
		wait_ms(1);
	return sent(1) ? "done" : "not done";
}

static const char *receive_to(uint64_t at)
{
	ring[0] = (struct desc){.address = at};
	ring[1] = (struct desc){.address = own_at};
	start_queue(RX, ring_at);
	set(RX + TAIL, 2);
	for (int i = 0; i < 2000 && !received(1); i++)
		wait_ms(1);
	return received(1) ? "done" : "not done";
}

static const char *ring_from(uint64_t at)
{
	start_queue(TX, at);
	set(TX + TAIL, 8);
	wait_ms(50);
	return "tried";
}

static sigjmp_buf nothing_there;

static void on_bus_error(int sig)
{
	(void)sig;
	siglongjmp(nothing_there, 1);
}

static void wild_page(volatile uint8_t *at, uint32_t begin)
{
	if (sigsetjmp(nothing_there, 1)) {
		printf("wild: nothing is at 0x%x of the window\n", begin);
		return;
	}
	for (uint32_t offset = begin; offset < begin + PAGE; offset += 4) {
		const uint32_t before = *(volatile uint32_t *)(at + offset);

		/* Of the table no more than fixed interrupts to nobody. */
		*(volatile uint32_t *)(at + offset) = offset % 16 == 8 ? 0x00ff : ~before;
		*(volatile uint16_t *)(at + offset) = 0xffff;
		at[offset + 3] = 0xff;
		if (offset % 8 == 0)
			*(volatile uint64_t *)(at + offset) = 0;
		(void)at[offset + 1];
		(void)*(volatile uint16_t *)(at + offset + 2);
		(void)*(volatile uint64_t *)(at + (offset & ~7u));
	}
}

static void wild_window(const char *dir)
{
	char path[256];
	volatile uint8_t *at;
	int fd;

	snprintf(path, sizeof(path), "%s/resource3", dir);
	fd = open(path, O_RDWR | O_SYNC);
	at = fd < 0 ? MAP_FAILED : mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		die(path);
	signal(SIGBUS, on_bus_error);
	for (uint32_t begin = 0; begin < 4 * PAGE; begin += PAGE)
		wild_page(at, begin);
}

/* The guest's kernel carries it out as it is. */
static void wild_config(const char *dir)
{
	char path[256];
	uint8_t before[256] = {0}, after[256] = {0}, ones[4];
	int fd;

	memset(ones, 0xff, sizeof(ones));
	snprintf(path, sizeof(path), "%s/config", dir);
	fd = open(path, O_RDWR);
	if (fd < 0 || pread(fd, before, sizeof(before), 0) < 64)
		die(path);
	for (off_t at = 0; at < 256; at++)
		for (size_t size = 1; size <= 4; size++)
			if (at % 4 + size <= 4 && pwrite(fd, ones, size, at) < 0)
				die("write configuration space");
	if (pread(fd, after, sizeof(after), 0) < 64)
		die(path);
	printf("wild: identity %s\n", memcmp(before, after, 4) ? "changed" : "is the same");
}

/* The interface's own, so that no filter is in the way. */
static void read_mac(const char *dir, uint8_t ret[6])
{
	char command[256];
	unsigned int m[6];
	FILE *f;

	snprintf(command, sizeof(command), "cat %s/net/*/address", dir);
	f = popen(command, "r");
	if (!f || fscanf(f, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
		die("read the interface's address");
	for (int i = 0; i < 6; i++)
		ret[i] = (uint8_t)m[i];
	pclose(f);
}

__attribute__((noreturn)) static void hold(const char *text, size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		die("hold memory");
	for (size_t i = 0; i < size; i++)
		at[i] = text[i % PAGE % strlen(text)];
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	uint8_t mac[6];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "hold") == 0)
		hold(argv[2], strtoul(argv[3], NULL, 10) << 20);
	if (argc == 3 && strcmp(argv[2], "wild") == 0) {
		wild_window(argv[1]);
		wild_config(argv[1]);
		return 0;
	}
	if (argc < 4)
		return 2;
	read_mac(argv[1], mac);
	open_device(argv[1]);
	ring = page(&ring_at);
	own = page(&own_at);
	for (int i = 3; i < argc; i++) {
		const uint64_t at = strcmp(argv[i], "own") == 0	    ? own_at + 64
				    : strcmp(argv[i], "high") == 0  ? high_page()
				    : strcmp(argv[i], "table") == 0 ? table_page()
								    : strtoull(argv[i], NULL, 0);
		const char *result;

		memset(ring, 0, PAGE);
		memset(own, 0, PAGE);
		result = strcmp(argv[2], "send") == 0	   ? send_from(at, mac)
			 : strcmp(argv[2], "receive") == 0 ? receive_to(at)
							   : ring_from(at);
		printf("%s %s: %s%s\n", argv[2], argv[i], result,
		       memmem(own, PAGE, "overwritten", 11) ? ", in own memory" : "");
		if (strcmp(argv[i], "table") == 0)
			printf("%s table: at 0x%llx\n", argv[2], (unsigned long long)at);
	}
	return 0;
}
