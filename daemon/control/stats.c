/* SPDX-License-Identifier: MIT */
/* stats.c - GET /v1/stats: what the daemon has, what it has done, and how long that took. */
#include "sums.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_limit.h"
#include "daemon/context.h"
#include "daemon/options.h"
#include "os/os.h"
#include "routes.h"

static void put_totals(struct answer *answer, const struct sums *sums)
{
	answer_object(answer, "totals");
	for (unsigned i = 0; i < N_TOTALS; i++)
		answer_number(answer, sums_total_name((enum total)i), sums->totals[i]);
	answer_end(answer);
}

static void put_counts(struct answer *answer, const struct sums *sums)
{
	answer_object(answer, "counts");
	for (unsigned i = 0; i < N_SUMS; i++)
		answer_number(answer, sums_name((enum sum)i), sums->n[i]);
	answer_object(answer, "drops");
	for (unsigned i = DROP_NONE + 1; i < DROP_N; i++)
		if (drop_count((enum drop)i) > 0)
			answer_number(answer, sums_drop_name((enum drop)i), drop_count((enum drop)i));
	answer_end(answer);
	answer_object(answer, "limits_hit");
	for (unsigned i = 0; i < N_CHARGES; i++)
		if (counts.refused[i] > 0)
			answer_number(answer, sums_limit_name((enum charge)i), counts.refused[i]);
	answer_end(answer);
	answer_end(answer);
}

/* Each bucket by itself; the last has no end. */
static void put_latency(struct answer *answer, enum latency latency)
{
	const struct histogram *histogram = &counts.latencies[latency];

	answer_object(answer, latency_name(latency));
	answer_number(answer, "count", histogram_count(histogram));
	answer_number(answer, "sum_ns", histogram->sum_ns);
	answer_list(answer, "buckets");
	for (unsigned i = 0; i <= N_LATENCY_BOUNDS; i++) {
		answer_object(answer, NULL);
		if (i < N_LATENCY_BOUNDS)
			answer_number(answer, "le_ns", latency_bounds[i]);
		else
			answer_null(answer, "le_ns");
		answer_number(answer, "count", histogram->n[i]);
		answer_end(answer);
	}
	answer_end(answer);
	answer_end(answer);
}

/* --- users --------------------------------------------------------------------------------------------- */

/* Those with the lowest numbers above `after`, in their order. */
struct page_of_users {
	uint64_t after;
	unsigned n;
	bool more;
	const struct user *users[LIMIT_CONTROL_PAGE_NORMAL];
};

static void take_user(const struct user *user, void *arg)
{
	struct page_of_users *page = arg;
	unsigned at = page->n;

	if (page->after != UINT64_MAX && user_uid(user) <= page->after)
		return;
	while (at > 0 && user_uid(page->users[at - 1]) > user_uid(user))
		at--;
	page->more |= page->n == LIMIT_CONTROL_PAGE_NORMAL;
	if (at == LIMIT_CONTROL_PAGE_NORMAL)
		return;
	if (page->n < LIMIT_CONTROL_PAGE_NORMAL)
		page->n++;
	memmove(&page->users[at + 1], &page->users[at], (page->n - at - 1) * sizeof(*page->users));
	page->users[at] = user;
}

static void put_user(struct answer *answer, const struct user *user)
{
	answer_object(answer, NULL);
	answer_number(answer, "uid", user_uid(user));
	answer_object(answer, "charges");
	for (unsigned i = 0; i < N_CHARGES; i++) {
		enum charge charge = (enum charge)i;
		uint64_t most = user_may_most(user, charge);

		answer_object(answer, sums_limit_name(charge));
		answer_number(answer, "has", user_has(user, charge));
		if (most < (uint64_t)INT64_MAX)
			answer_number(answer, "most", most);
		else
			answer_null(answer, "most");
		answer_number(answer, "refused", user_n_refused(user, charge));
		answer_end(answer);
	}
	answer_end(answer);
	answer_end(answer);
}

static void put_users(struct answer *answer, const struct users *users, uint64_t after)
{
	struct page_of_users page = { .after = after };

	users_each(users, take_user, &page);
	answer_list(answer, "users");
	for (unsigned i = 0; i < page.n; i++)
		put_user(answer, page.users[i]);
	answer_end(answer);
	if (page.more)
		answer_number(answer, "users_next", user_uid(page.users[page.n - 1]));
	else
		answer_null(answer, "users_next");
}

/* --- all of it ------------------------------------------------------------------------------------------- */

static void tell(struct control_request *request, const struct sums *sums)
{
	const struct context *context = control_context(request);
	struct answer *answer = control_answer(request);
	uint64_t after;

	if (!control_query_number(request, "users_after", UINT64_MAX, UINT32_MAX, &after))
		return;
	answer_object(answer, NULL);
	answer_text(answer, "version", PATHBUS_VERSION);
	answer_number(answer, "pid", (uint64_t)getpid());
	answer_text(answer, "instance", context->options->system ? "system" : "user");
	answer_path(answer, "address", context->address);
	answer_number(answer, "uptime_ms", (os_now_ns() - context->started_ns) / 1000000);
	answer_text(answer, "log_level", log_level_name(log_level()));
	put_totals(answer, sums);
	put_counts(answer, sums);
	answer_object(answer, "latency");
	for (unsigned i = 0; i < N_LATENCIES; i++)
		put_latency(answer, (enum latency)i);
	answer_end(answer);
	put_users(answer, context->users, after);
	answer_end(answer);
	control_reply(request);
}

void control_get_stats(struct control_request *request)
{
	sums_make(request, tell);
}
