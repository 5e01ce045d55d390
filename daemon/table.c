/* SPDX-License-Identifier: MIT */
/* table.c - a chained hash table of embedded entries. */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SIZE 64

int table_init(struct table *ret)
{
	struct table_entry **buckets = calloc(FIRST_SIZE, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	*ret = (struct table){ .buckets = buckets, .n_buckets = FIRST_SIZE };
	return 0;
}

void table_deinit(struct table *table)
{
	free(table->buckets);
	*table = (struct table){ 0 };
}

static struct table_entry **bucket(const struct table *table, uint64_t hash)
{
	return &table->buckets[hash & (table->n_buckets - 1)];
}

static void grow(struct table *table)
{
	struct table larger = { .n_buckets = 2 * table->n_buckets, .n = table->n };

	larger.buckets = calloc(larger.n_buckets, sizeof(*larger.buckets));
	if (!larger.buckets)
		return;
	for (size_t i = 0; i < table->n_buckets; i++) {
		struct table_entry *entry = table->buckets[i];

		while (entry) {
			struct table_entry *next = entry->next, **to = bucket(&larger, entry->hash);

			entry->next = *to;
			*to = entry;
			entry = next;
		}
	}
	free(table->buckets);
	*table = larger;
}

void table_add(struct table *table, struct table_entry *entry, uint64_t hash)
{
	struct table_entry **to;

	if (table->n >= table->n_buckets)
		grow(table);
	to = bucket(table, hash);
	entry->hash = hash;
	entry->next = *to;
	*to = entry;
	table->n++;
}

void table_remove(struct table *table, struct table_entry *entry)
{
	for (struct table_entry **at = bucket(table, entry->hash); *at; at = &(*at)->next) {
		if (*at == entry) {
			*at = entry->next;
			table->n--;
			return;
		}
	}
}

static struct table_entry *with_hash(struct table_entry *entry, uint64_t hash)
{
	while (entry && entry->hash != hash)
		entry = entry->next;
	return entry;
}

struct table_entry *table_first(const struct table *table, uint64_t hash)
{
	return with_hash(*bucket(table, hash), hash);
}

struct table_entry *table_next(const struct table_entry *entry)
{
	return with_hash(entry->next, entry->hash);
}

struct table_entry *table_any(const struct table *table)
{
	for (size_t i = 0; table->n > 0 && i < table->n_buckets; i++)
		if (table->buckets[i])
			return table->buckets[i];
	return NULL;
}

uint64_t table_mix(uint64_t number)
{
	number ^= number >> 33;
	number *= UINT64_C(0xff51afd7ed558ccd);
	number ^= number >> 33;
	number *= UINT64_C(0xc4ceb9fe1a85ec53);
	return number ^ number >> 33;
}
