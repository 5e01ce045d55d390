/* SPDX-License-Identifier: MIT */
/*
 * report.c - the figures: a line of the table as each comes in, and all of them as JSON at the end.
 */
#include "bench.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static struct {
	json_t *root, *figures, *notes;
	unsigned n_met, n_missed, n_invalid;
} report;

/* --- numbers ----------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of sorted values; part 0.5 is the median. */
static double quantile(const double *sorted, unsigned n, double part)
{
	double at = part * (n - 1);
	unsigned below = (unsigned)at;

	if (below + 1 >= n)
		return sorted[n - 1];
	return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return quantile(values, n, 0.5);
}

/* --- the machine --------------------------------------------------------------------------------------------- */

static void read_line(const char *path, const char *key, char *ret, size_t size)
{
	char line[256];
	FILE *file = fopen(path, "re");

	snprintf(ret, size, "unknown");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		char *value = line;

		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		if (*key && (value = strchr(line, ':')))
			value += 1 + strspn(value + 1, " \t");
		if (!value)
			continue;
		value[strcspn(value, "\n")] = '\0';
		snprintf(ret, size, "%.*s", (int)size - 1, value);
		break;
	}
	fclose(file);
}

static void must(bool done)
{
	if (!done)
		die(-ENOMEM, "the report");
}

void report_begin(const struct settings *settings)
{
	char model[128], load[64], date[32];
	time_t now = time(NULL);
	struct tm utc;
	struct utsname system;
	long n_cores = sysconf(_SC_NPROCESSORS_ONLN);

	uname(&system);
	read_line("/proc/cpuinfo", "model name", model, sizeof(model));
	read_line("/proc/loadavg", "", load, sizeof(load));
	load[strcspn(load, "/")] = '\0';
	if (strrchr(load, ' '))
		*strrchr(load, ' ') = '\0';
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));

	report.root = json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:s, s:I, s:s}, s:{s:i, s:i}}", "version", pathbus_version(),
	                        "date", date, "quick", settings->quick, "machine", "processor", model, "system",
	                        system.sysname, "kernel", system.release, "cores", (json_int_t)n_cores, "load", load,
	                        "pinned", "one_core", settings->core, "two_cores", settings->other_core);
	report.figures = json_array();
	report.notes = json_array();
	must(report.root && report.figures && report.notes);
	printf("Pathbus %s, %s%s\n", pathbus_version(), date, settings->quick ? ", quick" : "");
	printf("%s, %ld cores, %s %s; load at the start: %s\n", model, n_cores, system.sysname, system.release, load);
}

/* --- the figures --------------------------------------------------------------------------------------------- */

void report_family(const char *title)
{
	printf("\n%-34s cores      median     middle half      ratio  target\n", title);
	fflush(stdout);
}

static const char *verdict(const struct figure *figure, double value)
{
	bool met = figure->limit_of == LIMIT_RATIO    ? figure->ratio <= figure->limit :
	           figure->limit_of == LIMIT_AT_LEAST ? value >= figure->limit :
	           figure->limit_of == LIMIT_EACH     ? figure->samples[figure->n_samples - 1] <= figure->limit :
	                                                value <= figure->limit;

	if (figure->invalid) {
		report.n_invalid++;
		return "invalid";
	}
	if (figure->limit_of == LIMIT_NONE)
		return NULL;
	if (met) {
		report.n_met++;
		return "met";
	}
	report.n_missed++;
	return "missed";
}

static void print_figure(const struct figure *figure, double value, double low, double high, const char *result)
{
	const char *transport = figure->transport ? figure->transport : "";
	char name[64], ratio[16] = "", target[32] = "", middle[32];
	int digits = value < 100 ? 1 : 0;

	if (strcmp(figure->unit, "M/s") == 0)
		digits = 2;
	else if (figure->limit_of == LIMIT_EACH)
		digits = 0;
	else if (value < 10 && !*figure->unit)
		digits = 3;
	snprintf(name, sizeof(name), "%s%s%s", transport, *transport ? ", " : "", figure->name);
	snprintf(middle, sizeof(middle), "%.*f-%.*f", digits, low, digits, high);
	if (figure->reference)
		snprintf(ratio, sizeof(ratio), "%.2f", figure->ratio);
	if (figure->limit_of == LIMIT_VALUE)
		snprintf(target, sizeof(target), "<= %g %s ", figure->limit, figure->unit);
	else if (figure->limit_of == LIMIT_AT_LEAST)
		snprintf(target, sizeof(target), ">= %g %s ", figure->limit, figure->unit);
	else if (figure->limit_of == LIMIT_EACH)
		snprintf(target, sizeof(target), "<= %g in each ", figure->limit);
	else if (figure->limit_of == LIMIT_RATIO)
		snprintf(target, sizeof(target), "<= %.2f x ", figure->limit);
	printf("  %-32s %5u %8.*f %-2s  %-15s %6s  %s%s%s%s\n", name, figure->n_cores, digits, value, figure->unit, middle,
	       ratio, target, result ? result : "", figure->invalid ? ": " : "", figure->invalid ? figure->invalid : "");
	fflush(stdout);
}

void report_add(struct figure *figure)
{
	double value = median(figure->samples, figure->n_samples);
	double low = quantile(figure->samples, figure->n_samples, 0.25);
	double high = quantile(figure->samples, figure->n_samples, 0.75);
	const char *result = verdict(figure, value);
	json_t *details = json_object(), *row;

	print_figure(figure, value, low, high, result);
	for (const struct detail *detail = figure->details; detail->name; detail++)
		must(json_object_set_new(details, detail->name, json_real(detail->value)) == 0);
	row = json_pack("{s:s, s:s, s:s*, s:I, s:s, s:o, s:o, s:o, s:I, s:I, s:s*, s:s*, s:o}", "family", figure->family,
	                "name", figure->name, "transport", figure->transport, "cores", (json_int_t)figure->n_cores, "unit",
	                figure->unit, "median", json_real(value), "quarter", json_real(low), "three_quarters", json_real(high),
	                "rounds", (json_int_t)figure->n_samples, "per_round", (json_int_t)figure->per_sample, "result",
	                result, "invalid", figure->invalid, "details", details);
	must(row);
	if (figure->reference) {
		must(json_object_set_new(row, "reference", json_string(figure->reference)) == 0);
		must(json_object_set_new(row, "ratio", json_real(figure->ratio)) == 0);
	}
	if (figure->limit_of != LIMIT_NONE) {
		const char *of = figure->limit_of == LIMIT_RATIO    ? "target_ratio" :
		                 figure->limit_of == LIMIT_AT_LEAST ? "target_at_least" :
		                 figure->limit_of == LIMIT_EACH     ? "target_of_each_round" :
		                                                      "target";

		must(json_object_set_new(row, of, json_real(figure->limit)) == 0);
	}
	must(json_array_append_new(report.figures, row) == 0);
}

void report_note(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	printf("  %s\n", text);
	fflush(stdout);
	must(json_array_append_new(report.notes, json_string(text)) == 0);
}

void report_end(const struct settings *settings)
{
	printf("\n%u targets met, %u missed", report.n_met, report.n_missed);
	if (report.n_invalid)
		printf("; %u measurements invalid", report.n_invalid);
	printf("\n");
	must(json_object_set_new(report.root, "figures", report.figures) == 0);
	must(json_object_set_new(report.root, "notes", report.notes) == 0);
	must(json_object_set_new(report.root, "targets",
	                         json_pack("{s:I, s:I, s:I}", "met", (json_int_t)report.n_met, "missed",
	                                   (json_int_t)report.n_missed, "invalid", (json_int_t)report.n_invalid)) == 0);
	if (settings->json && json_dump_file(report.root, settings->json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0)
		die(0, "%s cannot be written", settings->json);
	json_decref(report.root);
}
