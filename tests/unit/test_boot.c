// SPDX-License-Identifier: Apache-2.0
/* vmm/boot, vmm/kvm/cpuid.c: what the guest is told of its machine, and files that are no kernel.
 */
#include <elf.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "vmm/boot/mptable.h"
#include "vmm/boot/pvh.h"
#include "vmm/kvm/cpuid.h"

#define MIB (1ull << 20)
#define ENTRY 0x100000u

/* A kernel of one segment and one note. */
struct image {
	Elf64_Ehdr head;
	Elf64_Phdr load, note_head;
	struct {
		Elf64_Nhdr head;
		char name[4];
		uint32_t entry;
	} note;
	uint8_t text[64];
};

static struct image image(void)
{
	struct image i = {
		.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				     EV_CURRENT},
			 .e_type = ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_phoff = offsetof(struct image, load),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 2},
		.load = {.p_type = PT_LOAD,
			 .p_offset = offsetof(struct image, text),
			 .p_paddr = ENTRY,
			 .p_filesz = sizeof(i.text),
			 .p_memsz = 4096},
		.note_head = {.p_type = PT_NOTE,
			      .p_offset = offsetof(struct image, note),
			      .p_filesz = sizeof(i.note)},
		.note = {.head = {.n_namesz = 4, .n_descsz = 4, .n_type = 18},
			 .name = "Xen",
			 .entry = ENTRY},
	};

	memset(i.text, 0x90, sizeof(i.text));
	return i;
}

/* A file with these bytes: its path. */
static const char *file(const void *bytes, size_t size)
{
	static char paths[8][32];
	static int fds[8], n;
	int i = n++ % 8;

	if (fds[i])
		close(fds[i]);
	fds[i] = memfd_create("test", 0);
	assert_int_equal(write(fds[i], bytes, size), size);
	snprintf(paths[i], sizeof(paths[i]), "/proc/self/fd/%d", fds[i]);
	return paths[i];
}

static void expect_refused(const struct mem *mem, const void *bytes, size_t size, const char *why)
{
	struct pvh_entry entry;
	struct error err = {0};

	assert_true(pvh_load(mem, file(bytes, size), NULL, "", &entry, &err) < 0);
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void test_pvh(void **state)
{
	const struct image i = image();
	uint8_t initrd[5000], *text;
	struct pvh_entry entry;
	struct error err = {0};
	uint64_t module[2];
	struct mem mem;
	uint32_t info[14];
	char cmdline[6];

	(void)state;
	memset(initrd, 7, sizeof(initrd));
	assert_int_equal(mem_init(&mem, 16 * MIB, false, &err), 0);
	assert_int_equal(pvh_load(&mem, file(&i, sizeof(i)), file(initrd, sizeof(initrd)), "quiet",
				  &entry, &err),
			 0);
	assert_int_equal(entry.rip, ENTRY);
	text = mem_at(&mem, GPA(ENTRY), 4096);
	assert_int_equal(text[0], 0x90);
	assert_int_equal(text[64], 0);
	assert_int_equal(mem_read(&mem, entry.start_info, info, sizeof(info)), 0);
	assert_int_equal(info[0], 0x336ec578);
	assert_int_equal(info[1], 1);
	assert_int_equal(info[3], 1); /* modules */
	assert_int_equal(mem_read(&mem, GPA(info[4]), module, sizeof(module)), 0);
	assert_int_equal(module[0] % 4096, 0);
	assert_int_equal(module[1], sizeof(initrd));
	assert_memory_equal(mem_at(&mem, GPA(module[0]), sizeof(initrd)), initrd, sizeof(initrd));
	assert_int_equal(mem_read(&mem, GPA(info[6]), cmdline, sizeof(cmdline)), 0);
	assert_string_equal(cmdline, "quiet");
	mem_done(&mem);
}

struct memmap_entry {
	uint64_t at, size;
	uint32_t type, reserved;
};

/* With more than 3 GiB there is RAM above the hole, and no byte of RAM is told of twice. */
static void test_memory_map(void **state)
{
	static const uint64_t sizes[] = {2 * MIB, 3072 * MIB, 3074 * MIB, 8192 * MIB};
	const struct image i = image();
	struct error err = {0};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct memmap_entry map[8];
		struct pvh_entry entry;
		uint64_t ram = 0, end = 0;
		uint32_t info[14];
		struct mem mem;

		assert_int_equal(mem_init(&mem, sizes[s], false, &err), 0);
		assert_int_equal(pvh_load(&mem, file(&i, sizeof(i)), NULL, "", &entry, &err), 0);
		assert_int_equal(mem_read(&mem, entry.start_info, info, sizeof(info)), 0);
		assert_int_equal(info[3], 0);
		assert_in_range(info[12], 3, 8);
		assert_int_equal(mem_read(&mem, GPA(info[10]), map, info[12] * sizeof(*map)), 0);
		for (uint32_t e = 0; e < info[12]; e++) {
			assert_true(map[e].at >= end);
			end = map[e].at + map[e].size;
			assert_non_null(mem_at(&mem, GPA(map[e].at), map[e].size));
			ram += map[e].type == 1 ? map[e].size : 0;
		}
		assert_int_equal(ram, sizes[s] - (BOOT_HIGH_START - BOOT_LOW_END));
		mem_done(&mem);
	}
}

static void test_no_kernel(void **state)
{
	char cmdline[PVH_CMDLINE_MAX + 1];
	struct image good = image(), i;
	struct pvh_entry entry;
	struct error err = {0};
	struct mem mem;

	(void)state;
	assert_int_equal(mem_init(&mem, 4 * MIB, false, &err), 0);
	expect_refused(&mem, "", 0, "cut off");
	expect_refused(&mem, &good, sizeof(good.head) - 1, "cut off");
	expect_refused(&mem, &good, offsetof(struct image, text) + 63, "cut off");
	expect_refused(&mem, &good, offsetof(struct image, note_head), "cut off");
	i = good, i.head.e_ident[0] = 'M';
	expect_refused(&mem, &i, sizeof(i), "not an x86-64 ELF");
	i = good, i.head.e_phnum = 0xffff;
	expect_refused(&mem, &i, sizeof(i), "not an x86-64 ELF");
	i = good, i.head.e_phoff = ~0ull - 3;
	expect_refused(&mem, &i, sizeof(i), "");
	i = good, i.note.head.n_type = 17;
	expect_refused(&mem, &i, sizeof(i), "no PVH entry");
	i = good, i.note.head.n_namesz = ~0u;
	expect_refused(&mem, &i, sizeof(i), "no PVH entry");
	i = good, i.note.head.n_descsz = ~0u - 1;
	expect_refused(&mem, &i, sizeof(i), "no PVH entry");
	i = good, i.note.head.n_descsz = 0;
	expect_refused(&mem, &i, sizeof(i), "no PVH entry");
	i = good, i.note_head.p_filesz = 3;
	expect_refused(&mem, &i, sizeof(i), "no PVH entry");
	i = good, i.load.p_paddr = 0x1000;
	expect_refused(&mem, &i, sizeof(i), "not within");
	i = good, i.load.p_paddr = 4 * MIB - 100;
	expect_refused(&mem, &i, sizeof(i), "not within");
	i = good, i.load.p_paddr = ~0ull - 100;
	expect_refused(&mem, &i, sizeof(i), "not within");
	i = good, i.load.p_memsz = ~0ull;
	expect_refused(&mem, &i, sizeof(i), "not within");
	i = good, i.load.p_filesz = 4097;
	expect_refused(&mem, &i, sizeof(i), "not within");
	memset(cmdline, 'x', sizeof(cmdline));
	cmdline[PVH_CMDLINE_MAX] = 0;
	assert_int_equal(pvh_load(&mem, file(&good, sizeof(good)), NULL, cmdline, &entry, &err),
			 -E2BIG);
	mem_done(&mem);
}

static void test_initrd_too_large(void **state)
{
	const struct image i = image();
	_cleanup_free_ uint8_t *large = calloc(1, 4 * MIB);
	struct pvh_entry entry;
	struct error err = {0};
	struct mem mem;

	(void)state;
	assert_int_equal(mem_init(&mem, 4 * MIB, false, &err), 0);
	for (uint64_t size = 3 * MIB - 4096; size <= 4 * MIB; size += 2048) {
		int rc = pvh_load(&mem, file(&i, sizeof(i)), file(large, size), "", &entry, &err);

		assert_int_equal(rc, size <= 3 * MIB - 4096 ? 0 : -ENOMEM);
	}
	assert_non_null(strstr(err.text, "initramfs"));
	mem_done(&mem);
}

static uint8_t sum(const uint8_t *p, size_t size)
{
	uint8_t s = 0;

	while (size--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void test_mptable(void **state)
{
	struct error err = {0};
	struct mem mem;

	(void)state;
	assert_int_equal(mem_init(&mem, 2 * MIB, false, &err), 0);
	for (uint32_t cpus = 1; cpus <= 64; cpus *= 2) {
		const uint8_t *p = mem_at(&mem, GPA(0x9fc00), 16), *t;
		unsigned int seen[5] = {0}, n;
		size_t size;

		assert_int_equal(mptable_write(&mem, cpus, 5, 24, &err), 0);
		assert_memory_equal(p, "_MP_", 4);
		assert_int_equal(sum(p, 16), 0);
		t = mem_at(&mem, GPA(MPTABLE_AT), 3072);
		assert_memory_equal(t, "PCMP", 4);
		size = t[4] | t[5] << 8;
		assert_int_equal(sum(t, size), 0);
		n = t[34] | (unsigned int)t[35] << 8;
		t += 44;
		size -= 44;
		for (unsigned int i = 0; i < n; i++) {
			size_t entry = *t == 0 ? 20 : 8;

			assert_in_range(*t, 0, 4);
			assert_true(entry <= size);
			if (*t == 0)
				assert_int_equal(t[3], seen[0] ? 1 : 3);
			seen[*t]++;
			t += entry;
			size -= entry;
		}
		assert_int_equal(size, 0);
		assert_int_equal(seen[0], cpus);
		assert_int_equal(seen[1], 1);
		assert_int_equal(seen[2], 1);
		assert_int_equal(seen[3], 19);
		assert_int_equal(seen[4], 2);
	}
	assert_int_equal(mptable_write(&mem, 200, 5, 24, &err), -E2BIG);
	mem_done(&mem);
}

static struct kvm_cpuid_entry2 leaf(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index)
			return c->entries[i];
	fail_msg("no leaf 0x%x.%u", function, index);
	return c->entries[0];
}

static void test_cpuid(void **state)
{
	static const uint32_t functions[] = {0,
					     1,
					     4,
					     6,
					     7,
					     0xa,
					     0xb,
					     0x12,
					     0x14,
					     0x80000001,
					     0x8000000a,
					     0x8000001e,
					     KVM_CPUID_FEATURES};
	const size_t n = sizeof(functions) / sizeof(functions[0]);
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + CPUID_ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2));

	(void)state;
	c->nent = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		c->entries[i] = (struct kvm_cpuid_entry2){
			.function = functions[i], .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u};
	cpuid_adjust(c, 4);
	cpuid_set_cpu(c, 3);
	assert_int_equal(leaf(c, 1, 0).ebx >> 24, 3);
	assert_int_equal(leaf(c, 1, 0).ebx >> 16 & 0xff, 4);
	assert_false(leaf(c, 1, 0).ecx & 1u << 5);	    /* VMX */
	assert_true(leaf(c, 1, 0).ecx & 1u << 24);	    /* TSC deadline */
	assert_false(leaf(c, 0x80000001, 0).ecx & 1u << 2); /* SVM */
	assert_int_equal(leaf(c, 6, 0).eax, 1 << 2);
	assert_false(leaf(c, 7, 0).edx & (7u << 24 & ~(1u << 26) & ~(1u << 27))); /* AMX */
	assert_int_equal(leaf(c, 0xa, 0).eax | leaf(c, 0x8000000a, 0).edx, 0);
	assert_int_equal(leaf(c, 0xb, 1).ebx, 4);
	assert_int_equal(leaf(c, 0xb, 1).eax, 2);
	assert_int_equal(leaf(c, 0xb, 0).edx, 3);
	assert_int_equal(leaf(c, 0x8000001e, 0).eax, 3);
	assert_true(leaf(c, KVM_CPUID_FEATURES, 0).eax & 1u << KVM_FEATURE_CLOCKSOURCE2);
	assert_false(leaf(c, KVM_CPUID_FEATURES, 0).eax & 1u << KVM_FEATURE_MIGRATION_CONTROL);
	/* The others are told the same, but who they are. */
	cpuid_set_cpu(c, 0);
	assert_int_equal(leaf(c, 1, 0).ebx >> 24, 0);
	assert_int_equal(leaf(c, 0xb, 1).edx, 0);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pvh),	  cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_no_kernel), cmocka_unit_test(test_initrd_too_large),
		cmocka_unit_test(test_mptable),	  cmocka_unit_test(test_cpuid),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
