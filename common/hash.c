/* SPDX-License-Identifier: MIT */
/* hash.c - FNV-1a, 128 bits (IETF draft-eastlake-fnv). The prime is 2^88 + 2^8 + 0x3b. */
#include "hash.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

void hash_text(const void *data, size_t size, char *ret)
{
	uint64_t high = UINT64_C(0x6c62272e07bb0142), low = UINT64_C(0x62b821756295c58d);
	const unsigned char *at = data;

	for (size_t i = 0; i < size; i++) {
		uint64_t low_part, carry;

		low ^= at[i];
		/* (high, low) * (2^88 + 0x13b) modulo 2^128; the low word's product by 0x13b in two halves */
		low_part = (low & 0xffffffffu) * 0x13b;
		carry = (low >> 32) * 0x13b + (low_part >> 32);
		high = high * 0x13b + (carry >> 32) + (low << 24);
		low = (carry << 32) | (low_part & 0xffffffffu);
	}
	snprintf(ret, HASH_TEXT_SIZE, "%016" PRIx64 "%016" PRIx64, high, low);
}

uint64_t hash_number(const void *data, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const unsigned char *at = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}
