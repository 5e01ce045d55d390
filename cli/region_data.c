/* SPDX-License-Identifier: MIT */
/* region_data.c - `pathbusctl region read|write|dump`: what is in a region. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "found.h"
#include "line.h"
#include "os/os.h"
#include "tell.h"
#include "thing.h"
#include "wait.h"

#define DEFAULT_TIMEOUT_NS UINT64_C(10000000000)
#define LOOK_NS UINT64_C(20000000) /* a writer that dies half-way publishes nothing: so it is looked at again */
#define DEFAULT_BYTES 256

static bool as_json;
static uint64_t timeout_ns = DEFAULT_TIMEOUT_NS, n_bytes = DEFAULT_BYTES;

enum { OPTION_JSON = OPTION_LONG, OPTION_TIMEOUT, OPTION_BYTES };

#define TIMEOUT { OPTION_TIMEOUT, "timeout", "SECONDS", "how long to wait while others write it or hold it (default: 10)" }

static const struct option_spec data_specs[] = { TIMEOUT, { 0 } };

static const struct option_spec dump_specs[] = {
	{ OPTION_BYTES, "bytes", "N", "how many of its bytes to show (default: 256)" },
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	TIMEOUT,
	{ 0 },
};

static bool set(int id, const char *value)
{
	if (id == OPTION_TIMEOUT)
		return options_seconds("timeout", value, &timeout_ns);
	if (id == OPTION_BYTES)
		return options_number("bytes", value, 0, 1048576, &n_bytes);
	as_json = true;
	return true;
}

/* An open region, and what it is. */
struct opened {
	struct thing thing;
	pathbus *bus;
	pathbus_region *region;
	struct pathbus_region_info info;
	uint64_t deadline_ns;
};

/* Returns STATUS_OK, and close_region closes it; or an exit status (told). */
static int open_region(const struct pathbus_options *options, char **words, unsigned topic_flags, unsigned flags,
		       struct opened *ret)
{
	pathbus_topic *topic;
	int error = wait_init(), status;

	*ret = (struct opened){ .thing = { .kind = "region", .name = words[1], .file = words[0] },
				.info.size = sizeof(ret->info) };
	if (error < 0) {
		tell("cannot start: %s", strerror(-error));
		return STATUS_FAILED;
	}
	status = thing_open_topic(options, words[0], topic_flags, &ret->bus, &topic);
	if (status != STATUS_OK)
		return status;
	error = pathbus_region_open(topic, words[1], flags, &ret->region);
	if (error == 0)
		error = pathbus_region_get_info(ret->region, &ret->info);
	if (error < 0) {
		status = thing_tell_error(&ret->thing, "open", error);
		pathbus_free(ret->bus);
	}
	ret->deadline_ns = os_now_ns() + timeout_ns;
	return status;
}

static int close_region(struct opened *opened, int status)
{
	pathbus_region_close(opened->region);
	pathbus_free(opened->bus);
	wait_end();
	return status;
}

/* --- read --------------------------------------------------------------------------------------------------------- */

/* The first `size` bytes of one version, whole. Returns 0, -EAGAIN at the deadline, -EINTR after a signal that asks to stop,
 * or an error of the library. */
static int read_whole(struct opened *opened, void *to, size_t size, uint64_t *ret_version)
{
	for (;;) {
		uint64_t version, seen, until;
		const void *data;
		int error = pathbus_region_get_info(opened->region, &opened->info);

		seen = opened->info.version;
		if (error == 0)
			error = pathbus_region_read_begin(opened->region, &data, &version);
		if (error == 0) {
			memcpy(to, data, size);
			error = pathbus_region_read_end(opened->region);
		}
		if (error == 0)
			*ret_version = version;
		if (error != -EAGAIN)
			return error;
		until = os_now_ns();
		if (until >= opened->deadline_ns)
			return -EAGAIN;
		until = opened->deadline_ns - until < LOOK_NS ? opened->deadline_ns : until + LOOK_NS;
		error = pathbus_region_wait(opened->region, &seen, until, 0);
		if (error < 0 && (error != -EINTR || wait_stopped()))
			return error;
	}
}

/* Also what a signal interrupted is no success. */
static int tell_read_error(const struct opened *opened, const char *verb, int error)
{
	return error == -EINTR ? STATUS_FAILED : thing_tell_error(&opened->thing, verb, error);
}

static int write_out(const unsigned char *at, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, at, size);

		if (n < 0 && errno == EINTR && !wait_stopped())
			continue;
		if (n < 0) {
			if (errno != EINTR)
				tell("cannot write to the output: %s", strerror(errno));
			return STATUS_FAILED;
		}
		at += n;
		size -= (size_t)n;
	}
	return STATUS_OK;
}

static int run_read(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct opened opened;
	unsigned char *frame;
	uint64_t version;
	int status = open_region(options, words, PATHBUS_SUBSCRIBE, PATHBUS_REGION_READ_ONLY, &opened), error;

	(void)n_words;
	if (status != STATUS_OK)
		return status;
	frame = malloc(opened.info.data_size);
	error = frame ? read_whole(&opened, frame, opened.info.data_size, &version) : -ENOMEM;
	status = error < 0 ? tell_read_error(&opened, "read", error) : write_out(frame, opened.info.data_size);
	free(frame);
	return close_region(&opened, status);
}

/* --- write -------------------------------------------------------------------------------------------------------- */

/* All of the input, of at most `size` bytes: before anything is written, since the input may be slow. */
static int read_in(const struct opened *opened, unsigned char *to, size_t size, size_t *ret_used)
{
	size_t used = 0;

	for (;;) {
		unsigned char more;
		ssize_t n = used < size ? read(STDIN_FILENO, to + used, size - used) : read(STDIN_FILENO, &more, 1);
		char text[LINE_BYTES_SIZE];

		if (n < 0 && errno == EINTR && !wait_stopped())
			continue;
		if (n < 0 && errno != EINTR)
			tell("cannot read the input: %s", strerror(errno));
		if (n < 0)
			return STATUS_FAILED;
		if (n == 0)
			break;
		if (used == size) {
			line_bytes(size, text);
			tell("the input is longer than region \"%s\", which has %s; nothing was written",
			     tell_name(opened->thing.name), text);
			return STATUS_FAILED;
		}
		used += (size_t)n;
	}
	*ret_used = used;
	return STATUS_OK;
}

/* All of the frame is written, so that it does not matter which of two it is. */
static int publish(struct opened *opened, const unsigned char *from, size_t used)
{
	void *data;
	int error;

	do
		error = pathbus_region_begin(opened->region, 0, opened->deadline_ns, &data);
	while (error == -EINTR && !wait_stopped());
	if (error < 0)
		return tell_read_error(opened, "write", error);
	if (used > 0)
		memcpy(data, from, used);
	memset((unsigned char *)data + used, 0, opened->info.data_size - used);
	error = pathbus_region_end(opened->region);
	return error < 0 ? thing_tell_error(&opened->thing, "publish", error) : STATUS_OK;
}

static int run_write(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct opened opened;
	unsigned char *input;
	size_t used = 0;
	int status = open_region(options, words, PATHBUS_POST, 0, &opened);

	(void)n_words;
	if (status != STATUS_OK)
		return status;
	input = malloc(opened.info.data_size);
	status = input ? read_in(&opened, input, opened.info.data_size, &used) :
			 thing_tell_error(&opened.thing, "write", -ENOMEM);
	if (status == STATUS_OK) {
		opened.deadline_ns = os_now_ns() + timeout_ns; /* the input is not what is waited for */
		status = publish(&opened, input, used);
	}
	free(input);
	return close_region(&opened, status);
}

/* --- dump --------------------------------------------------------------------------------------------------------- */

static void print_bytes(const unsigned char *bytes, size_t size)
{
	for (size_t at = 0; at < size; at += 16) {
		printf("%08zx ", at);
		for (size_t i = at; i < at + 16; i++)
			if (i < size)
				printf("%s%02x", i % 8 ? " " : "  ", bytes[i]);
			else
				printf("%s  ", i % 8 ? " " : "  ");
		printf("  |");
		for (size_t i = at; i < at + 16 && i < size; i++)
			putchar(bytes[i] < 0x80 && isprint(bytes[i]) ? bytes[i] : '.');
		printf("|\n");
	}
}

static void print_text(const struct line_region *line)
{
	const struct pathbus_region_info *info = line->info;
	char size[LINE_BYTES_SIZE];

	line_bytes(info->data_size, size);
	printf("region     %s\n", tell_name(line->name));
	printf("file       %s\n", tell_name(line->file));
	printf("size       %zu bytes (%s)%s\n", info->data_size, size,
	       info->flags & PATHBUS_REGION_DOUBLE ? ", twice: double buffered" : "");
	printf("version    %llu%s\n", (unsigned long long)line->version, line->version ? "" : ": nothing was published yet");
	printf("pages      %s%s\n", found_pages(info->pages), info->flags & PATHBUS_REGION_RESERVE ? ", reserved" : "");
	printf("where      %s\n", info->place == PATHBUS_BUS ? "the daemon's memory (bus)" : "a file of this user's (peer)");
	printf("state      %s\n", !line->bytes ? "is being written, or its writer has stopped half-way" :
				  info->replaced ? "whole, but another has its name by now" : "whole");
	if (line->bytes)
		print_bytes(line->bytes, line->n_bytes);
}

static int run_dump(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct opened opened;
	struct line_region line;
	unsigned char *bytes;
	int status = open_region(options, words, PATHBUS_SUBSCRIBE, PATHBUS_REGION_READ_ONLY, &opened), error;
	char *text = NULL;

	(void)n_words;
	if (status != STATUS_OK)
		return status;
	line = (struct line_region){ .file = words[0], .name = words[1], .info = &opened.info };
	line.n_bytes = n_bytes < opened.info.data_size ? (size_t)n_bytes : opened.info.data_size;
	bytes = malloc(line.n_bytes + 1);
	error = bytes ? read_whole(&opened, bytes, line.n_bytes, &line.version) : -ENOMEM;
	/* What is not whole is not shown, but that is something to show. */
	line.bytes = error == 0 ? bytes : NULL;
	if (error == -EAGAIN)
		line.version = opened.info.version;
	if (error < 0 && error != -EAGAIN) {
		status = tell_read_error(&opened, "read", error);
	} else if (as_json) {
		text = line_region_json(&line);
		if (text)
			fputs(text, stdout);
		else
			tell("out of memory");
		status = text ? tell_flush() : STATUS_FAILED;
	} else {
		print_text(&line);
		status = tell_flush();
	}
	if (status == STATUS_OK && error == -EAGAIN)
		status = thing_tell_error(&opened.thing, "read", error);
	free(text);
	free(bytes);
	return close_region(&opened, status);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

const struct command command_region_read = {
	.name = "region read",
	.arguments = "FILE NAME",
	.summary = "write what is in a region to standard output",
	.about = "All of its bytes, as they are, of one version: while somebody writes it, that is waited for, and\n"
		 "where it was written meanwhile, it is read again. After --timeout the exit status is 124.",
	.options = data_specs,
	.set = set,
	.min_words = 2,
	.max_words = 2,
	.run = run_read,
};

const struct command command_region_write = {
	.name = "region write",
	.arguments = "FILE NAME",
	.summary = "publish standard input as the next version of a region",
	.about = "All of the input is read first; if it is longer than the region, nothing is written. The rest of\n"
		 "the region becomes zero. Those who wait for a new version are woken, and those who listen on the\n"
		 "file.",
	.options = data_specs,
	.set = set,
	.min_words = 2,
	.max_words = 2,
	.run = run_write,
};

const struct command command_region_dump = {
	.name = "region dump",
	.arguments = "FILE NAME",
	.summary = "print what a region is, and its first bytes, for people",
	.about = "Where it stays half-written until --timeout its bytes are not shown, and the exit status is 124.",
	.options = dump_specs,
	.set = set,
	.min_words = 2,
	.max_words = 2,
	.run = run_dump,
};
