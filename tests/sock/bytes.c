// SPDX-License-Identifier: GPL-2.0
#include "sock.h"

#include <endian.h>
#include <string.h>

uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t roll(uint64_t *dice, uint64_t below)
{
	return mix((*dice)++) % below;
}

unsigned char byte_at(uint64_t key, uint64_t offset)
{
	return mix(key + offset / 8) >> offset % 8 * 8;
}

void fill(uint64_t key, uint64_t offset, void *to, size_t size)
{
	unsigned char *bytes = to;
	size_t at = 0;

	for (; at < size && (offset + at) % 8; at++)
		bytes[at] = byte_at(key, offset + at);
	for (; at + 8 <= size; at += 8) {
		uint64_t word = htole64(mix(key + (offset + at) / 8));

		memcpy(bytes + at, &word, 8);
	}
	for (; at < size; at++)
		bytes[at] = byte_at(key, offset + at);
}

ssize_t wrong_at(uint64_t key, uint64_t offset, const void *from, size_t size)
{
	const unsigned char *bytes = from;

	for (size_t at = 0; at < size;) {
		uint64_t word;

		if (!((offset + at) % 8) && at + 8 <= size) {
			memcpy(&word, bytes + at, 8);
			if (le64toh(word) == mix(key + (offset + at) / 8)) {
				at += 8;
				continue;
			}
		}
		if (bytes[at] != byte_at(key, offset + at))
			return at;
		at++;
	}
	return -1;
}
