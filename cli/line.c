/* SPDX-License-Identifier: MIT */
/* line.c - times, names of events, lines for people. */
#include "line.h"

#include <stdio.h>

#include "tell.h"

void line_time(struct timespec time, char ret[LINE_TIME_SIZE])
{
	char seconds[LINE_TIME_SIZE];
	struct tm parts;

	gmtime_r(&time.tv_sec, &parts);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(ret, LINE_TIME_SIZE, "%.20s.%03uZ", seconds, (unsigned)(time.tv_nsec / 1000000) % 1000);
}

struct timespec line_wall_clock(uint64_t monotonic_ns)
{
	struct timespec wall, now;
	int64_t ago, ns;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ago = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - (int64_t)monotonic_ns;
	ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec - ago;
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
}

const char *line_event_name(enum pathbus_event_kind kind)
{
	switch (kind) {
	case PATHBUS_EVENT_POST:
		return "post";
	case PATHBUS_EVENT_MESSAGE:
		return "message";
	case PATHBUS_EVENT_GAP:
		return "gap";
	case PATHBUS_EVENT_RESYNC:
		return "resync";
	case PATHBUS_EVENT_ERROR:
		return "error";
	}
	return "unknown"; /* of a newer library */
}

char *line_event_text(const struct line_event *line)
{
	char time[LINE_TIME_SIZE], *text;

	line_time(line->time, time);
	if (asprintf(&text, "%s %s %llu %s\n", time, line_event_name(line->event->kind),
		     (unsigned long long)line->event->count, tell_name(line->file)) < 0)
		return NULL;
	return text;
}
