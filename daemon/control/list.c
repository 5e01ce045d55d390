/* SPDX-License-Identifier: MIT */
/* list.c - see list.h. */
#include "list.h"

#include <stdlib.h>

#include "control_limit.h"

/* What an entry may need at most: a path of 4096 bytes, each of which may take six, and their hexadecimal digits. */
#define ENTRY_SIZE (UINT64_C(64) << 10)

struct list {
	struct list_page page;
	list_fn *look;
};

bool list_begin(struct control_request *request, const char *cursor, uint64_t first, struct list_page *ret)
{
	*ret = (struct list_page){ .n = 0 };
	if (!control_query_number(request, "limit", LIMIT_CONTROL_PAGE_NORMAL, LIMIT_CONTROL_PAGE, &ret->limit) ||
	    !control_query_number(request, cursor, first, UINT64_MAX, &ret->at))
		return false;
	if (ret->limit > 0)
		return true;
	control_reply_error(request, 400, "bad-query", NULL, "limit takes a number from 1 to %u", LIMIT_CONTROL_PAGE);
	return false;
}

bool list_is_full(const struct control_request *request, const struct list_page *page)
{
	return page->n >= page->limit || answer_size(control_answer(request)) > LIMIT_CONTROL_ANSWER - ENTRY_SIZE;
}

void list_end(struct control_request *request, const struct list_page *page, const char *next, bool at_end)
{
	struct answer *answer = control_answer(request);

	answer_end(answer);
	if (at_end)
		answer_null(answer, next);
	else
		answer_number(answer, next, page->at);
}

static void go_on(struct control_request *request)
{
	struct list *list = control_state(request);
	struct list_page *page = &list->page;

	while (!list_is_full(request, page)) {
		bool told = false;
		uint64_t at = list->look(request, page->at, &told);

		if (at == 0) {
			list_end(request, page, "next", true);
			answer_end(control_answer(request));
			control_reply(request);
			return;
		}
		page->at = at;
		page->n += told;
		if (control_turn_is_over(request))
			return;
	}
	list_end(request, page, "next", false);
	answer_end(control_answer(request));
	control_reply(request);
}

void control_tell_list(struct control_request *request, const char *name, list_fn *look)
{
	struct answer *answer = control_answer(request);
	struct list_page page;
	struct list *list;

	if (!list_begin(request, "after", 0, &page))
		return;
	list = malloc(sizeof(*list));
	if (!list) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return;
	}
	*list = (struct list){ .page = page, .look = look };
	answer_object(answer, NULL);
	answer_list(answer, name);
	control_go_on(request, go_on, list, free);
}
