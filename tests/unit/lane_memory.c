/* SPDX-License-Identifier: MIT */
#include "lane_memory.h"

#include <check.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct lane_memory memory;

static const uint8_t id[PAGE_ID_SIZE] = { 0, 0, 0, 9, 8, 7, 6, 5 };
static const struct topic_key key = { .dir_dev = 7, .dir_ino = 8, .name_size = 4, .name = "file" };

void lane_memory_make(uint32_t ring_slots, uint32_t max_message)
{
	size_t unit = (size_t)sysconf(_SC_PAGESIZE), rounded;
	struct lane_shape shape;
	unsigned char *mapping;

	ck_assert_int_eq(lane_shape_make(ring_slots, max_message, &shape), 0);
	memory.size = lane_size(&shape);
	rounded = (memory.size + unit - 1) / unit * unit;
	memory.mapping_size = rounded + 2 * unit;
	mapping = mmap(NULL, memory.mapping_size, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(mapping, MAP_FAILED);
	ck_assert_int_eq(mprotect(mapping + unit, rounded, PROT_READ | PROT_WRITE), 0);
	memory.mapping = mapping;
	memory.page = (struct page *)(void *)(mapping + unit + rounded - memory.size);
	page_init(memory.page, &key, 1, id, &shape);
	ring_attach(&memory.ring, memory.page, memory.page + 1, &shape);
	atomic_store(&memory.page->messages, 1);
}

void lane_memory_unmake(void)
{
	if (memory.mapping)
		munmap(memory.mapping, memory.mapping_size);
	memory = (struct lane_memory){ 0 };
}

void lane_memory_start_at(uint64_t head, uint32_t n_skips)
{
	uint64_t n = memory.ring.n_slots;

	for (uint64_t i = 1; i <= n; i++) {
		uint64_t ticket = head - i * RING_TICKET;

		atomic_store(&memory.ring.slots[ticket / RING_TICKET & (n - 1)].tag, ticket | RING_VOID);
	}
	atomic_store(&memory.page->head, head);
	atomic_store(&memory.page->skips, ((head / RING_TICKET - 1) << 32) | n_skips);
}

uint32_t lane_memory_skips(void)
{
	return (uint32_t)atomic_load(&memory.page->skips);
}

/* --- messages ------------------------------------------------------------------------------------------------ */

static void sizes_of(uint64_t origin, uint64_t number, uint32_t most, uint32_t *ret_key, uint32_t *ret_data)
{
	uint64_t random = (origin * UINT64_C(0x9e3779b97f4a7c15) + number) * UINT64_C(0xbf58476d1ce4e5b9) >> 20;

	/* Every other one without a key, most in the slot. */
	*ret_key = number % 2 ? (uint32_t)(random % 9) : 0;
	*ret_data = (uint32_t)(random >> 8) % (number % 4 ? 70 : most - 8);
	if (*ret_key + *ret_data > most)
		*ret_data = most - *ret_key;
}

static unsigned char byte_of(uint64_t origin, uint64_t number, uint32_t at)
{
	return (unsigned char)(origin * 31 + number * 7 + at + (at >> 3) * 13);
}

struct ring_message lane_memory_message(uint64_t origin, uint64_t number, uint32_t most)
{
	static _Thread_local unsigned char bytes[RING_MAX_KEY + LANE_MAX_MESSAGE];
	struct ring_message message = {
		.origin = origin,
		.number = number,
		.before = ~number,
		.time_ns = number ^ origin,
		.pid = (uint32_t)number,
		.uid = (uint32_t)origin,
	};

	sizes_of(origin, number, most, &message.key_size, &message.data_size);
	for (uint32_t i = 0; i < message.key_size + message.data_size; i++)
		bytes[i] = byte_of(origin, number, i);
	message.key = bytes;
	message.data = bytes + message.key_size;
	return message;
}

bool lane_memory_is_whole(const struct ring_message *message, uint32_t most)
{
	const unsigned char *key_bytes = message->key, *data = message->data;
	uint32_t key_size, data_size;

	sizes_of(message->origin, message->number, most, &key_size, &data_size);
	if (message->key_size != key_size || message->data_size != data_size ||
	    message->uid != (uint32_t)message->origin || message->pid != (uint32_t)message->number ||
	    message->time_ns != (message->number ^ message->origin))
		return false;
	for (uint32_t i = 0; i < key_size; i++)
		if (key_bytes[i] != byte_of(message->origin, message->number, i))
			return false;
	for (uint32_t i = 0; i < data_size; i++)
		if (data[i] != byte_of(message->origin, message->number, key_size + i))
			return false;
	return true;
}
