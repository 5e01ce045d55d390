/* SPDX-License-Identifier: MIT */
/*
 * hash.h - FNV-1a with 128 bits: short names for long ones. Not against attackers: whoever finds a folder by
 * a hash still compares the full key in its page.
 */
#ifndef PATHBUS_COMMON_HASH_H
#define PATHBUS_COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_TEXT_SIZE 33 /* 32 hexadecimal digits and the end */

void hash_text(const void *data, size_t size, char *ret);
/* The same with 64 bits, as a number. */
uint64_t hash_number(const void *data, size_t size);

#endif
