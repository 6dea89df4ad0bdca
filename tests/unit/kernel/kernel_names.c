// SPDX-License-Identifier: GPL-2.0
/* Names of the running kernel: enumerators from its BTF, places from kallsyms. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "loader/kernel/kernel_names.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static const char kallsyms[] = "ffffffff81000100 t local_alias\n"
			       "ffffffff81000100 T global_name\n"
			       "ffffffff81000100 t another_alias\n"
			       "ffffffff81000000 T _text\n"
			       "ffffffff81000200 D data\n"
			       "ffffffff81000180 W weak\n"
			       "0000000000000000 T hidden\n"
			       "not a line\n"
			       "ffffffffc0001000 t nft_do_chain\t[nf_tables]\n"
			       "ffffffffc0000000 t bpf_prog_0123456789abcdef_weir_drops\t[bpf]";

static void read_text(const char *text)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");

	assert_non_null(f);
	assert_int_equal(kernel_symbols_read(f), 0);
	fclose(f);
}

static void assert_symbol(__u64 address, const char *expected)
{
	char text[KERNEL_SYMBOL_TEXT];

	assert_string_equal(kernel_symbol(address, text), expected);
}

static void test_symbols(void **state)
{
	(void)state;
	read_text(kallsyms);
	assert_symbol(0xffffffff81000000, "_text+0x0");
	assert_symbol(0xffffffff810000ff, "_text+0xff");
	assert_symbol(0xffffffff81000100, "global_name+0x0");
	assert_symbol(0xffffffff8100017f, "global_name+0x7f");
	assert_symbol(0xffffffff81000210, "weak+0x90");
	assert_symbol(0xffffffffc0001010, "nft_do_chain+0x10 [nf_tables]");
	assert_symbol(0xffffffffc0000fff, "bpf_prog_0123456789abcdef_weir_drops+0xfff [bpf]");
	assert_symbol(0xffffffff80ffffff, "0xffffffff80ffffff");
	assert_symbol(0xffffffffa0000000, "0xffffffffa0000000");
	assert_symbol(0, "0x0");
	kernel_symbols_forget();
}

static void test_hidden(void **state)
{
	(void)state;
	read_text("0000000000000000 T _text\n0000000000000000 t x\n");
	assert_symbol(0xffffffff81000000, "0xffffffff81000000");
	kernel_symbols_forget();
}

static void test_many(void **state)
{
	static char text[100000 * 32];
	char *at = text;

	(void)state;
	for (unsigned int i = 100000; i > 0; i--)
		at += sprintf(at, "%016llx t f%u\n", 0xffffffff81000000 + 16ull * i, i);
	read_text(text);
	assert_symbol(0xffffffff81000010, "f1+0x0");
	assert_symbol(0xffffffff81000000 + 16ull * 77777 + 15, "f77777+0xf");
	assert_symbol(0xffffffff81000000 + 16ull * 100000 + 3, "f100000+0x3");
	kernel_symbols_forget();
}

static void test_enumerators(void **state)
{
	static const char prefix[] = "SKB_DROP_REASON_";
	__s64 value = -1;

	(void)state;
	if (!kernel_types() || kernel_enum_value("SKB_DROP_REASON_NO_SOCKET", &value))
		skip();
	assert_string_equal(kernel_enum_name("skb_drop_reason", prefix, value), "NO_SOCKET");
	assert_int_equal(kernel_enum_value("SKB_DROP_REASON_TCP_CSUM", &value), 0);
	assert_string_equal(kernel_enum_name("skb_drop_reason", prefix, value), "TCP_CSUM");
	assert_string_equal(kernel_enum_name("skb_drop_reason", "SKB_", value),
			    "DROP_REASON_TCP_CSUM");
	assert_string_equal(kernel_enum_name("skb_drop_reason", prefix, 0), "SKB_NOT_DROPPED_YET");
	assert_null(kernel_enum_name("skb_drop_reason", prefix, 0x7fff0000));
	assert_null(kernel_enum_name("no_such_enumeration", prefix, 0));
	assert_int_equal(kernel_enum_value("NO_SUCH_ENUMERATOR", &value), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_enumerators),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
