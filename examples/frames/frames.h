/* SPDX-License-Identifier: MIT */
/* frames.h - what server.c and viewer.c agree on. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* A frame of a region. What is behind the picture is not touched. */
struct frame {
	uint64_t number;    /* 1, 2, 3 ... */
	uint64_t drawn_ns;  /* CLOCK_MONOTONIC: when it was complete */
	uint64_t n_words;
	uint64_t picture[]; /* each word is the number: if a part of it were of another frame, it would show */
};

enum { MOST_REGIONS = 64, NAME_SIZE = 24 };

/* The names of the regions, from 0 on. */
static inline const char *region_name(int i, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "frame-%d", i);
	return name;
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
