/* SPDX-License-Identifier: MIT */
/*
 * server.c - makes the parts, connects them, runs the loop, and takes them apart in an order that matters:
 * the death word first, then the sockets.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asking.h"
#include "client.h"
#include "context.h"
#include "control/control.h"
#include "control/place.h"
#include "death_page.h"
#include "elder.h"
#include "endpoints.h"
#include "exit.h"
#include "files.h"
#include "folders.h"
#include "forker.h"
#include "keeping.h"
#include "idle.h"
#include "linker.h"
#include "limits.h"
#include "listener.h"
#include "log.h"
#include "logging.h"
#include "log_target.h"
#include "loop.h"
#include "opening.h"
#include "os/os.h"
#include "privileges.h"
#include "regions.h"
#include "reload.h"
#include "rights_watch.h"
#include "ringing.h"
#include "runtime.h"
#include "sandbox.h"
#include "service.h"
#include "serving.h"
#include "topic.h"
#include "trace.h"
#include "user.h"
#include "version.h"

enum { ON_TERM, ON_INT, ON_HANGUP, ON_CHILD, N_SIGNALS };

struct server {
	struct context context;
	struct death_page death;
	struct serving serving;
	struct control_place control;
	struct service service;
	struct listener *listener;
	struct elder *elder;
	struct loop_event *signals[N_SIGNALS];
	struct service_user user;             /* these two in the daemon of all users */
	struct forker_process files_process; /* until there is a forker */
	struct config_reader_process reader;        /* until there is a reload */
	struct options *options;             /* the context's */
	int status; /* to exit with */
};

/* --- this process ---------------------------------------------------------------------------------- */

/* From the moment there are files to be removed until the loop can do that, stopping has to wait. */
static void hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(how, &set, NULL);
}

static void prepare_process(void)
{
	struct rlimit limit;
	int fd;

	/* Descriptors 0 to 2 are there, so that none of ours gets such a number. */
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= 2 && fcntl(fd, F_SETFD, 0) == 0);
	if (fd > 2)
		close(fd);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a region may be larger than files may be: an error, and not our end */
	/* A dump would hold the end back, death word included. 1 and not 0: that also stops dumps to a pipe (core(5)). */
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 });
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* --- what the parts tell each other ------------------------------------------------------------------ */

static void on_stop(void *arg)
{
	struct server *server = arg;

	log_event(REASON_STOPPING, "stopping");
	loop_stop(server->context.loop);
}

static void on_elder(void *arg)
{
	struct server *server = arg;

	log_event(REASON_SUPERSEDED, "stopping: a system-wide pathbusd serves at %s", ADDRESS_SYSTEM);
	loop_stop(server->context.loop);
}

static void on_hangup(void *arg)
{
	struct server *server = arg;

	service_reload(&server->service);
}

static void on_idle(void *arg)
{
	struct server *server = arg;

	log_event(REASON_IDLE, "stopping: nobody has needed it for %u ms", server->context.options->idle_exit_ms);
	loop_stop(server->context.loop);
}

/* Only root could start another: that is for whoever started us. */
static void on_files_lost(void *arg)
{
	struct server *server = arg;

	log_event(REASON_FILES_LOST, "the process that looks at files has ended: stopping, to be started anew");
	server->status = EXIT_FAILED;
	loop_stop(server->context.loop);
}

static void on_child(void *arg)
{
	struct server *server = arg;

	if (server->context.forker)
		forker_reap(server->context.forker);

	files_reap(server->context.files);
	linker_reap(server->context.linker);
	reload_reap(server->context.reload);
}

static void on_answering(void *arg)
{
	struct server *server = arg;

	folders_catch_up(server->context.folders);
}

static bool on_watched(void *arg, int watch)
{
	struct server *server = arg;

	return folders_note(server->context.folders, watch);
}

static void on_lost_watch(void *arg)
{
	struct server *server = arg;

	folders_note_lost(server->context.folders);
}

static void on_asked(void *arg, uint64_t *ret_last, uint64_t *ret_open)
{
	struct server *server = arg;

	files_asked(server->context.files, ret_last, ret_open);
}

static void on_appeared(void *arg, struct topic_name *name)
{
	struct server *server = arg;

	keeping_folder_gone(&server->context, name);
	linker_appeared(server->context.linker, name);
}

static void on_touched(void *arg, struct topic_name *name, const char *entry)
{
	struct server *server = arg;
	struct topic_key key = { .dir_dev = name->key.dir_dev, .dir_ino = name->key.dir_ino };
	size_t size = entry ? strlen(entry) : 0;

	if (entry) {
		if (size > KEY_NAME_MAX)
			return;
		key.name_size = (uint32_t)size;
		memcpy(key.name, entry, size);
		name = topics_find(server->context.topics, &key);
	}
	if (name)
		rights_watch_note(server->context.rights_watch, name);
}

static void on_runtime_appeared(void *arg, const char *entry)
{
	struct server *server = arg;

	linker_appeared_in_runtime(server->context.linker, entry);
}

static void on_settled(void *arg, struct topic *topic, struct user *user)
{
	struct server *server = arg;

	opening_settled(&server->context, topic, user);
}

/* --- starting -------------------------------------------------------------------------------------- */

static struct users *make_users(struct loop *loop, const struct options *options)
{
	struct users_setting setting = {
		.loop = loop,
		.offload_members = options->offload_members,
		.offload_message_members = options->offload_message_members,
	};
	struct rlimit limit;
	uint64_t n = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : FOPEN_MAX;

	limits_make(options, n, &setting);
	limits_tell(options, &setting, n);
	return users_new(&setting);
}

/* What has to be there before a client can be answered. 0 or -errno. */
static int make_core(struct server *server, const struct options *options)
{
	struct context *context = &server->context;
	int r;

	context->options = options;
	context->address = server->serving.path;
	context->started_ns = os_now_ns();
	os_random(context->id, sizeof(context->id));
	r = death_page_init(&server->death);
	if (r < 0)
		return r;
	context->death = &server->death;
	context->loop = loop_new();
	if (!context->loop)
		return -ENOMEM;
	/* A user's own processes may well hold up their own daemon. */
	if (options->system) {
		r = ringing_init();
		if (r < 0)
			log_event(REASON_SETUP, "bells are written to, since the kernel has no asynchronous operations (%s): a client can hold "
			            "the daemon up",
			            strerror(-r));
	}
	context->users = make_users(context->loop, options);
	if (!context->users)
		return -ENOMEM;
	context->topics = topics_new();
	if (!context->topics)
		return -ENOMEM;
	context->rights_watch = rights_watch_new(context);
	if (!context->rights_watch)
		return -ENOMEM;
	context->keeper = keeper_new(context);
	if (!context->keeper)
		return -ENOMEM;
	context->regions = regions_new();
	if (!context->regions)
		return -ENOMEM;
	context->clients = clients_new(context);
	context->endpoints = endpoints_new(context);
	return context->clients && context->endpoints ? 0 : -ENOMEM;
}

static int make_files(struct server *server)
{
	struct context *context = &server->context;
	int r = folders_new(&(struct folders_setting){ .loop = context->loop, .appeared = on_appeared, .touched = on_touched,
	                                               .asked = on_asked, .arg = server },
	                    &context->folders);

	if (r == 0 && context->options->system) {
		r = forker_new(&(struct forker_setting){ .loop = context->loop, .watch = folders_descriptor(context->folders),
		                                         .lost = on_files_lost, .arg = server },
		               &server->files_process, &context->forker);
		if (r == 0)
			server->files_process.pid = 0;
	} else if (r == 0) {
		r = runtime_new(context->folders, on_runtime_appeared, server, &context->runtime);
	}
	if (r < 0)
		return r;
	return files_new(&(struct files_setting){
	                         .loop = context->loop,
	                         .forker = context->forker,
	                         .watch = folders_descriptor(context->folders),
	                         .timeout_ms = context->options->files_ms,
	                         .idle_ms = context->options->idle_ms,
	                         .sandboxed = !context->options->no_sandbox,
	                         .watched = on_watched,
	                         .answering = on_answering,
	                         .lost_watch = on_lost_watch,
	                         .arg = server,
	                 },
	                 &context->files);
}

static int make_linker(struct server *server)
{
	struct context *context = &server->context;

	context->linker = linker_new(&(struct linker_setting){
		.loop = context->loop,
		.topics = context->topics,
		.files = context->files,
		.folders = context->folders,
		.forker = context->forker,
		.runtime = context->runtime,
		.death_fd = server->death.fd,
		.sandboxed = !context->options->no_sandbox,
		.idle_ms = context->options->idle_ms,
		.settled = on_settled,
		.arg = server,
	});
	return context->linker ? 0 : -ENOMEM;
}

static int make_rest(struct server *server)
{
	struct loop *loop = server->context.loop;
	int r = reload_new(&server->context, server->options, &server->reader, &server->context.reload);

	if (r < 0)
		return r;
	server->reader.pid = 0;
	server->signals[ON_TERM] = loop_on_signal(loop, SIGTERM, on_stop, server);
	server->signals[ON_INT] = loop_on_signal(loop, SIGINT, on_stop, server);
	server->signals[ON_HANGUP] = loop_on_signal(loop, SIGHUP, on_hangup, server);
	server->signals[ON_CHILD] = loop_on_signal(loop, SIGCHLD, on_child, server);
	for (unsigned i = 0; i < N_SIGNALS; i++)
		if (!server->signals[i])
			return -ENOMEM;
	if (server->serving.is_own_place && !server->context.options->system) {
		server->elder = elder_new(loop, server->context.folders, on_elder, server);
		if (!server->elder)
			return -ENOMEM;
	}
	server->listener = listener_new(loop, server->serving.listener, server->context.clients);
	if (!server->listener)
		return -ENOMEM;
	if (trace_start(&server->context) < 0)
		return -ENOMEM;
	return server->control.is_on ? control_start(&server->context, &server->control, &server->context.control) : 0;
}

static int make_all(struct server *server, const struct options *options)
{
	int r = make_core(server, options);

	if (r == 0)
		r = make_files(server);
	if (r == 0)
		r = make_linker(server);
	if (r == 0)
		r = make_rest(server);
	if (r == 0)
		r = service_attach(&server->service, &server->context, &server->serving, on_idle, server);
	return r;
}

/* A user's daemon goes on without one: what it may do, its user's other programs may do too. Returns an exit status. */
static int enter_sandbox(const struct server *server)
{
	const struct options *options = server->context.options;
	char folder[64], control[64], log_folder[64];
	const char *const own[] = { folder, control, NULL };
	struct sandbox_setting setting = { .system = options->system, .own_folders = own };
	struct sandbox_state state;

	if (options->no_sandbox) {
		log_event(REASON_SANDBOX, "sandbox: turned off");
		return EXIT_STOPPED;
	}
	snprintf(folder, sizeof(folder), "/proc/self/fd/%d", server->serving.dir);
	snprintf(control, sizeof(control), "/proc/self/fd/%d", server->control.is_on ? server->control.serving.dir : -1);
	if (log_target_folder() >= 0) {
		snprintf(log_folder, sizeof(log_folder), "/proc/self/fd/%d", log_target_folder());
		setting.log_folder = log_folder;
	}
	if (sandbox_enter(SANDBOX_MAIN, &setting, &state) == 0) {
		log_event(REASON_SANDBOX, "sandbox: %s", state.text);
		return EXIT_STOPPED;
	}
	if (!options->system) {
		log_event(REASON_SANDBOX_MISSING, "runs without a sandbox (%s)", state.text);
		return EXIT_STOPPED;
	}
	log_event(REASON_SANDBOX_FAILED, "cannot enter the sandbox that the daemon of all users runs in (%s): " SANDBOX_ADVICE,
	          state.text);
	return EXIT_FAILED;
}

/* --- stopping -------------------------------------------------------------------------------------- */

/* Any part may be missing. */
static void stop(struct server *server)
{
	struct context *context = &server->context;

	/* Before any socket: whoever posts from now on joins anew. */
	if (server->death.page)
		death_page_mark(&server->death);
	context->idle = idle_free(context->idle);
	context->control = control_end(context->control);
	trace_stop();
	control_place_leave(&server->control);
	reload_free(context->reload);
	listener_free(server->listener);
	clients_free(context->clients);
	endpoints_free(context->endpoints);
	serving_stop(&server->serving);
	elder_free(server->elder);
	linker_free(context->linker);
	rights_watch_free(context->rights_watch);
	files_free(context->files);
	forker_free(context->forker);
	forker_process_end(&server->files_process);
	config_reader_process_end(&server->reader);
	asking_end();
	topics_free(context->topics);
	keeper_free(context->keeper);
	regions_free(context->regions);
	users_free(context->users);
	runtime_free(context->runtime);
	folders_free(context->folders);
	for (unsigned i = 0; i < N_SIGNALS; i++)
		loop_event_free(server->signals[i]);
	service_end(&server->service);
	logging_leave();
	loop_free(context->loop);
	ringing_deinit();
	if (server->death.page)
		death_page_deinit(&server->death);
}

/* Gives root up, after what needs it. Before that nothing is made that would be root's. Returns an exit status. */
static int separate(struct server *server, const struct options *options)
{
	int r = forker_start(&server->user, server->serving.listener, service_is_managed(&server->service), !options->no_sandbox,
	                     &server->files_process);

	if (r < 0)
		return EXIT_FAILED;
	r = privileges_become_main(&server->user);
	if (r == -EPERM)
		log_event(REASON_SERVICE_USER,
		          "cannot become user %u, or give up what else this process is: start pathbusd as root, or as that user",
		          (unsigned)server->user.uid);
	else if (r < 0)
		log_event(REASON_SERVICE_USER, "cannot become user %u: %s", (unsigned)server->user.uid, strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_STOPPED;
}

static int find_user(const char *name, struct service_user *ret)
{
	int r = privileges_find_user(name, ret);

	if (r == -ENOENT)
		log_event(REASON_SERVICE_USER,
		          "there is no user '%s' for the daemon to run as: make one (useradd --system %s), or name another with "
		          "--user", name, name);
	else if (r == -EPERM)
		log_event(REASON_SERVICE_USER, "the daemon of all users does not run as root: name another user with --user");
	else if (r < 0)
		log_event(REASON_SERVICE_USER, "--user takes a user's name or number, not '%s'", name);
	return r < 0 ? EXIT_FAILED : EXIT_STOPPED;
}

/* A user's daemon at its own place gives way to the system's. */
static bool gives_way(const struct server *server, const struct options *options)
{
	char own[ADDRESS_SIZE];

	if (options->address || options->system || !elder_serves())
		return false;
	return server->service.inherited.bus.fd < 0 ||
	       (address_of_user(geteuid(), own) == 0 && strcmp(server->service.inherited.bus.path, own) == 0);
}

/* Takes the place, with what the daemon of all users needs root for. */
static int take_place(struct server *server, const struct options *options)
{
	int status = options->system ? find_user(options->user, &server->user) : EXIT_STOPPED;

	if (gives_way(server, options)) {
		log_event(REASON_ADDRESS_TAKEN, "a system-wide pathbusd serves at %s already; give --address to run another", ADDRESS_SYSTEM);
		return EXIT_SERVED;
	}
	if (status == EXIT_STOPPED)
		status = serving_start(options->address, options->system ? &server->user : NULL, &server->service.inherited.bus,
		                       &server->serving);
	if (status != EXIT_STOPPED)
		return status;
	/* Before main gives anything up, or is held by a sandbox: a child would be too. */
	status = config_reader_start(options, options->system ? &server->user : NULL, &server->reader);
	if (status == EXIT_STOPPED)
		status = control_place_take(options, &server->serving, options->system ? &server->user : NULL,
		                            server->service.inherited.control.fd, &server->control);
	if (status == EXIT_STOPPED && options->system) {
		logging_give(server->user.uid, server->user.gid);
		status = separate(server, options);
	}
	if (status != EXIT_STOPPED) {
		control_place_leave(&server->control);
		serving_stop(&server->serving);
		forker_process_end(&server->files_process);
		config_reader_process_end(&server->reader);
	}
	return status;
}

static int run(struct options *options)
{
	struct server server = { .status = EXIT_STOPPED, .options = options };
	int status, r;

	if (service_begin(&server.service) < 0)
		return EXIT_FAILED;
	hold_signals(SIG_BLOCK);
	status = take_place(&server, options);
	if (status == EXIT_SERVED)
		service_manager_turn_away(&server.service.inherited.bus);
	if (status != EXIT_STOPPED) {
		service_end(&server.service);
		return status;
	}
	r = make_all(&server, options);
	if (r < 0) {
		log_event(REASON_START_FAILED, "cannot start: %s", strerror(-r));
		stop(&server);
		return EXIT_FAILED;
	}
	log_event(REASON_SERVING, "serving %s (version " PATHBUS_VERSION ", pid %d)", server.serving.path, (int)getpid());
	if (chdir("/") < 0) /* holds no file system back from being unmounted */
		log_event(REASON_SETUP, "cannot change to /: %s", strerror(errno));
	server.status = enter_sandbox(&server);
	hold_signals(SIG_UNBLOCK);
	if (server.status == EXIT_STOPPED) {
		(void)logging_attach(server.context.loop);
		service_tell(&server.service, SERVICE_READY);
		loop_run(server.context.loop);
		service_tell(&server.service, SERVICE_STOPPING);
	}
	stop(&server);
	return server.status;
}

int server_run(struct options *options)
{
	int status;

	prepare_process();
	status = logging_start(options);
	if (status == EXIT_STOPPED)
		status = run(options);
	logging_end();
	return status;
}
