/* SPDX-License-Identifier: MIT */
/* test_count.c - a member's count of its posts: its tag, what is under way, several threads. */
#include "count.h"

#include <pthread.h>

#include "harness/harness.h"

#define TAG count_tag(UINT64_C(0x123456789abcdef0), 7)

START_TEST(tags)
{
	ck_assert_uint_eq(TAG & ~COUNT_TAG, 0);
	for (uint64_t n = 0; n < 40000; n++) {
		ck_assert_uint_ne(count_tag(UINT64_MAX, n), 0);
		ck_assert_uint_ne(count_tag(5, n), count_tag(5, n + 1 + n % 16382));
	}
}
END_TEST

START_TEST(of_one_thread)
{
	uint64_t word = count_next(COUNT_POSTS, TAG | 17); /* another's: begins anew */

	ck_assert_uint_eq(word, TAG + 1);
	ck_assert_uint_eq(count_next(word, TAG | 17), TAG + 2);
	ck_assert_uint_eq(count_next(TAG + COUNT_POSTS, TAG | 17), TAG); /* the end of the range */
	ck_assert_uint_eq(count_next(TAG + COUNT_POSTS, count_tag(9, 9)), count_tag(9, 9) + 1);
	ck_assert_uint_eq(count_flying(word), 0);
	ck_assert_uint_eq(count_flying(word + COUNT_FLYING), 1);
}
END_TEST

START_TEST(of_several_threads)
{
	_Atomic uint64_t word = TAG, foreign = TAG;

	ck_assert(!count_begin(&foreign, count_tag(9, 9)));
	count_end(&foreign, count_tag(9, 9));
	count_end(&foreign, TAG); /* none is under way */
	ck_assert_uint_eq(atomic_load(&foreign), TAG);
	for (unsigned i = 1; i <= COUNT_MOST_FLYING; i++) {
		ck_assert(count_begin(&word, TAG));
		ck_assert_uint_eq(count_flying(atomic_load(&word)), i);
	}
	ck_assert(!count_begin(&word, TAG));
	for (unsigned i = 0; i < COUNT_MOST_FLYING; i++)
		count_end(&word, TAG);
	ck_assert_uint_eq(atomic_load(&word), TAG + COUNT_MOST_FLYING);
	atomic_store(&word, TAG + COUNT_POSTS);
	ck_assert(count_begin(&word, TAG));
	count_end(&word, TAG);
	ck_assert_uint_eq(atomic_load(&word), TAG);
}
END_TEST

enum { N_THREADS = 3, N_EACH = 100000 };

static _Atomic uint64_t shared;

static void *count_many(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < N_EACH; i++)
		if (count_begin(&shared, TAG))
			count_end(&shared, TAG);
	return NULL;
}

START_TEST(none_is_lost_and_it_never_falls)
{
	pthread_t threads[N_THREADS];
	uint64_t last = 0;

	atomic_store(&shared, TAG);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_many, NULL), 0);
	while (last < N_THREADS * N_EACH) {
		uint64_t now = atomic_load(&shared);

		if ((now & COUNT_POSTS) < last || count_flying(now) > N_THREADS || (now & COUNT_TAG) != TAG)
			ck_abort_msg("%lx", (unsigned long)now);
		last = now & COUNT_POSTS;
	}
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(atomic_load(&shared), TAG + N_THREADS * N_EACH);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(tags),
	HARNESS_CASE(of_one_thread),
	HARNESS_CASE(of_several_threads),
	HARNESS_CASE(none_is_lost_and_it_never_falls),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "count", .cases = cases });
}
