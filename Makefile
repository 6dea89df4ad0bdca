# SPDX-License-Identifier: GPL-2.0
# make              build/weir and the link ./weir
# sudo make demo    the tour: namespaces, nginx, wrk, live rates (installs what it needs)
# sudo make demo-sock  local sockets: wrk before, with and after the short cut
# sudo make docker-demo  containers: weir beside nginx, haproxy and nftables (DEMO_ARGS=-h)
# sudo make test    every test (installs what it needs)
# make bench        cost per packet, against the peers installed here
# make install      honours DESTDIR and PREFIX
# make lint         clang-format, clang-tidy, shellcheck, pyflakes3
# make sanitize     unit tests under ASan and UBSan

PREFIX       ?= /usr/local
SBINDIR      ?= $(PREFIX)/sbin
MANDIR       ?= $(PREFIX)/share/man
COMPLETIONS  ?= $(PREFIX)/share/bash-completion/completions
CLANG        ?= clang
BPFTOOL      ?= $(shell PATH="$$PATH:/usr/sbin" command -v bpftool || echo bpftool)
VERSION      := $(shell cat loader/VERSION)
B            ?= build

CFLAGS       ?= -O2 -g
WARNINGS     := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes
CPPFLAGS     += -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -I. -isystem $(B)
ALL_CFLAGS   := -std=gnu11 $(WARNINGS) $(CFLAGS)
LDLIBS       += -lxdp -lbpf -lelf -lz -lmnl -ljansson -lncursesw -ltinfo -lm
MULTIARCH    := $(shell $(CC) -print-multiarch 2>/dev/null)
BPF_CFLAGS   := -target bpf -mcpu=v3 -std=gnu11 -O2 -g -Wall -Wextra \
		$(if $(MULTIARCH),-idirafter /usr/include/$(MULTIARCH)) $(BPF_DEFS)

BPF_SOURCES  := $(wildcard xdp/*.bpf.c tc/*.bpf.c sockops/*.bpf.c trace/*.bpf.c)
SKELETONS    := $(patsubst %.bpf.c,$(B)/%.skel.h,$(notdir $(BPF_SOURCES)))
SOURCES      := $(wildcard loader/*.c loader/*/*.c loader/*/*/*.c)
OBJECTS      := $(SOURCES:%.c=$(B)/%.o)
LIBRARY      := $(filter-out $(B)/loader/main.o,$(OBJECTS))

vpath %.bpf.c xdp tc sockops trace

.PHONY: all weir clean install uninstall deps demo demo-sock docker-demo test bench lint sanitize
.DELETE_ON_ERROR:
.PRECIOUS: $(B)/%.bpf.o $(B)/%.skel.h $(B)/%.o

all: weir

weir: $(B)/weir
	@test $(B) != build || ln -sfn $< $@

$(B)/weir: $(OBJECTS)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/%.bpf.o: %.bpf.c | $(B)
	$(CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@

$(B)/%.skel.h: $(B)/%.bpf.o
	$(BPFTOOL) gen skeleton $< name $(subst .,_,$*)_bpf > $@

$(B)/%.o: %.c loader/VERSION | $(SKELETONS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MD -MP -c $< -o $@

$(B):
	mkdir -p $@

include tests/tests.mk

deps:
	tests/deps.sh

demo: deps
	$(MAKE) weir
	tests/demo.sh

demo-sock: deps
	$(MAKE) weir
	WEIR=$(B)/weir tests/demo_sock.sh

# It builds weir in a container, and sees to Docker itself.
docker-demo:
	tests/deps.sh demo
	docker/run.py $(DEMO_ARGS)

install: weir
	install -Dm755 $(B)/weir $(DESTDIR)$(SBINDIR)/weir
	install -Dm644 docs/weir.8 $(DESTDIR)$(MANDIR)/man8/weir.8
	install -Dm644 docs/weir.bash $(DESTDIR)$(COMPLETIONS)/weir

uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/weir $(DESTDIR)$(MANDIR)/man8/weir.8 $(DESTDIR)$(COMPLETIONS)/weir

clean:
	rm -rf $(B) weir

-include $(OBJECTS:.o=.d) $(SKELETONS:.skel.h=.bpf.d)
