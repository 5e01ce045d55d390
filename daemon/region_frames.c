/* SPDX-License-Identifier: MIT */
/*
 * region_frames.c - what the frames about regions mean; frames.c has the table.
 *
 * After the daemon has been away, holders bring their regions back by the number of their descriptor. Main never receives
 * one: a files worker looks at it through /proc, O_PATH first, and opens it anew if it is a region's.
 */
#include "region_frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "asking.h"
#include "connection.h"
#include "files.h"
#include "last_close.h"
#include "os/os.h"
#include "regions.h"
#include "wire_region.h"

/* A region that is being brought back. */
struct restoring {
	struct client *client;
	struct restoring *next;
	struct member *member;
	struct asking *question;
	uint32_t request;
	struct wire_region_restore asked; /* its name is in `name` */
	struct region_shape shape;
	char name[REGION_MAX_NAME + 1];
};

static const char *reason(int error)
{
	switch (error) {
	case EEXIST:
		return "there is a region of this name";
	case ENOENT:
		return "there is no region of this name";
	case ESTALE:
		return "it is not this region that has the name";
	case EACCES:
		return "the file may not be written";
	case EOPNOTSUPP:
		return "regions need shared memory";
	case EINVAL:
		return "a region of that size cannot be";
	case EMFILE:
		return "this connection has as many regions of the topic open as it may, or the daemon no descriptors left";
	case ENFILE:
		return "all regions together are open as often as they may be, or the daemon has no descriptors left";
	case EFBIG:
		return "the daemon may have no file as large as that (RLIMIT_FSIZE)";
	default:
		return strerror(error);
	}
}

/* Of bringing one back. */
static const char *restore_reason(int error)
{
	switch (error) {
	case EACCES:
		return "the process does not let the daemon see its descriptors";
	case ESRCH:
		return "the process has no such descriptor, or is not known";
	case ESTALE:
		return "the descriptor is not this region's, or another one was given its name";
	case ETIMEDOUT:
		return "what the descriptor is could not be found out in time";
	default:
		return reason(error);
	}
}

/* `limit`: what an EDQUOT is about. */
static void fail(struct client *client, uint32_t request, int r, const char *limit, const char *why)
{
	client_send_error(client, request, -r, limit ? limit : why);
}

/* --- open, create, replace ------------------------------------------------------------------------------ */

/* `fd`: an open file description of its own, since locks tell holders apart by it; taken over. */
static void answer(struct client *client, uint32_t request, uint32_t topic, const struct region_holder *holder, int fd)
{
	const struct region *region = holder->region;
	struct wire_region body = {
		.topic = topic,
		.holder = holder->id,
		.flags = region->flags,
		.pages = region->pages,
		.writable = holder->writes,
		.data_size = region->shape.data_size,
		.page_size = region->shape.page_size,
	};
	unsigned char frame[WIRE_SMALL_FRAME];

	memcpy(body.id, region->id, sizeof(body.id));
	(void)client_send_fd(client, frame, wire_put_region(frame, request, &body), fd);
}

/* `*ret_old`: has the name still; NULL: nobody. */
static int make(struct client *client, struct member *member, const struct wire_region_open *body, struct region **ret,
                struct region **ret_old, const char **ret_limit)
{
	const struct region_wish wish = { body->name, body->name_size, body->data_size, body->flags & REGION_MADE_WITH };
	struct region *old = region_find(member->name->topic, body->name, body->name_size);

	if (!(member->rights & WIRE_RIGHT_POST))
		return -EACCES;
	if (body->flags & WIRE_REGION_CREATE && old)
		return -EEXIST;
	if (body->flags & WIRE_REGION_REPLACE && (!old || memcmp(old->id, body->replaces, sizeof(old->id)) != 0))
		return -ESTALE;
	*ret_old = old;
	return region_make(client->context->regions, client->user, member->name->topic, &member->name->key, &wish, ret, ret_limit);
}

/* Adds a holder, and opens the memory for it. Without it a region that nobody holds is freed. */
static int hold(struct region *region, struct member *member, bool writes, struct region_holder **ret, int *ret_fd,
                const char **ret_limit)
{
	struct user *user = member->lane->user;
	int r = region_hold(region, member, writes, ret), fd;

	if (r < 0) {
		if (r == -EDQUOT)
			*ret_limit = user_refusal(user, CHARGE_HOLDERS);
		region_free_unheld(region);
		return r;
	}
	/* Charged for as long as it waits to be sent. */
	fd = user_charge_costs(user, &(struct cost){ CHARGE_DESCRIPTORS, 1 }, 1, ret_limit);
	if (fd == 0) {
		user_release(user, CHARGE_DESCRIPTORS, 1);
		fd = os_reopen(region->fd, writes);
	}
	if (fd < 0) {
		region_release(*ret);
		return fd;
	}
	*ret_fd = fd;
	return 0;
}

enum drop frame_region_open(struct client *client, const struct wire_header *header, const void *frame)
{
	struct region *region, *old = NULL;
	struct region_holder *holder;
	struct wire_region_open body;
	const char *limit = NULL;
	struct member *member;
	bool writes;
	int fd = -1, r = 0;

	if (wire_get_region_open(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	writes = member->rights & WIRE_RIGHT_POST && !(body.flags & WIRE_REGION_READ_ONLY);
	if (member->subscriber) {
		r = -EOPNOTSUPP;
	} else if (body.flags & (WIRE_REGION_CREATE | WIRE_REGION_REPLACE)) {
		r = make(client, member, &body, &region, &old, &limit);
	} else {
		region = region_find(member->name->topic, body.name, body.name_size);
		r = !region ? -ENOENT : !(member->rights & WIRE_RIGHT_SUBSCRIBE) && !writes ? -EACCES : 0;
	}
	if (r == 0)
		r = hold(region, member, writes, &holder, &fd, &limit);
	if (r < 0) {
		fail(client, header->request, r, limit, reason(-r));
		return DROP_NONE;
	}
	if (old) { /* only now, when nothing can go wrong any more */
		region_set_replaced(old);
		topic_post(member->name->topic); /* ours, since the client may not live to make it */
	}
	answer(client, header->request, body.topic, holder, fd);
	return DROP_NONE;
}

/* --- brought back --------------------------------------------------------------------------------------- */

static void restoring_free(struct restoring *restoring)
{
	struct restoring **at = &restoring->client->restorings;

	while (*at != restoring)
		at = &(*at)->next;
	*at = restoring->next;
	restoring->client->n_restorings--;
	if (restoring->question)
		asking_forget(restoring->question);
	user_release(restoring->client->user, CHARGE_QUEUE_BYTES, sizeof(*restoring));
	free(restoring);
}

void restoring_cancel(struct client *client, const struct member *member)
{
	struct restoring *next;

	for (struct restoring *one = client->restorings; one; one = next) {
		next = one->next;
		if (!member || one->member == member)
			restoring_free(one);
	}
}

/* The one of this request is not wanted any more. */
static void restoring_stop(struct client *client, const struct member *member, uint32_t request)
{
	for (struct restoring *one = client->restorings; one; one = one->next) {
		if (one->member == member && one->request == request) {
			restoring_free(one);
			return;
		}
	}
}

static void hold_restored(struct client *client, uint32_t request, const struct wire_region_restore *asked,
                          struct member *member, struct region *region)
{
	unsigned char frame[WIRE_SMALL_FRAME];
	struct region_holder *holder;
	int r = region_hold(region, member, asked->writes && member->rights & WIRE_RIGHT_POST, &holder);

	if (r < 0) {
		region_free_unheld(region);
		fail(client, request, r, r == -EDQUOT ? user_refusal(client->user, CHARGE_HOLDERS) : NULL, restore_reason(-r));
		return;
	}
	holder->restore = request;
	client_send(client, frame,
	            wire_put_restored(frame, request, &(struct wire_restored){ .topic = asked->topic, .holder = holder->id }),
	            NULL, 0, NULL);
}

/* 0: the name is free, or *ret has it and is the one that is meant. */
static int find_known(const struct member *member, const struct wire_region_restore *asked, struct region **ret)
{
	*ret = region_find(member->name->topic, asked->name, asked->name_size);
	return *ret && memcmp((*ret)->id, asked->id, sizeof(asked->id)) != 0 ? -EEXIST : 0;
}

static void looked_at(void *arg, int error, const struct files_reply *reply, int fd)
{
	struct restoring *restoring = arg;
	struct client *client = restoring->client;
	const struct wire_region_restore *asked = &restoring->asked;
	const struct region_wish wish = { asked->name, asked->name_size, asked->data_size, asked->flags };
	const char *limit = NULL;
	struct region *region = NULL;
	int r = error;

	(void)reply;
	restoring->question = NULL;
	if (r == 0)
		r = find_known(restoring->member, asked, &region); /* came meanwhile? */
	if (r == 0 && !region) {
		r = fd >= 0 && region_is(fd, &restoring->shape) && !region_was_replaced(fd) ? 0 : -ESTALE;
		if (r == 0)
			r = region_adopt(client->context->regions, client->user, restoring->member->name->topic, &wish, asked->id,
			                 asked->pages, &restoring->shape, fd, &region, &limit);
		if (r == 0)
			fd = -1;
	}
	if (fd >= 0)
		last_close(fd); /* whoever had it may have closed it meanwhile */
	if (r < 0)
		fail(client, restoring->request, r, limit, restore_reason(-r));
	else
		hold_restored(client, restoring->request, asked, restoring->member, region);
	restoring_free(restoring);
	client_look_again(client);
}

static int look_at(struct client *client, struct member *member, uint32_t request, const struct wire_region_restore *asked)
{
	char hash[HASH_TEXT_SIZE], label[REGION_LABEL_SIZE];
	struct restoring *restoring = calloc(1, sizeof(*restoring));

	if (!restoring)
		return -ENOMEM;
	user_charge_anyway(client->user, CHARGE_QUEUE_BYTES, sizeof(*restoring)); /* there was room for its frame and more */
	restoring->client = client;
	restoring->member = member;
	restoring->request = request;
	restoring->asked = *asked;
	restoring->asked.name = restoring->name;
	memcpy(restoring->name, asked->name, asked->name_size);
	(void)region_shape_make(asked->data_size, asked->flags, asked->page_size, &restoring->shape); /* was decoded */
	restoring->next = client->restorings;
	client->restorings = restoring;
	client->n_restorings++;
	region_hash(&member->name->key, asked->name, asked->name_size, hash);
	region_label(hash, asked->id, asked->data_size, asked->flags, label);
	restoring->question = asking_memory(client->context->files, client->user, label, client->identity,
	                                    (int)asked->descriptor, client, looked_at, restoring);
	if (!restoring->question) {
		restoring_free(restoring);
		return -ENOMEM;
	}
	return 0;
}

enum drop frame_region_restore(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_region_restore body;
	struct region *known = NULL;
	struct member *member;
	int r;

	if (wire_get_region_restore(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	r = member->subscriber ? -EOPNOTSUPP : member->pid == 0 ? -ESRCH : find_known(member, &body, &known);
	if (r == 0 && known)
		hold_restored(client, header->request, &body, member, known);
	else if (r == 0)
		r = look_at(client, member, header->request, &body);
	if (r < 0)
		fail(client, header->request, r, NULL, restore_reason(-r));
	return DROP_NONE;
}

/* --- close ----------------------------------------------------------------------------------------------- */

/* What is not there has gone meanwhile, which is what was asked for. */
enum drop frame_region_close(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_region_close body;
	struct region_holder *holder;
	struct member *member;

	if (wire_get_region_close(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NONE;
	if (body.restore) {
		restoring_stop(client, member, body.restore);
		holder = region_holder_find_restored(member, body.restore);
	} else {
		holder = region_holder_find(member, body.holder);
	}
	if (holder)
		region_release(holder);
	client_look_again(client);
	return DROP_NONE;
}

/* --- list ----------------------------------------------------------------------------------------------- */

static unsigned list_holders(const struct region *region, struct wire_region_holder *ret)
{
	unsigned n = 0;

	for (const struct region_holder *holder = region->holders; holder && n < WIRE_REGION_HOLDERS; holder = holder->next) {
		struct wire_region_holder *one = &ret[n++];
		uid_t uid;

		*one = (struct wire_region_holder){
			.pid = (uint32_t)holder->member->pid,
			.uid = (uint32_t)user_uid(holder->member->lane->user),
			.writes = holder->writes,
		};
		if (os_process_name(holder->member->pid, &uid, one->command, sizeof(one->command)) == 0)
			one->uid = (uint32_t)uid;
	}
	return n;
}

enum drop frame_region_list(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_region_holder holders[WIRE_REGION_HOLDERS];
	unsigned char bytes[WIRE_SMALL_FRAME];
	struct wire_region_list body;
	struct wire_regions one;
	struct member *member;
	struct region *region;

	if (wire_get_region_list(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	region = region_after(member->name->topic, body.after);
	if (!region) {
		client_send(client, bytes, wire_put_done(bytes, header->request), NULL, 0, NULL);
		return DROP_NONE;
	}
	one = (struct wire_regions){
		.number = region->number,
		.data_size = region->shape.data_size,
		.version = region_version_now(region),
		.flags = region->flags,
		.pages = region->pages,
		.n_holders = region->n_holders,
		.n_listed = list_holders(region, holders),
		.name = region->name,
		.name_size = region->name_size,
	};
	client_send(client, bytes, wire_put_regions(bytes, header->request, &one, holders), NULL, 0, NULL);
	return DROP_NONE;
}
