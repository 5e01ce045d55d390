/* SPDX-License-Identifier: MIT */
/* found_print.c - what was found under a file, as tables for people. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "found.h"
#include "line.h"
#include "table.h"
#include "tell.h"

enum { DETAILS_SIZE = 160 };

/* Adds to what is there, after a comma. */
__attribute__((format(printf, 2, 3))) static void append(char text[DETAILS_SIZE], const char *format, ...)
{
	size_t used = strlen(text);
	va_list list;

	if (used > 0)
		used += (size_t)snprintf(text + used, DETAILS_SIZE - used, ", ");
	if (used >= DETAILS_SIZE)
		return;
	va_start(list, format);
	vsnprintf(text + used, DETAILS_SIZE - used, format, list);
	va_end(list);
}

static void append_region_flags(char text[DETAILS_SIZE], unsigned flags)
{
	if (flags & PATHBUS_REGION_DOUBLE)
		append(text, "double");
	if (flags & PATHBUS_REGION_RESERVE)
		append(text, "reserved");
	if (flags & PATHBUS_REGION_HUGE)
		append(text, "huge pages wanted");
}

static const char *who_may_connect(unsigned flags)
{
	return flags & PATHBUS_ENDPOINT_READERS ? "readers" : flags & PATHBUS_ENDPOINT_WRITERS ? "writers" : "this user";
}

/* --- who: a row for each process and each thing that it has ----------------------------------------------------- */

/* pid 0: nobody. */
static void add_who(struct table *table, const char *what, const char *name, pid_t pid, uid_t uid, const char *command,
		    const char *details)
{
	char process[24] = "", *shown = name ? strdup(tell_name(name)) : NULL;

	if (name && !shown)
		table->failed = true;
	if (pid)
		snprintf(process, sizeof(process), "%lld", (long long)pid);
	table_add(table, (const char *const[]){ what, shown, process, pid ? line_user(uid) : NULL,
					       command ? tell_name(command) : NULL, details });
	free(shown);
}

static void append_more(char details[DETAILS_SIZE], const struct found_more *more)
{
	if (more->has_rate)
		append(details, "%.1f posts/s", more->rate);
	if (more->knows_behind && more->behind_posts > 0)
		append(details, "%llu post%s behind", (unsigned long long)more->behind_posts, more->behind_posts == 1 ? "" : "s");
	if (more->knows_behind && more->behind_messages > 0)
		append(details, "%llu message%s behind", (unsigned long long)more->behind_messages,
		       more->behind_messages == 1 ? "" : "s");
	if (more->transport && strcmp(more->transport, "socket") == 0)
		append(details, "over its socket");
}

static void add_members(struct table *table, const struct found *found)
{
	for (size_t i = 0; i < found->n_members; i++) {
		const struct pathbus_member *at = &found->members[i];
		char details[DETAILS_SIZE] = "";

		if (at->is_link)
			append(details, "joins the daemon's side and the hidden folder's");
		else
			append(details, "%s", at->subscribes ? "subscribes" : "does not subscribe");
		if (!at->is_link)
			append(details, "%llu post%s", (unsigned long long)at->n_posts, at->n_posts == 1 ? "" : "s");
		if (found->more)
			append_more(details, &found->more[i]);
		add_who(table, at->is_link ? "link" : "member", NULL, at->pid, at->uid, at->command, details);
	}
}

static void add_regions(struct table *table, const struct found *found)
{
	for (size_t i = 0; i < found->n_regions; i++) {
		const struct pathbus_region_entry *at = &found->regions[i];
		char details[DETAILS_SIZE], size[LINE_BYTES_SIZE];

		line_bytes(at->data_size, size);
		for (unsigned k = 0; k < at->n_listed; k++) {
			const struct pathbus_holder *holder = &at->holders[k];

			details[0] = '\0';
			append(details, "%s", holder->writes ? "writes" : "reads");
			append(details, "%s, version %llu", size, (unsigned long long)at->version);
			append_region_flags(details, at->flags);
			add_who(table, "region", at->name, holder->pid, holder->uid, holder->command, details);
		}
		if (at->n_holders <= at->n_listed && at->n_listed > 0)
			continue;
		details[0] = '\0';
		append(details, at->n_listed ? "%u more" : "%u have it", at->n_holders - at->n_listed);
		append(details, "%s, version %llu", size, (unsigned long long)at->version);
		add_who(table, "region", at->name, 0, 0, NULL, details);
	}
}

static void add_locks(struct table *table, const struct found *found)
{
	for (size_t i = 0; i < found->n_locks; i++) {
		const struct pathbus_lock_info *at = &found->locks[i];
		unsigned n_all = at->n_holders + at->n_waiters;

		for (unsigned k = 0; k < at->n_parties; k++) {
			const struct pathbus_lock_party *party = &at->parties[k];
			char details[DETAILS_SIZE] = "", since[LINE_TIME_SIZE];

			line_time(line_time_of(party->since_ns), since);
			append(details, "%s", party->waits ? "waits for it" : "holds it");
			append(details, "%s since %s", party->shared ? "shared" : "exclusive", since);
			if (at->abandoned)
				append(details, "abandoned");
			add_who(table, "lock", at->name, party->pid, party->uid, party->command, details);
		}
		if (n_all > at->n_parties && at->n_parties > 0) {
			char details[DETAILS_SIZE] = "";

			append(details, "%u more", n_all - at->n_parties);
			add_who(table, "lock", at->name, 0, 0, NULL, details);
		} else if (at->n_parties == 0) {
			add_who(table, "lock", at->name, 0, 0, NULL,
				at->abandoned ? "abandoned" : found_lock_state(at->state));
		}
	}
}

static void append_endpoint(char details[DETAILS_SIZE], const struct pathbus_endpoint_entry *at)
{
	append(details, "%s", at->flags & PATHBUS_ENDPOINT_SEQPACKET ? "messages" : "streams");
	append(details, "for %s", who_may_connect(at->flags));
	if (at->n_waiting > 0)
		append(details, "%u wait to be taken", at->n_waiting);
}

bool found_print_who(const struct found *found)
{
	struct table table = { .n_columns = 6 };

	if (found->n_members + found->n_regions + found->n_locks + found->n_endpoints == 0) {
		printf("nobody has %s open\n", tell_name(found->file));
		return true;
	}
	table_add(&table, (const char *const[]){ "WHAT", "NAME", "PROCESS", "USER", "COMMAND", "DETAILS" });
	add_members(&table, found);
	add_regions(&table, found);
	add_locks(&table, found);
	for (size_t i = 0; i < found->n_endpoints; i++) {
		const struct pathbus_endpoint_entry *at = &found->endpoints[i];
		char details[DETAILS_SIZE] = "listens";

		append_endpoint(details, at);
		add_who(&table, "endpoint", at->name, at->pid, at->uid, at->command, details);
	}
	return table_print(&table);
}

/* --- the lists of one kind ---------------------------------------------------------------------------------------- */

/* "4711 alice server (writes), 4712 bob viewer"; NULL: out of memory. */
static char *holders_text(const struct pathbus_region_entry *region)
{
	char *text = strdup("");

	for (unsigned i = 0; text && i < region->n_listed; i++) {
		const struct pathbus_holder *at = &region->holders[i];
		char *longer;

		if (asprintf(&longer, "%s%s%lld %s %s%s", text, i ? ", " : "", (long long)at->pid, line_user(at->uid),
			     at->command[0] ? tell_name(at->command) : "-", at->writes ? " (writes)" : "") < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	if (text && region->n_holders > region->n_listed) {
		char *longer;

		if (asprintf(&longer, "%s%s%u more", text, *text ? ", " : "", region->n_holders - region->n_listed) < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	return text;
}

bool found_print_regions(const struct found *found)
{
	struct table table = { .n_columns = 7 };

	if (found->n_regions == 0)
		return true; /* as ls has it */
	table_add(&table, (const char *const[]){ "NAME", "SIZE", "VERSION", "MADE", "PAGES", "WHERE", "WHO HAS IT" });
	for (size_t i = 0; i < found->n_regions; i++) {
		const struct pathbus_region_entry *at = &found->regions[i];
		char size[LINE_BYTES_SIZE], version[24], made[DETAILS_SIZE] = "", *holders = holders_text(at);

		line_bytes(at->data_size, size);
		snprintf(version, sizeof(version), "%llu", (unsigned long long)at->version);
		append_region_flags(made, at->flags);
		if (holders)
			table_add(&table, (const char *const[]){ tell_name(at->name), size, version, made,
								found_pages(at->pages), tell_transport(at->place), holders });
		else
			table.failed = true;
		free(holders);
	}
	return table_print(&table);
}

bool found_print_endpoints(const struct found *found)
{
	struct table table = { .n_columns = 6 };

	if (found->n_endpoints == 0)
		return true;
	table_add(&table, (const char *const[]){ "NAME", "PROCESS", "USER", "COMMAND", "WHERE", "DETAILS" });
	for (size_t i = 0; i < found->n_endpoints; i++) {
		const struct pathbus_endpoint_entry *at = &found->endpoints[i];
		char process[24], details[DETAILS_SIZE] = "", *name = strdup(tell_name(at->name));

		snprintf(process, sizeof(process), "%lld", (long long)at->pid);
		append_endpoint(details, at);
		if (name)
			table_add(&table, (const char *const[]){ name, process, line_user(at->uid),
								at->command[0] ? tell_name(at->command) : NULL,
								tell_transport(at->place), details });
		else
			table.failed = true;
		free(name);
	}
	return table_print(&table);
}
