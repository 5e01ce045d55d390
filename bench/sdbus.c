/* SPDX-License-Identifier: MIT */
/* sdbus.c - signals over D-Bus as a program sends them that uses a library for it: systemd's, the quickest of the usual ones. */
#include "sdbus.h"

#include <stdbool.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "bench.h"

#define INTERFACE "org.pathbus.Bench"
#define MEMBER    "Turn"

static sd_bus *bus;
static bool turn;

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}

static int heard(sd_bus_message *message, void *arg, sd_bus_error *error)
{
	(void)message;
	(void)arg;
	(void)error;
	turn = true;
	return 0;
}

void sdbus_open(const char *address, const char *path)
{
	char text[4096];

	snprintf(text, sizeof(text), "unix:path=%s", address);
	must(sd_bus_new(&bus), "sd_bus_new");
	must(sd_bus_set_address(bus, text), text);
	must(sd_bus_set_bus_client(bus, true), "sd_bus_set_bus_client");
	must(sd_bus_start(bus), text);
	must(sd_bus_match_signal(bus, NULL, NULL, path, INTERFACE, MEMBER, heard, NULL), "sd_bus_match_signal");
}

void sdbus_close(void)
{
	bus = sd_bus_flush_close_unref(bus);
}

void sdbus_signal(const char *path)
{
	must(sd_bus_emit_signal(bus, path, INTERFACE, MEMBER, ""), "sd_bus_emit_signal");
}

void sdbus_await(void)
{
	int r;

	while (!turn) {
		r = sd_bus_process(bus, NULL);
		must(r, "sd_bus_process");
		if (r == 0 && !turn)
			must(sd_bus_wait(bus, UINT64_MAX), "sd_bus_wait");
	}
	turn = false;
}
