# SPDX-License-Identifier: Apache-2.0
# The front door.  `make help` lists what there is.

BUILD ?= build
PREFIX ?= /usr
DESTDIR ?=
# Where container runtimes look for CNI plugins; many look in /opt/cni/bin.
CNI_DIR ?= $(PREFIX)/lib/cni
CC ?= cc
# SANITIZE=1: AddressSanitizer and UndefinedBehaviorSanitizer in every program but the guest's.
SANITIZE ?=
# STRICT=1: a test that is skipped has failed.
STRICT ?=

ifneq ($(SANITIZE),)
BUILD := build-sanitize
MESON_OPTIONS := -Db_sanitize=address,undefined -Db_lundef=false
endif

NINJA = ninja -C $(BUILD)

.PHONY: all
all: programs kernel ## build everything: programs, initramfs, guest kernel

.PHONY: help
help: ## show this
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

.PHONY: setup-build
setup-build:
	@scripts/setup scripts/packages-build.txt

.PHONY: setup-run
setup-run:
	@scripts/setup scripts/packages-run.txt

.PHONY: setup-check
setup-check: setup-run
	@scripts/setup scripts/packages-check.txt

$(BUILD)/build.ninja: | setup-build
	meson setup $(BUILD) --prefix $(PREFIX) -Dcni_dir=$(CNI_DIR) $(MESON_OPTIONS)

.PHONY: programs
programs: setup-build $(BUILD)/build.ninja ## build the programs and the initramfs
	@$(NINJA) --quiet

.PHONY: kernel
kernel: ## build the guest kernel (cached outside the tree)
	@scripts/setup guest/kernel/packages.txt
	@mkdir -p $(BUILD)
	@guest/kernel/build --out $(BUILD)/vmlinux >/dev/null

.PHONY: demo
demo: setup-check all ## a real container behind its own guest kernel
	@demo/run $(BUILD)

.PHONY: check
check: setup-check setup-conformance setup-lab all kmod ## all tests
	@STRICT=$(STRICT) tests/run $(BUILD)

.PHONY: check-unit
check-unit: setup-check programs ## the quick tests: no guest
	@STRICT=$(STRICT) tests/run $(BUILD) unit

.PHONY: check-sanitize
check-sanitize: ## all tests with ASan and UBSan
	@$(MAKE) --no-print-directory check SANITIZE=1

.PHONY: fuzz
fuzz: setup-check setup-build ## fuzz the parsers, FUZZ_SECONDS (60) each
	@tests/fuzz/run

# A host of the lab: kvm, sriov, cki, cki-vf (`lab/lab hosts`).
HOST ?= kvm

.PHONY: setup-lab
setup-lab:
	@scripts/setup scripts/packages-lab.txt

.PHONY: lab
lab: setup-lab all ## a shell in an emulated server with KVM (HOST=kvm)
	@BUILD=$(BUILD) lab/lab shell $(HOST)

.PHONY: check-in-lab
check-in-lab: setup-lab all kmod ## the tests, in an emulated server (HOST=kvm)
	@BUILD=$(BUILD) STRICT=$(STRICT) lab/lab test $(HOST)

.PHONY: check-lab
check-lab: setup-check setup-lab ## the lab's own tests
	@STRICT=$(STRICT) tests/run $(BUILD) lab

.PHONY: kmod
kmod: setup-lab programs ## build the module of the cki engine for the lab's kernel (cached)
	@lab/module --out $(BUILD)/caisson.ko caisson kmod >/dev/null

.PHONY: check-dkms
check-dkms: setup-lab all ## the module built by DKMS, for Debian's kernels and the newest backport
	@tests/kmod/dkms $(BUILD)

.PHONY: lab-iommufd
lab-iommufd: setup-lab ## build modules with iommufd for the lab's kernel (cached)
	@lab/iommufd $(BUILD)/lab-iommufd

.PHONY: check-iommufd
check-iommufd: lab-iommufd programs kernel ## passthrough with iommufd, in an emulated server
	lab/lab test -e CAISSON_TEST_IOMMU=iommufd --name iommufd --build $(BUILD) sriov passthrough

.PHONY: check-cki
check-cki: kmod all ## the module, its micro guests and a Linux on it, in an emulated server
	@BUILD=$(BUILD) STRICT=$(STRICT) lab/lab test cki

.PHONY: check-cki-mutants
check-cki-mutants: kmod ## the same with one check of the module taken out at a time
	@tests/cki/mutants $(BUILD)

.PHONY: check-bochs
check-bochs: kmod kernel setup-check ## the same on a second CPU model, which has what the emulator has not
	@STRICT=$(STRICT) tests/run $(BUILD) bochs

.PHONY: check-bochs-mutants
check-bochs-mutants: kmod ## and with what only that model shows taken out of the module
	@tests/bochs/mutants $(BUILD)

.PHONY: setup-conformance
setup-conformance: setup-check
	@scripts/setup scripts/packages-conformance.txt

.PHONY: check-conformance
check-conformance: setup-conformance all ## the OCI project's own validation programs
	@STRICT=$(STRICT) tests/run $(BUILD) conformance

.PHONY: bench-start
bench-start: setup-check all ## time of a start: against QEMU, on the engine that there is
	@bench/start/run $(BUILD)

.PHONY: bench-fastiov
bench-fastiov: setup-check setup-lab all ## starts with a network function, in the lab
	@scripts/setup scripts/packages-bench.txt
	@bench/fastiov/run $(BUILD)

# Clocks: emulated time, and counted instructions, which other load on the machine does not change;
# of several guests at once, where instructions are counted, one stalls sooner or later.
BENCH_START_LAB = lab/lab run kvm --build $(BUILD) --set hugepages=1024
.PHONY: bench-start-lab
bench-start-lab: setup-lab all ## the same on KVM, in the lab: against QEMU's microvm and crun
	@$(BENCH_START_LAB) --name bench-start --timeout 3600 -- bench/start/run /build
	@$(BENCH_START_LAB) --name bench-start-counted --icount --boot-timeout 900 \
		--timeout 3600 -- bench/start/run /build --rounds 4 --at-once 1

BENCH_CKI = lab/lab run cki --build $(BUILD) --set cpus=1 --timeout 3600 --boot-timeout 900
.PHONY: bench-cki
bench-cki: setup-lab all kmod ## a kernel in ring 1 against the host's, in the lab, by both clocks
	@bench/cki/sql-build $(BUILD)/bench/cki/sql
	@$(BENCH_CKI) --name bench-cki -- sh -c 'bench/cki/run /build && bench/cki/serve /build'
	@$(BENCH_CKI) --name bench-cki-counted --icount -- \
		sh -c 'bench/cki/run /build --rounds 3 --calls && bench/cki/serve /build --rounds 2'
	@for host in bench-cki bench-cki-counted; do for part in cki cki-servers; do \
		bench/cki/plot $(BUILD)/lab/results/$$host/$$part/results.json $(BUILD)/bench/$$host; done; done

.PHONY: bench-cki-nested
bench-cki-nested: setup-lab all kmod ## the same in a virtual machine, against nested KVM, too
	@bench/cki/sql-build $(BUILD)/bench/cki/sql
	@lab/lab run kvm --build $(BUILD) --name bench-cki-nested --set memory=9G --set hugepages=0 --set cpus=1 \
		--boot-timeout 900 --timeout 9000 -- bench/cki/nested /build
	@for part in cki cki-servers; do \
		bench/cki/plot $(BUILD)/lab/results/bench-cki-nested/$$part/results.json $(BUILD)/bench/bench-cki-nested; done

.PHONY: bench-vmm
bench-vmm: setup-check programs ## the machine monitor alone against QEMU, on any KVM
	@bench/vmm/run $(BUILD)

.PHONY: install
install: all ## install to $(DESTDIR)$(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild --quiet
	install -D -m 0644 $(BUILD)/vmlinux $(DESTDIR)$(PREFIX)/share/caisson/vmlinux

.PHONY: fmt
fmt: ## format the C sources
	@scripts/setup scripts/packages-fmt.txt
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

.PHONY: fmt-check
fmt-check:
	@scripts/setup scripts/packages-fmt.txt
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format --dry-run -Werror

.PHONY: clean
clean: ## remove the build directories (not the caches)
	lab/lab stop --all
	rm -rf build build-*
