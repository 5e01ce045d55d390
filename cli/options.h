/* SPDX-License-Identifier: MIT */
/*
 * options.h - command lines by a table, from which the help is printed too.
 */
#ifndef PATHBUS_CLI_OPTIONS_H
#define PATHBUS_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* A table ends with a name of NULL. */
struct option_spec {
	int id;            /* a letter: the option has this short form too */
	const char *name;  /* without the dashes */
	const char *value; /* what the help calls its value; NULL: it takes none */
	const char *help;  /* of one or more lines */
};

/* Ids of options without a short form. */
#define OPTION_LONG 256

/* Told of each option in turn. Returns false if the value is no good, having told so. */
typedef bool option_set(int id, const char *value);

/* One table and who takes its options. */
struct option_group {
	const struct option_spec *specs; /* NULL: none */
	option_set *set;
};

/*
 * Takes the options out of argv and moves the other words to its front. Options may be spelled --name VALUE,
 * --name=VALUE, -x, -x VALUE and -xVALUE, and stand anywhere before "--"; with `stop_at_word` they end at the
 * first other word.
 * Returns how many words are left, or -1 (told: the usage is wrong).
 */
int options_take(const struct option_group groups[2], int argc, char **argv, bool stop_at_word);

/* Prints a table as help on stdout. */
void options_help(const struct option_spec *specs);

/* Values. False: told. `name` is what to call it: "--state", "FILE"; an option is given
 * without its dashes. */
bool options_value(const char *name, const char *value, uint64_t *ret); /* all of 64 bits; 0x: hexadecimal */
bool options_word_number(const char *name, const char *value, uint64_t min, uint64_t max, uint64_t *ret);
bool options_number(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *ret);
bool options_size(const char *name, const char *value, uint64_t *ret);  /* bytes: 4096, 100M, 2G; at least 1 */
bool options_seconds(const char *option, const char *value, uint64_t *ret_ns);

#endif
