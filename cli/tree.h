/* SPDX-License-Identifier: MIT */
/* tree.h - paths as a tree of folders. */
#ifndef PATHBUS_CLI_TREE_H
#define PATHBUS_CLI_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct tree_leaf {
	char *path;  /* absolute; any bytes */
	char *notes; /* printable; what is said about it */
};

struct tree {
	struct tree_leaf *leaves; /* zeroed to begin with */
	size_t n, capacity;
	bool failed;              /* no memory: nothing is printed */
};

/* Copies both. */
void tree_add(struct tree *tree, const char *path, const char *notes);
/* Prints it on stdout, in the order of the names. False: there was not enough memory (told). */
bool tree_print(struct tree *tree);
void tree_free(struct tree *tree);

#endif
