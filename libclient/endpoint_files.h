/* SPDX-License-Identifier: MIT */
/*
 * endpoint_files.h - the files of endpoints in a sidecar's folder.
 *
 * Of each endpoint a record, `endpoint-HASH`, which says its name and whose it is, and a socket, `endpoint-HASH.socket`. HASH is
 * that of the name, which may be too long or too strange for a file. Who listens holds a lock on its record, so one that is
 * not locked is what a crash left. Both are made, exchanged and removed only with the lock of the name, a byte of the
 * sidecar's page: for some microseconds.
 */
#ifndef PATHBUS_ENDPOINT_FILES_H
#define PATHBUS_ENDPOINT_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hash.h"

#define ENDPOINT_FILE_SIZE 64

struct endpoint_names {
	char record[ENDPOINT_FILE_SIZE], socket[ENDPOINT_FILE_SIZE];
	char new_record[ENDPOINT_FILE_SIZE], new_socket[ENDPOINT_FILE_SIZE];
	off_t byte; /* of the page: the name's lock */
};

/* What a record says; as it stands in the file. */
struct endpoint_record {
	uint64_t magic;
	uint64_t id; /* random: inodes are used again at once */
	uint32_t pid, flags;
	uint32_t name_size;
	char name[256]; /* what is behind the name is 0 */
	uint32_t reserved;
};

void endpoint_names_make(const char *name, uint32_t size, struct endpoint_names *ret);
/* Makes the new record, locked. A descriptor, -errno. */
int endpoint_record_make(int dir, const struct endpoint_names *names, const struct endpoint_record *record);
/* Reads and checks one. 1: somebody listens there; 0: what a crash left, or none; -errno. */
int endpoint_record_read(int dir, const char *file, struct endpoint_record *ret);
/* Calls back for each record that somebody holds. The number of them, or what `fn` returned if that is not 0; -errno. */
int endpoint_records_each(int dir, int (*fn)(const struct endpoint_record *record, void *arg), void *arg);
/* Takes all files of endpoints out of the folder of a sidecar that is being removed. */
void endpoint_files_remove(int dir);

#endif
