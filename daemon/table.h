/* SPDX-License-Identifier: MIT */
/*
 * table.h - a chained hash table of entries embedded in what it holds.
 *
 * The caller hashes and compares. Entries with the same hash are walked by table_first and table_next. The
 * table doubles when it can; where memory is short it becomes slower, so adding never fails.
 */
#ifndef PATHBUS_DAEMON_TABLE_H
#define PATHBUS_DAEMON_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_entry {
	struct table_entry *next;
	uint64_t hash;
};

struct table {
	struct table_entry **buckets;
	size_t n_buckets; /* a power of two */
	size_t n;
};

int table_init(struct table *ret); /* 0, -ENOMEM */
void table_deinit(struct table *table); /* entries belong to the caller */

void table_add(struct table *table, struct table_entry *entry, uint64_t hash);
void table_remove(struct table *table, struct table_entry *entry);
struct table_entry *table_first(const struct table *table, uint64_t hash);
struct table_entry *table_next(const struct table_entry *entry); /* the next with the same hash */

/* Any entry, to empty the table; NULL when it is empty. */
struct table_entry *table_any(const struct table *table);

/* Spreads numbers that are close to each other. */
uint64_t table_mix(uint64_t number);

#define table_container(entry, type, member) ((type *)(void *)((char *)(entry)-offsetof(type, member)))

#endif
