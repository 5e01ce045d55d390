/* SPDX-License-Identifier: MIT */
/* report.c - collects what is found, and prints it for people. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paint.h"
#include "tell.h"

enum { LABEL_WIDTH = 11 };

static struct report_entry *add(struct report *report, enum report_kind kind, const char *name)
{
	static struct report_entry nowhere; /* what there is no memory for */
	struct report_entry *entries = report->entries;

	if (report->n_entries == report->size) {
		size_t size = report->size ? 2 * report->size : 64;

		entries = realloc(entries, size * sizeof(*entries));
		if (!entries) {
			report->failed = true;
			free(nowhere.text);
			nowhere.text = NULL;
			return &nowhere;
		}
		report->entries = entries;
		report->size = size;
	}
	entries[report->n_entries] = (struct report_entry){ .kind = kind, .name = name };
	return &entries[report->n_entries++];
}

static char *copy(struct report *report, const char *text)
{
	char *ret = strdup(text);

	report->failed |= !ret;
	return ret;
}

static char *print_text(struct report *report, const char *format, va_list list)
{
	char *text;

	if (vasprintf(&text, format, list) >= 0)
		return text;
	report->failed = true;
	return NULL;
}

void report_section(struct report *report, const char *name)
{
	add(report, REPORT_SECTION, name);
}

void report_item(struct report *report, const char *name)
{
	add(report, REPORT_ITEM, name);
}

void report_item_end(struct report *report)
{
	add(report, REPORT_ITEM_END, NULL);
}

void report_text(struct report *report, const char *name, const char *text)
{
	struct report_entry *entry = add(report, REPORT_TEXT, name);

	if (text)
		entry->text = copy(report, text);
}

void report_name(struct report *report, const char *name, const char *bytes)
{
	add(report, REPORT_NAME, name)->text = copy(report, bytes);
}

void report_number(struct report *report, const char *name, uint64_t number)
{
	add(report, REPORT_NUMBER, name)->number = number;
}

void report_real(struct report *report, const char *name, double real)
{
	add(report, REPORT_REAL, name)->real = real;
}

void report_list(struct report *report, const char *name)
{
	add(report, REPORT_LIST, name);
}

void report_flag(struct report *report, const char *name, bool flag)
{
	add(report, REPORT_FLAG, name)->number = flag;
}

void report_line(struct report *report, const char *format, ...)
{
	struct report_entry *entry = add(report, REPORT_LINE, NULL);
	va_list list;

	va_start(list, format);
	entry->text = print_text(report, format, list);
	va_end(list);
}

static void add_finding(struct report *report, const struct report_finding *finding)
{
	struct report_finding *findings = realloc(report->findings, (report->n_findings + 1) * sizeof(*findings));

	if (!findings) {
		free(finding->what);
		free(finding->remedy);
		report->failed = true;
		return;
	}
	report->findings = findings;
	findings[report->n_findings++] = *finding;
	report->n_problems += finding->is_problem;
}

void report_problem(struct report *report, const char *code, const char *remedy, const char *format, ...)
{
	struct report_finding finding = { .code = code, .is_problem = true, .remedy = copy(report, remedy) };
	va_list list;

	va_start(list, format);
	finding.what = print_text(report, format, list);
	va_end(list);
	add_finding(report, &finding);
}

void report_note(struct report *report, const char *code, const char *remedy, const char *format, ...)
{
	struct report_finding finding = { .code = code, .remedy = copy(report, remedy) };
	va_list list;

	va_start(list, format);
	finding.what = print_text(report, format, list);
	va_end(list);
	add_finding(report, &finding);
}

bool report_has(const struct report *report, const char *code)
{
	for (size_t i = 0; i < report->n_findings; i++)
		if (strcmp(report->findings[i].code, code) == 0)
			return true;
	return false;
}

/* --- for people --------------------------------------------------------------------------------------------- */

static void print_findings(const struct report *report, bool problems)
{
	for (size_t i = 0; i < report->n_findings; i++) {
		const struct report_finding *at = &report->findings[i];

		enum paint colour = problems ? PAINT_RED : PAINT_YELLOW;

		if (at->is_problem == problems)
			printf("%s%-*s%s%s: %s\n%-*sremedy: %s\n", paint(colour), LABEL_WIDTH, problems ? "problem" : "note",
			       paint_end(colour), at->code, at->what, LABEL_WIDTH, "", at->remedy);
	}
}

static void print(const struct report *report)
{
	const char *label = "";

	for (size_t i = 0; i < report->n_entries; i++) {
		const struct report_entry *at = &report->entries[i];

		if (at->kind == REPORT_SECTION)
			label = at->name;
		if (at->kind != REPORT_LINE)
			continue;
		printf("%-*s%s\n", LABEL_WIDTH, label, at->text);
		label = "";
	}
	print_findings(report, false);
	print_findings(report, true);
	if (report->n_problems == 0)
		printf("%-*sno problem found\n", LABEL_WIDTH, "result");
	else
		printf("%-*s%zu problem%s found\n", LABEL_WIDTH, "result", report->n_problems,
		       report->n_problems == 1 ? "" : "s");
}

bool report_print(const struct report *report, bool as_json)
{
	char *text = NULL;

	if (!report->failed && !as_json) {
		print(report);
		return true;
	}
	if (!report->failed)
		text = report_json(report);
	if (!text) {
		tell("out of memory");
		return false;
	}
	fputs(text, stdout);
	free(text);
	return true;
}

void report_free(struct report *report)
{
	for (size_t i = 0; i < report->n_entries; i++)
		free(report->entries[i].text);
	for (size_t i = 0; i < report->n_findings; i++) {
		free(report->findings[i].what);
		free(report->findings[i].remedy);
	}
	free(report->entries);
	free(report->findings);
	*report = (struct report){ 0 };
}
