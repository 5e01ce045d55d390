/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a look at something has found: lines for people, facts for --json, and findings with their remedies.
 *
 * Running out of memory is remembered, and told when it is printed.
 */
#ifndef PATHBUS_CLI_REPORT_H
#define PATHBUS_CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REPORT_DEPTH = 4 }; /* the whole, a section, an item, an item of that */

enum report_kind { REPORT_SECTION, REPORT_ITEM, REPORT_ITEM_END, REPORT_TEXT, REPORT_NAME, REPORT_NUMBER, REPORT_REAL, REPORT_FLAG,
		   REPORT_LIST, REPORT_LINE };

struct report_entry {
	enum report_kind kind;
	const char *name; /* a constant of the program */
	char *text;       /* owned; NULL: none */
	uint64_t number;
	double real;
};

struct report_finding {
	const char *code; /* a constant: one word for scripts and tests */
	bool is_problem;  /* else a note */
	char *what, *remedy;
};

struct report {
	struct report_entry *entries;
	struct report_finding *findings;
	size_t n_entries, size, n_findings, n_problems;
	bool is_plain; /* facts only: JSON has no findings */
	bool failed;   /* no memory */
};

/* A part: in JSON an object of this name, for people the label of the lines that follow. */
void report_section(struct report *, const char *name);
/* In a section or an item: one more object of the list `name`, which takes the facts up to report_item_end. At most two deep. */
void report_item(struct report *, const char *name);
void report_item_end(struct report *);
/* The list is there, even if it has no items. */
void report_list(struct report *, const char *name);

/* Facts, for JSON. A name may be of any bytes; text is the program's own, or was escaped. NULL: null. */
void report_text(struct report *, const char *name, const char *text);
void report_name(struct report *, const char *name, const char *bytes);
void report_number(struct report *, const char *name, uint64_t number);
void report_real(struct report *, const char *name, double real);
void report_flag(struct report *, const char *name, bool flag);

/* For people. */
void report_line(struct report *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "CODE: what it is", and what to do. The text of both is printable already. */
void report_problem(struct report *, const char *code, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void report_note(struct report *, const char *code, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
bool report_has(const struct report *, const char *code);

/* Prints it. Returns false if there was not enough memory (told). */
bool report_print(const struct report *, bool as_json);
void report_free(struct report *);

/* A line of JSON, to be freed; NULL: out of memory. In json.c. */
char *report_json(const struct report *);

#endif
