/* SPDX-License-Identifier: MIT */
/* wire_codec.h - numbers, heads and bodies of frames: for the files that encode and decode them. */
#ifndef PATHBUS_COMMON_WIRE_CODEC_H
#define PATHBUS_COMMON_WIRE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

static inline void put16(unsigned char *to, uint16_t value)
{
	to[0] = (unsigned char)value;
	to[1] = (unsigned char)(value >> 8);
}

static inline void put32(unsigned char *to, uint32_t value)
{
	put16(to, (uint16_t)value);
	put16(to + 2, (uint16_t)(value >> 16));
}

static inline void put64(unsigned char *to, uint64_t value)
{
	put32(to, (uint32_t)value);
	put32(to + 4, (uint32_t)(value >> 32));
}

static inline uint16_t get16(const unsigned char *from)
{
	return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t get32(const unsigned char *from)
{
	return get16(from) | (uint32_t)get16(from + 2) << 16;
}

static inline uint64_t get64(const unsigned char *from)
{
	return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* Writes the header of a frame whose body has `size` bytes; returns where the body starts. */
static inline unsigned char *begin(void *to, enum wire_type type, uint32_t request, size_t size)
{
	unsigned char *at = to;

	put32(at, (uint32_t)(WIRE_HEADER_SIZE + size));
	put16(at + 4, (uint16_t)type);
	put16(at + 6, 0);
	put32(at + 8, request);
	return at + WIRE_HEADER_SIZE;
}

/* Where the body of a frame starts, if it has between `min` and `max` bytes; else NULL. */
static inline const unsigned char *body(const void *frame, size_t size, size_t min, size_t max)
{
	if (size < WIRE_HEADER_SIZE + min || size > WIRE_HEADER_SIZE + max)
		return NULL;
	return (const unsigned char *)frame + WIRE_HEADER_SIZE;
}

#endif
