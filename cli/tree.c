/* SPDX-License-Identifier: MIT */
/*
 * tree.c - paths as a tree of folders.
 *
 * Sorted by their components, all that is in one folder stands together: so a folder is a range of leaves, and what it is called
 * is where their paths agree. A folder with nothing but one folder in it is printed in one line with that.
 */
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paint.h"
#include "tell.h"

enum { MAX_DEPTH = 128 }; /* deeper ones stand in one line with their folders */

void tree_add(struct tree *tree, const char *path, const char *notes)
{
	struct tree_leaf *leaf;

	if (tree->n == tree->capacity) {
		size_t capacity = tree->capacity ? 2 * tree->capacity : 64;
		struct tree_leaf *grown = realloc(tree->leaves, capacity * sizeof(*grown));

		if (!grown) {
			tree->failed = true;
			return;
		}
		tree->leaves = grown;
		tree->capacity = capacity;
	}
	leaf = &tree->leaves[tree->n++];
	*leaf = (struct tree_leaf){ strdup(path), strdup(notes) };
	tree->failed |= !leaf->path || !leaf->notes;
}

/* '/' comes before all else, so that what is in a folder stands together. */
static int order_of(char c)
{
	return c == '\0' ? 0 : c == '/' ? 1 : (unsigned char)c + 1;
}

static int compare(const void *a, const void *b)
{
	const char *one = ((const struct tree_leaf *)a)->path, *other = ((const struct tree_leaf *)b)->path;

	while (*one && *one == *other) {
		one++;
		other++;
	}
	return order_of(*one) - order_of(*other);
}

/* --- printing ------------------------------------------------------------------------------------------------------ */

struct printing {
	const struct tree_leaf *leaves;
	bool lines;             /* may they be drawn? */
	bool open[MAX_DEPTH];   /* does more come at this depth? */
};

static void print_branch(const struct printing *printing, unsigned depth, bool is_last)
{
	static const char *const drawn[] = { "│   ", "    ", "├── ", "└── " }, *const plain[] = { "|   ", "    ", "|-- ", "`-- " };
	const char *const *parts = printing->lines ? drawn : plain;

	if (depth == 0)
		return;
	fputs(paint(PAINT_DIM), stdout);
	for (unsigned i = 1; i < depth; i++)
		fputs(parts[printing->open[i] ? 0 : 1], stdout);
	printf("%s%s", parts[is_last ? 3 : 2], paint_end(PAINT_DIM));
}

/* Where the component that begins at `from` ends: at a slash or at the end. */
static size_t end_of_component(const char *path, size_t from)
{
	while (path[from] == '/')
		from++;
	return from + strcspn(path + from, "/");
}

/* The end of the range that has the first one's component at `from`. */
static size_t end_of_group(const struct printing *printing, size_t first, size_t end, size_t from, size_t *ret_component_end)
{
	const char *path = printing->leaves[first].path;
	size_t component_end = end_of_component(path, from), i = first + 1;

	while (i < end && strncmp(printing->leaves[i].path + from, path + from, component_end - from) == 0 &&
	       (printing->leaves[i].path[component_end] == '/' || printing->leaves[i].path[component_end] == '\0'))
		i++;
	*ret_component_end = component_end;
	return i;
}

/* One name and what is said about it; a folder without a leaf of its own has no notes. */
static void print_name(const struct tree_leaf *leaf, size_t from, size_t to, bool is_leaf)
{
	fputs(tell_part(leaf->path + from, to - from), stdout);
	if (is_leaf && leaf->notes[0])
		printf("  %s%s%s", paint(PAINT_DIM), leaf->notes, paint_end(PAINT_DIM));
	printf("\n");
}

/* All leaves from first to end, whose paths agree up to `from`. */
static void print_range(struct printing *printing, size_t first, size_t end, size_t from, unsigned depth)
{
	while (first < end) {
		size_t component_end, group_end = end_of_group(printing, first, end, from, &component_end);
		size_t name_from = from, next = first;
		bool is_last = group_end == end;

		/* Folders with nothing but one folder in them. */
		while (printing->leaves[first].path[component_end] == '/') {
			size_t deeper_end, deeper = end_of_group(printing, first, group_end, component_end, &deeper_end);

			if (deeper < group_end && depth + 1 < MAX_DEPTH)
				break;
			component_end = deeper_end;
			group_end = deeper;
			is_last = group_end == end;
		}
		while (depth > 0 && printing->leaves[first].path[name_from] == '/')
			name_from++;
		print_branch(printing, depth, is_last);
		print_name(&printing->leaves[first], name_from, component_end,
			   printing->leaves[first].path[component_end] == '\0');
		/* The same path can mean several files: in containers. Then what is below it. */
		while (next < group_end && printing->leaves[next].path[component_end] == '\0') {
			if (next > first) {
				print_branch(printing, depth, is_last);
				print_name(&printing->leaves[next], name_from, component_end, true);
			}
			next++;
		}
		if (depth < MAX_DEPTH)
			printing->open[depth] = !is_last;
		print_range(printing, next, group_end, component_end, depth + 1);
		first = group_end;
	}
}

bool tree_print(struct tree *tree)
{
	struct printing printing = { .leaves = tree->leaves, .lines = paint_lines() };

	if (tree->failed) {
		tell("out of memory");
		return false;
	}
	if (tree->n > 0) {
		qsort(tree->leaves, tree->n, sizeof(*tree->leaves), compare);
		print_range(&printing, 0, tree->n, 0, 0);
	}
	return true;
}

void tree_free(struct tree *tree)
{
	for (size_t i = 0; i < tree->n; i++) {
		free(tree->leaves[i].path);
		free(tree->leaves[i].notes);
	}
	free(tree->leaves);
	*tree = (struct tree){ 0 };
}
