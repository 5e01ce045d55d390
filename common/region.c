/* SPDX-License-Identifier: MIT */
/* region.c - what a region is called, how large its memory is, what its header says. */
#include "region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int region_shape_make(uint64_t data_size, unsigned flags, uint64_t page_size, struct region_shape *ret)
{
	struct region_shape shape = { .data_size = data_size, .page_size = page_size };

	if (data_size == 0 || data_size > REGION_MAX_DATA)
		return -EINVAL;
	if (page_size < REGION_PAGE || page_size > UINT64_C(1) << 34 || (page_size & (page_size - 1)) != 0)
		return -EINVAL;
	shape.n_frames = flags & REGION_DOUBLE ? 2 : 1;
	shape.frame_size = (data_size + page_size - 1) & ~(page_size - 1);
	shape.total = page_size + shape.n_frames * shape.frame_size;
	*ret = shape;
	return 0;
}

int region_name_check(const char *name)
{
	size_t size = strnlen(name, REGION_MAX_NAME + 1);

	return size == 0 ? -EINVAL : size > REGION_MAX_NAME ? -ENAMETOOLONG : 0;
}

void region_hash(const struct topic_key *key, const void *name, size_t size, char ret[HASH_TEXT_SIZE])
{
	unsigned char bytes[sizeof(*key) + REGION_MAX_NAME];

	memcpy(bytes, key, sizeof(*key));
	memcpy(bytes + sizeof(*key), name, size);
	hash_text(bytes, sizeof(*key) + size, ret);
}

void region_label(const char hash[HASH_TEXT_SIZE], const uint8_t id[REGION_ID_SIZE], uint64_t data_size, unsigned flags,
                  char ret[REGION_LABEL_SIZE])
{
	int used = snprintf(ret, REGION_LABEL_SIZE, "pathbus-region:%.32s:", hash);

	for (unsigned i = 0; i < REGION_ID_SIZE; i++)
		used += snprintf(ret + used, REGION_LABEL_SIZE - (size_t)used, "%02x", id[i]);
	snprintf(ret + used, REGION_LABEL_SIZE - (size_t)used, ":%llx:%x", (unsigned long long)data_size, flags);
}

void region_header_init(struct region_header *header, const struct topic_key *key, const char *name, size_t name_size,
                        const uint8_t id[REGION_ID_SIZE], uint64_t data_size, unsigned flags)
{
	header->magic = REGION_MAGIC;
	header->abi = REGION_ABI;
	header->flags = flags;
	memcpy(header->id, id, REGION_ID_SIZE);
	header->data_size = data_size;
	header->name_size = (uint32_t)name_size;
	header->key = *key;
	memcpy(header->name, name, name_size);
}

int region_header_check(const struct region_header *header, uint64_t size, const struct topic_key *key, const char *name,
                        struct region_shape *ret_shape, unsigned *ret_flags, char *ret_name)
{
	struct region_header copy; /* others may write meanwhile: looked at once */
	struct region_shape shape;

	memcpy(&copy, header, offsetof(struct region_header, sequence));
	if (copy.magic != REGION_MAGIC)
		return -EBADMSG;
	if (copy.abi != REGION_ABI)
		return -EPROTONOSUPPORT;
	if ((copy.flags & ~(unsigned)REGION_MADE_WITH) || copy.name_size == 0 || copy.name_size > REGION_MAX_NAME ||
	    memchr(copy.name, '\0', copy.name_size) || copy.name[copy.name_size] != '\0' ||
	    region_shape_make(copy.data_size, copy.flags, REGION_PAGE, &shape) < 0 || shape.total != size)
		return -EBADMSG;
	if ((key && !key_equal(&copy.key, key)) || (name && strcmp(copy.name, name) != 0))
		return -EBADMSG;
	*ret_shape = shape;
	*ret_flags = copy.flags;
	if (ret_name)
		memcpy(ret_name, copy.name, copy.name_size + 1);
	return 0;
}
