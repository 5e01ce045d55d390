/* SPDX-License-Identifier: MIT */
/*
 * fuzz_main.c - runs a fuzzing function without a fuzzer: every file of the corpus, then a fixed number of
 * inputs made from them by a generator with a fixed seed. They are the same each time, so what fails once
 * fails again, and with -k the input that did it can be kept.
 *
 * fuzz-decode [-n COUNT] [-k FILE] CORPUS-FOLDER-OR-FILE...      (PATHBUS_TEST_FULL=1: twenty times as many)
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INPUTS 1024
#define MAX_SIZE 16384u

static struct input {
	uint8_t *data;
	size_t size;
} inputs[MAX_INPUTS];
static size_t n_inputs;

/* --- the corpus -------------------------------------------------------------------------------------- */

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static void read_input(const char *path)
{
	struct input *input = &inputs[n_inputs];
	FILE *file = fopen(path, "rb");

	if (!file)
		die(path);
	if (n_inputs == MAX_INPUTS) {
		fprintf(stderr, "more than %d inputs\n", MAX_INPUTS);
		exit(EXIT_FAILURE);
	}
	input->data = malloc(MAX_SIZE);
	if (!input->data)
		die("malloc");
	input->size = fread(input->data, 1, MAX_SIZE, file);
	fclose(file);
	n_inputs++;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* in the same order wherever it runs */
}

static void read_inputs(const char *path)
{
	struct dirent **entries;
	struct stat st;
	int n;

	if (stat(path, &st) < 0)
		die(path);
	if (!S_ISDIR(st.st_mode)) {
		read_input(path);
		return;
	}
	n = scandir(path, &entries, NULL, by_name);
	if (n < 0)
		die(path);
	for (int i = 0; i < n; i++) {
		char file[4096];

		if (entries[i]->d_name[0] != '.') {
			snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
			read_input(file);
		}
		free(entries[i]);
	}
	free(entries);
}

/* --- mutations --------------------------------------------------------------------------------------- */

static uint64_t state = 1;

static uint32_t below(uint32_t limit)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % (limit ? limit : 1);
}

static size_t cut(uint8_t *data, size_t size)
{
	size_t from = below((uint32_t)size), n = 1 + below((uint32_t)(size - from));

	memmove(data + from, data + from + n, size - from - n);
	return size - n;
}

static size_t splice(uint8_t *data, size_t size)
{
	const struct input *other = &inputs[below((uint32_t)n_inputs)];
	size_t from = below((uint32_t)other->size), n = other->size - from,
	       to = below((uint32_t)size + 1);

	if (n > MAX_SIZE - to)
		n = MAX_SIZE - to;
	memcpy(data + to, other->data + from, n);
	return to + n > size ? to + n : size;
}

static size_t mutate(uint8_t *data, size_t size)
{
	static const uint8_t favourites[] = { 0, 1, 0x7f, 0x80, 0xff, '/', '\\', 12 };
	size_t at;

	if (size == 0)
		return splice(data, size);
	at = below((uint32_t)size);
	switch (below(7)) {
	case 0:
		data[at] ^= (uint8_t)(1u << below(8));
		return size;
	case 1:
		data[at] = (uint8_t)below(256);
		return size;
	case 2:
		data[at] = favourites[below(sizeof(favourites))];
		return size;
	case 3: /* a number of two bytes, near another */
		if (at + 1 < size) {
			uint32_t number = (data[at] | (uint32_t)data[at + 1] << 8) + below(9) - 4;

			data[at] = (uint8_t)number;
			data[at + 1] = (uint8_t)(number >> 8);
		}
		return size;
	case 4:
		return cut(data, size);
	case 5:
		return splice(data, size);
	default: /* one more */
		if (size < MAX_SIZE) {
			memmove(data + at + 1, data + at, size - at);
			data[at] = (uint8_t)below(256);
			return size + 1;
		}
		return size;
	}
}

static const char *keep; /* each input is written there before it is run */

static void run(const uint8_t *data, size_t size)
{
	if (keep) {
		FILE *file = fopen(keep, "wb");

		if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
			die(keep);
	}
	LLVMFuzzerTestOneInput(data, size);
}

static void run_mutation(void)
{
	static uint8_t data[MAX_SIZE];
	const struct input *input = &inputs[below((uint32_t)n_inputs)];
	size_t size = input->size;

	memcpy(data, input->data, size);
	for (uint32_t n = 1 + below(4); n > 0; n--)
		size = mutate(data, size);
	run(data, size);
}

int main(int argc, char **argv)
{
	const char *full = getenv("PATHBUS_TEST_FULL");
	unsigned long n_mutations = 200000;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
			n_mutations = strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-k") == 0 && i + 1 < argc)
			keep = argv[++i];
		else
			read_inputs(argv[i]);
	}
	if (n_inputs == 0) {
		fprintf(stderr, "usage: %s [-n COUNT] [-k FILE] CORPUS-FOLDER-OR-FILE...\n",
			argv[0]);
		return EXIT_FAILURE;
	}
	if (full && strcmp(full, "1") == 0)
		n_mutations *= 20;
	for (size_t i = 0; i < n_inputs; i++)
		run(inputs[i].data, inputs[i].size);
	for (unsigned long i = 0; i < n_mutations; i++)
		run_mutation();
	printf("%zu inputs, %lu mutations\n", n_inputs, n_mutations);
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].data);
	return EXIT_SUCCESS;
}
