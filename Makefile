# Enxame.  `make`, `make check`, `make install PREFIX=/usr DESTDIR=...`; `make help` lists the rest.

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
V ?= 0
WERROR ?= 0
SANITIZE ?=
VERSION := 0.1.0

ifeq ($(origin CC),default)
CC := gcc
endif

# Each set of sanitizers builds into a folder of its own.
comma := ,
empty :=
space := $(empty) $(empty)
set := $(subst $(space),-,$(strip $(subst $(comma), ,$(SANITIZE))))
out := $(BUILD)$(if $(set),/$(set))

packages := libmicrohttpd libcurl jansson sqlite3 gnutls libedit libpq

# Hashes several blocks at once, on processors that it knows: 1 or 0, by default whether it is there.
IPSEC_MB ?= $(shell printf '\043include <intel-ipsec-mb.h>\n' | $(CC) -E -x c - >/dev/null 2>&1 && echo 1 || echo 0)
IPSEC_MB := $(IPSEC_MB)
ifeq ($(IPSEC_MB),1)
libs_ipsec_mb := -lIPSec_MB
unused := common/leaves_gnutls.c
else
unused := common/leaves_ipsec_mb.c
endif

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wundef
ifeq ($(WERROR),1)
warnings += -Werror
endif
hardening := -fstack-protector-strong -fPIE
ifeq ($(SANITIZE),)
hardening += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
hardening += -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
sanitize_link := -fsanitize=$(SANITIZE)
endif

CFLAGS ?= -O2 -g
all_cflags := -std=c17 -D_GNU_SOURCE -DENXAME_VERSION='"$(VERSION)"' -iquote common -include common/banned.h \
	$(warnings) $(hardening) -pthread $(shell pkg-config --cflags $(packages)) $(CFLAGS)
all_ldflags := -pie -pthread -Wl,-z,relro,-z,now $(sanitize_link) $(LDFLAGS)
libs_common := $(shell pkg-config --libs libmicrohttpd libcurl jansson sqlite3 gnutls) $(libs_ipsec_mb)
libs_tracker := $(shell pkg-config --libs libpq)
libs_peer := $(shell pkg-config --libs libedit) -lm

ifeq ($(V),0)
quiet = @printf '  %-8s %s\n' $(1) $(2);
else
quiet =
endif

# The rooms of a program see each other's headers, but not those of the other program; common/ sees none of them.
peer_rooms := $(sort $(dir $(wildcard peer/*.h peer/*/*.h)))
tracker_rooms := $(sort $(dir $(wildcard tracker/*.h tracker/*/*.h)))
rooms := $(tracker_rooms) $(peer_rooms)
rooms_of = $(if $(filter peer/% tests/%,$1),$(peer_rooms)) $(if $(filter tracker/% tests/%,$1),$(tracker_rooms))
includes = $(patsubst %,-iquote %,$(call rooms_of,$<))

objects = $(patsubst %.c,$(out)/obj/%.o,$(filter-out $(unused),$(wildcard $(1:%=%/*.c))))
common_objects := $(call objects,common)
tracker_objects := $(call objects,$(tracker_rooms:%/=%))
peer_objects := $(call objects,$(peer_rooms:%/=%))
unit_sources := $(wildcard tests/unit/test_*.c)
unit_programs := $(patsubst tests/unit/%.c,$(out)/unit/%,$(unit_sources))
fuzz_sources := $(wildcard tests/fuzz/fuzz_*.c)
fuzz_programs := $(patsubst tests/fuzz/%.c,$(out)/fuzz/%,$(fuzz_sources))

.PHONY: all check unit fuzz install uninstall clean hdr-check lint format help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(out)/tracker $(out)/peer

help:
	@echo 'make                     build/tracker and build/peer'
	@echo 'make check               unit tests'
	@echo 'make fuzz                fuzz targets (clang), into a folder of their own'
	@echo 'make hdr-check           every header compiles alone'
	@echo 'make lint                clang-tidy, cppcheck, clang-format'
	@echo 'make install uninstall   PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'options: V=1 (show commands), CC=clang, SANITIZE=address,undefined or thread, WERROR=1'

# What was compiled with other flags is compiled again.
flags_now := $(CC) $(all_cflags) $(all_ldflags) $(libs_ipsec_mb)
$(out)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(flags_now))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(flags_now))' > $@
FORCE:

$(out)/obj/%.o: %.c $(out)/flags
	@mkdir -p $(@D)
	$(call quiet,CC,$@)$(CC) $(all_cflags) $(includes) -MMD -MP -c $< -o $@

$(out)/tracker: $(tracker_objects) $(common_objects)
	$(call quiet,LINK,$@)$(CC) $(all_ldflags) $^ $(libs_common) $(libs_tracker) -o $@

$(out)/peer: $(peer_objects) $(common_objects)
	$(call quiet,LINK,$@)$(CC) $(all_ldflags) $^ $(libs_common) $(libs_peer) -o $@

# A unit test is linked with everything but the two main()s.
testable_objects := $(common_objects) $(filter-out %/main.o,$(tracker_objects) $(peer_objects))
$(out)/libtestable.a: $(testable_objects)
	@rm -f $@
	$(call quiet,AR,$@)ar rcs $@ $^

$(out)/unit/%: $(out)/obj/tests/unit/%.o $(out)/libtestable.a
	@mkdir -p $(@D)
	$(call quiet,LINK,$@)$(CC) $(all_ldflags) $^ -lcmocka $(libs_common) $(libs_tracker) $(libs_peer) -o $@

with_postgres := $(if $(wildcard /usr/bin/python3),/usr/bin/python3 tests/e2e/postgres.py)

unit: $(unit_programs)

# With a PostgreSQL server for those that want one.
check: all unit
	@$(with_postgres) tests/unit/run $(unit_programs)

# libFuzzer needs clang; everything is compiled again with coverage into a folder of its own.
fuzz:
	+@$(MAKE) --no-print-directory fuzz-programs CC=clang SANITIZE=fuzzer-no-link,address,undefined

.PHONY: fuzz-programs
fuzz-programs: $(fuzz_programs)

$(out)/fuzz/%: $(out)/obj/tests/fuzz/%.o $(out)/libtestable.a
	@mkdir -p $(@D)
	$(call quiet,LINK,$@)$(CC) -pie -pthread -fsanitize=fuzzer,address,undefined $^ $(libs_common) \
		$(libs_tracker) $(libs_peer) -o $@

headers := $(wildcard common/*.h $(rooms:%=%*.h))
hdr-check: $(patsubst %,$(out)/hdr/%.ok,$(headers))
$(out)/hdr/%.ok: % $(out)/flags
	@mkdir -p $(@D)
	$(call quiet,HDR,$<)printf '#include "%s"\n' $< | $(CC) $(all_cflags) -iquote . $(includes) -Werror -fsyntax-only \
		-x c - && touch $@

sources := $(filter-out $(unused),$(wildcard common/*.c $(rooms:%=%*.c)))
tests_c := $(wildcard tests/unit/*.c tests/unit/*.h tests/fuzz/*.c tests/fuzz/*.h)
lint: lint-format lint-cppcheck lint-tidy
.PHONY: lint-format lint-cppcheck lint-tidy
lint-format:
	$(call quiet,FORMAT,check)clang-format --dry-run --Werror $(sources) $(headers) $(tests_c)
lint-cppcheck:
	$(call quiet,CPPCHECK,all)cppcheck --quiet -j "$$(nproc)" --error-exitcode=1 --std=c11 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingIncludeSystem --suppress=unusedStructMember \
		--suppress=nullPointerOutOfMemory --suppress=normalCheckLevelMaxBranches \
		-Icommon $(rooms:%=-I%) -D_GNU_SOURCE -DENXAME_VERSION='"$(VERSION)"' $(sources)
lint-tidy: $(patsubst %.c,$(out)/tidy/%.ok,$(sources))
$(out)/tidy/%.ok: %.c .clang-tidy $(headers)
	@mkdir -p $(@D)
	$(call quiet,TIDY,$<)clang-tidy --quiet $< -- $(filter-out -f% -U_% -D_FORTIFY%,$(all_cflags)) $(includes) 2>$@.log \
		|| { cat $@.log; exit 1; }
	@touch $@

format:
	clang-format -i $(sources) $(headers) $(tests_c)

units := $(wildcard packaging/*.service)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/enxame
	install -m 755 $(out)/tracker $(DESTDIR)$(PREFIX)/bin/tracker
	install -m 755 $(out)/peer $(DESTDIR)$(PREFIX)/bin/peer
	install -m 644 README.md LICENSE docs/*.md $(DESTDIR)$(PREFIX)/share/doc/enxame
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in $(units); do sed 's|@PREFIX@|$(PREFIX)|g' "$$unit" \
		| install -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}" || exit 1; done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/tracker $(DESTDIR)$(PREFIX)/bin/peer
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/enxame
	rm -f $(units:packaging/%=$(DESTDIR)$(PREFIX)/lib/systemd/system/%)

clean:
	rm -rf $(BUILD)

-include $(shell find $(out)/obj -name '*.d' 2>/dev/null)
