/* SPDX-License-Identifier: MIT */
/* control_http.c - HTTP on a Unix socket. The only file that knows libcurl. */
#include "control_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "os/os.h"

#define NS_PER_MS UINT64_C(1000000)
#define LONGEST_WAIT_MS 3600000u
#define CURL_PAUSE_MS 50

enum { MAX_CURLS = 4 };

struct http {
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers, *headers_json;
	/* of the call that is being made */
	const struct http_call *call;
	int fd;               /* curl's, if a connection was made for it; else -1 */
	int error;            /* 0, -errno */
	bool told_status;
	bool had_enough;
	uint64_t heard_ns;    /* when the last byte came */
	bool is_blind;        /* the output cannot be watched for its end */
};

/* --- what curl calls ----------------------------------------------------------------------------------------------- */

static curl_socket_t on_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http *http = userdata;

	(void)purpose, (void)address;
	http->fd = os_socket_new();
	if (http->fd < 0)
		http->error = http->fd;
	return http->fd < 0 ? CURL_SOCKET_BAD : http->fd;
}

/* It is connected, and nothing has been said. A connection that is used again was looked at when it was new. */
static int on_connected(void *userdata, char *address, char *own_address, int port, int own_port)
{
	struct http *http = userdata;
	struct sockaddr_un name;
	socklen_t size = sizeof(name);

	(void)address, (void)own_address, (void)port, (void)own_port;
	if (http->fd < 0)
		return CURL_PREREQFUNC_OK;
	/* Where the server's queue was full, curl takes it for connected. */
	if (getpeername(http->fd, (struct sockaddr *)&name, &size) < 0)
		http->error = errno == ENOTCONN ? -EAGAIN : -errno;
	else
		http->error = http->call->look(http->fd, http->call->userdata);
	return http->error < 0 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void tell_status(struct http *http)
{
	long status = 0;

	if (http->told_status)
		return;
	http->told_status = true;
	curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	http->call->status(status, http->call->userdata);
}

static size_t on_header(char *bytes, size_t one, size_t size, void *userdata)
{
	struct http *http = userdata;
	long status = 0;

	http->heard_ns = os_now_ns();
	/* The empty line: a stream has begun, even if nothing happens yet. But "100 Continue" is no answer. */
	curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	if (one * size <= 2 && (size == 0 || bytes[0] == '\r' || bytes[0] == '\n') && status >= 200)
		tell_status(http);
	return one * size;
}

static size_t on_data(char *bytes, size_t one, size_t size, void *userdata)
{
	struct http *http = userdata;

	http->heard_ns = os_now_ns();
	tell_status(http);
	if (http->call->data(bytes, one * size, http->call->userdata))
		return one * size;
	http->had_enough = true;
	return 0; /* an error: the transfer ends */
}

/* --- making one ---------------------------------------------------------------------------------------------------- */

struct http *http_new(void)
{
	struct http *http = calloc(1, sizeof(*http));
	struct curl_slist *more;

	/* NOTHING: no TLS, whose start takes longer than a request. */
	if (!http || curl_global_init(CURL_GLOBAL_NOTHING) != 0) {
		free(http);
		return NULL;
	}
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	/* Without these, which curl would add, a server has nothing to refuse. */
	http->headers = curl_slist_append(NULL, "Accept: application/json");
	http->headers_json = curl_slist_append(NULL, "Content-Type: application/json");
	more = http->headers_json ? curl_slist_append(http->headers_json, "Expect:") : NULL;
	if (!http->multi || !http->easy || !http->headers || !more)
		return http_free(http);
	return http;
}

struct http *http_free(struct http *http)
{
	if (!http)
		return NULL;
	curl_easy_cleanup(http->easy);
	curl_multi_cleanup(http->multi);
	curl_slist_free_all(http->headers);
	curl_slist_free_all(http->headers_json);
	curl_global_cleanup();
	free(http);
	return NULL;
}

/* False: no memory. */
static bool set_options(struct http *http, const struct http_call *call)
{
	CURL *easy = http->easy;
	size_t size = strlen(call->target) + sizeof("http://localhost");
	char *url = malloc(size);
	bool done;

	if (!url)
		return false;
	memcpy(url, "http://localhost", sizeof("http://localhost") - 1);
	memcpy(url + sizeof("http://localhost") - 1, call->target, strlen(call->target) + 1);
	curl_easy_reset(easy);
	done = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
	free(url);
	done = done && curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->socket) == CURLE_OK;
	done = done && curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK; /* whatever the environment says */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, http);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, http);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->body ? http->headers_json : http->headers);
	if (call->is_post) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(call->body ? call->body : ""));
		done = done && curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, call->body ? call->body : "") == CURLE_OK;
		/* On a connection that has just been closed curl would send it once more. */
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	}
	return done;
}

/* Milliseconds until something must be done, whatever comes; 0: the time is over. */
static uint64_t wait_ms(const struct http *http, uint64_t now_ns)
{
	const struct http_call *call = http->call;
	uint64_t passed_ms = (now_ns - http->heard_ns) / NS_PER_MS, ms = LONGEST_WAIT_MS;
	long curl_ms = -1;

	if (!call->is_stream || !http->told_status)
		ms = passed_ms < call->timeout_ms ? call->timeout_ms - passed_ms : 0;
	if (ms > 0 && call->interval_ms > 0 && call->interval_ms < ms)
		ms = call->interval_ms;
	if (ms > 0 && call->until_ns > 0 && (call->until_ns - now_ns) / NS_PER_MS < ms)
		ms = (call->until_ns - now_ns) / NS_PER_MS + 1;
	/* What curl wants to do at once is done before we wait; at the least it must not be waited for forever. */
	if (curl_multi_timeout(http->multi, &curl_ms) == CURLM_OK && curl_ms >= 0 && (uint64_t)curl_ms + 1 < ms)
		ms = (uint64_t)curl_ms + 1;
	return ms < LONGEST_WAIT_MS ? ms : LONGEST_WAIT_MS;
}

/* curl's descriptors; returns how many there are. */
static nfds_t add_curls(struct http *http, struct pollfd *to, nfds_t most)
{
	fd_set in, out, errors;
	nfds_t n = 0;
	int max = -1;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&errors);
	if (curl_multi_fdset(http->multi, &in, &out, &errors, &max) != CURLM_OK)
		return 0;
	for (int fd = 0; fd <= max && n < most; fd++)
		if (FD_ISSET(fd, &in) || FD_ISSET(fd, &out))
			to[n++] = (struct pollfd){
				.fd = fd,
				.events = (short)((FD_ISSET(fd, &in) ? POLLIN : 0) | (FD_ISSET(fd, &out) ? POLLOUT : 0)),
			};
	return n;
}

/* One turn. 1: go on; else as http_call. */
static int turn(struct http *http)
{
	const struct http_call *call = http->call;
	struct pollfd fds[2 + MAX_CURLS] = {
		{ .fd = call->wake, .events = POLLIN },
		{ .fd = http->is_blind ? -1 : call->output }, /* without events poll still says that its reader has gone */
	};
	nfds_t n = add_curls(http, fds + 2, MAX_CURLS);
	uint64_t now_ns = os_now_ns(), ms;
	int n_running;

	if (call->until_ns > 0 && now_ns >= call->until_ns)
		return -ECANCELED;
	ms = wait_ms(http, now_ns);
	if (ms == 0)
		return -ETIMEDOUT;
	/* Without a descriptor curl has something else to do, soon. */
	if (poll(fds, 2 + n, n == 0 && ms > CURL_PAUSE_MS ? CURL_PAUSE_MS : (int)ms) < 0 && errno != EINTR)
		return -errno;
	if (fds[1].revents & POLLNVAL)
		http->is_blind = true;
	else if (fds[1].revents & (POLLERR | POLLHUP))
		return -ECANCELED;
	if ((fds[0].revents || call->interval_ms > 0) && !call->ready(call->userdata))
		return -ECANCELED;
	return curl_multi_perform(http->multi, &n_running) == CURLM_OK ? 1 : -ENOMEM;
}

static int end_of(const struct http *http, CURLcode code)
{
	long error = 0;

	if (http->had_enough)
		return 0;
	if (http->error < 0)
		return http->error;
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &error);
		return error > 0 ? -(int)error : -EAGAIN;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return -EPIPE;
	default:
		return -EPROTO;
	}
}

int http_call(struct http *http, const struct http_call *call)
{
	int r = 1, n_running, n_left;
	CURLMsg *message;

	http->call = call;
	http->fd = -1;
	http->error = 0;
	http->told_status = http->had_enough = http->is_blind = false;
	http->heard_ns = os_now_ns();
	if (!set_options(http, call) || curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		return -ENOMEM;
	if (curl_multi_perform(http->multi, &n_running) != CURLM_OK)
		r = -ENOMEM;
	while (r == 1) {
		message = curl_multi_info_read(http->multi, &n_left);
		if (message && message->msg == CURLMSG_DONE)
			r = end_of(http, message->data.result);
		else
			r = turn(http);
	}
	/* What is not at its end is cut off with its connection. */
	curl_multi_remove_handle(http->multi, http->easy);
	http->call = NULL;
	return r;
}
